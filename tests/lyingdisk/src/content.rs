//! The bytes of one file: as they are seen, as they are on the disk, and which differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dice::Dice;

/// What the page cache keeps and writes as a whole, bytes.
pub const BLOCK: usize = 4096;
/// What a disk writes as a whole, bytes: a torn block has some of these and not others.
const SECTOR: usize = 512;

type Block = [u8; BLOCK];

/// The bytes of one file. What was never written is zero.
#[derive(Clone, Debug, Default)]
pub struct Content {
    seen: Version,
    durable: Version,
    /// Blocks that the next flush writes. After a failed one they count as clean.
    dirty: BTreeSet<u64>,
    length_is_dirty: bool,
}

#[derive(Clone, Debug, Default)]
struct Version {
    blocks: BTreeMap<u64, Arc<Block>>,
    length: u64,
}

/// How much of what was not flushed a power cut leaves.
#[derive(Clone, Debug)]
pub enum Loss {
    /// Nothing.
    All,
    /// Any part of it, in any order, and torn.
    Any(Dice),
}

impl Content {
    /// Length, bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.seen.length
    }

    /// What the file takes on the disk, bytes: room that is set aside counts, holes too.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.seen.length.max(self.durable.length).next_multiple_of(BLOCK as u64)
    }

    /// Bytes that a power cut would lose, in whole blocks.
    #[must_use]
    pub fn unflushed(&self) -> u64 {
        (self.dirty.len() * BLOCK) as u64
    }

    /// Some of the bytes from `at` on; fewer at the end.
    #[must_use]
    pub fn read(&self, at: u64, count: usize) -> Vec<u8> {
        self.seen.read(at, count)
    }

    /// Puts `bytes` at `at`.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        let (mut at, mut left) = (at, bytes);
        while !left.is_empty() {
            let (number, from) = place(at);
            let count = left.len().min(BLOCK - from);
            self.seen.block(number)[from..from + count].copy_from_slice(&left[..count]);
            self.dirty.insert(number);
            at += count as u64;
            left = &left[count..];
        }
        if at > self.seen.length {
            self.seen.length = at;
            self.length_is_dirty = true;
        }
    }

    /// Cuts the file, or makes it longer by zeros.
    pub fn set_length(&mut self, length: u64) {
        if length < self.seen.length {
            let (number, from) = place(length);
            let beyond = if from == 0 { number } else { number + 1 };
            self.dirty.extend(self.seen.blocks.split_off(&beyond).into_keys());
            if from > 0 && self.seen.blocks.contains_key(&number) {
                self.seen.block(number)[from..].fill(0);
                self.dirty.insert(number);
            }
        }
        self.length_is_dirty |= length != self.seen.length;
        self.seen.length = length;
    }

    /// Makes durable what is seen, but for what an earlier flush failed to.
    pub fn flush(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            self.durable.take_over(&self.seen, number);
        }
        if std::mem::take(&mut self.length_is_dirty) {
            self.durable.length = self.seen.length;
        }
    }

    /// A flush that fails, as Linux has it: what was to be written is seen as before and counts as
    /// clean, so that no later flush writes it.
    pub fn fail_to_flush(&mut self) {
        self.dirty.clear();
        self.length_is_dirty = false;
    }

    /// The power goes: what is on the disk is what there is.
    pub fn lose(&mut self, loss: &mut Loss) {
        if let Loss::Any(dice) = loss {
            self.flush_some(dice);
        }
        self.dirty.clear();
        self.length_is_dirty = false;
        let length = self.durable.length;
        self.durable.blocks.retain(|number, _| number * (BLOCK as u64) < length);
        self.seen = self.durable.clone();
    }

    /// Any of what was not flushed gets to the disk, some of it in part.
    fn flush_some(&mut self, dice: &mut Dice) {
        for number in std::mem::take(&mut self.dirty) {
            match dice.below(3) {
                0 => {}
                1 => self.durable.take_over(&self.seen, number),
                _ => {
                    let new = self.seen.read(number * BLOCK as u64, BLOCK);
                    let block = self.durable.block(number);
                    for (old, new) in block.chunks_mut(SECTOR).zip(new.chunks(SECTOR)) {
                        if dice.heads() {
                            old[..new.len()].copy_from_slice(new);
                        }
                    }
                }
            }
        }
        if self.length_is_dirty && dice.heads() {
            self.durable.length = self.seen.length;
        }
    }

    /// Flips a bit, on the disk and as it is seen; false where the file does not reach so far.
    pub fn rot(&mut self, at: u64, bit: u8) -> bool {
        if at >= self.seen.length {
            return false;
        }
        let (number, from) = place(at);
        for version in [&mut self.seen, &mut self.durable] {
            version.block(number)[from] ^= 1 << (bit % 8);
        }
        true
    }
}

impl Version {
    fn read(&self, at: u64, count: usize) -> Vec<u8> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; count.min(left)];
        let mut done = 0;
        while done < bytes.len() {
            let (number, from) = place(at + done as u64);
            let count = (bytes.len() - done).min(BLOCK - from);
            if let Some(block) = self.blocks.get(&number) {
                bytes[done..done + count].copy_from_slice(&block[from..from + count]);
            }
            done += count;
        }
        bytes
    }

    fn block(&mut self, number: u64) -> &mut Block {
        Arc::make_mut(self.blocks.entry(number).or_insert_with(|| Arc::new([0; BLOCK])))
    }

    fn take_over(&mut self, from: &Self, number: u64) {
        match from.blocks.get(&number) {
            Some(block) => self.blocks.insert(number, Arc::clone(block)),
            None => self.blocks.remove(&number),
        };
    }
}

/// The number of the block that holds a byte, and where in it.
fn place(at: u64) -> (u64, usize) {
    let block = BLOCK as u64;
    (at / block, usize::try_from(at % block).expect("a block is small"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(content: &Content) -> Vec<u8> {
        content.read(0, usize::MAX)
    }

    #[test]
    fn only_what_was_flushed_survives() {
        let mut content = Content::default();
        content.write(BLOCK as u64 - 2, b"kept");
        content.flush();
        content.write(BLOCK as u64, b"LOST");
        content.set_length(3 * BLOCK as u64);
        assert_eq!(content.length(), 3 * BLOCK as u64);
        content.lose(&mut Loss::All);
        assert_eq!(&all(&content)[BLOCK - 2..], b"kept");
        content.set_length(1);
        content.lose(&mut Loss::All);
        assert_eq!(&all(&content)[BLOCK - 2..], b"kept", "cutting must be flushed too");
        content.set_length(1);
        content.flush();
        content.set_length(BLOCK as u64 + 2);
        content.flush();
        content.lose(&mut Loss::All);
        assert_eq!(all(&content), vec![0; BLOCK + 2], "what was cut off is zero");
    }

    #[test]
    fn a_failed_flush_makes_pages_clean() {
        let mut content = Content::default();
        content.write(0, b"old");
        content.flush();
        content.write(0, b"new");
        content.fail_to_flush();
        content.flush();
        assert_eq!(all(&content), b"new", "it is in the page cache");
        content.lose(&mut Loss::All);
        assert_eq!(all(&content), b"old", "and not on the disk, whatever the next flush said");
    }

    #[test]
    fn torn_blocks_are_whole_in_sectors() {
        let mut torn = 0;
        for seed in 0..50 {
            let mut content = Content::default();
            content.write(0, &[1; BLOCK]);
            content.flush();
            content.write(0, &[2; BLOCK]);
            content.lose(&mut Loss::Any(Dice::new(seed)));
            let bytes = all(&content);
            for sector in bytes.chunks(SECTOR) {
                assert!(sector.iter().all(|byte| *byte == sector[0]));
            }
            torn += u32::from(bytes.contains(&1) && bytes.contains(&2));
        }
        assert!((5..45).contains(&torn), "{torn} of 50");
    }
}
