//! The content of one file: as it is seen, as it is on the disk, and what lies between.

use super::{Dice, Loss};

/// What a disk writes as a whole, bytes: a torn write has some of these and not others.
const SECTOR: usize = 512;

/// The content of one file.
#[derive(Default)]
pub(super) struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What leads from one to the other, in order.
    pending: Vec<Pending>,
}

struct Pending {
    what: What,
    /// A flush failed: the page counts as clean, and no later flush writes it.
    lost: bool,
}

enum What {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Inode {
    pub(super) fn stored(bytes: &[u8]) -> Self {
        Self { seen: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() }
    }

    pub(super) fn length(&self) -> u64 {
        self.seen.len() as u64
    }

    pub(super) fn seen(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> usize {
        let from = index(at).min(self.seen.len());
        let count = buffer.len().min(self.seen.len() - from);
        buffer[..count].copy_from_slice(&self.seen[from..from + count]);
        count
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], at: u64) {
        let at = index(at);
        put(&mut self.seen, at, bytes);
        let what = What::Write { at, bytes: bytes.to_vec() };
        self.pending.push(Pending { what, lost: false });
    }

    pub(super) fn set_length(&mut self, length: u64) {
        let length = index(length);
        self.seen.resize(length, 0);
        self.pending.push(Pending { what: What::Length(length), lost: false });
    }

    /// Everything but what an earlier flush lost is on the disk.
    pub(super) fn make_durable(&mut self) {
        let mut lost: Vec<Pending> = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            if pending.lost {
                lost.push(pending);
                continue;
            }
            // What is written over is not to come back.
            lost.retain(|lost| !pending.what.covers(&lost.what));
            pending.what.apply(&mut self.durable);
        }
        self.pending = lost;
    }

    /// A flush failed.
    pub(super) fn mark_clean(&mut self) {
        for pending in &mut self.pending {
            pending.lost = true;
        }
    }

    pub(super) fn crash(&mut self, dice: &mut Dice, loss: Loss) {
        for pending in std::mem::take(&mut self.pending) {
            match loss {
                Loss::All => {}
                Loss::None if pending.lost => {}
                Loss::None => pending.what.apply(&mut self.durable),
                Loss::Any => pending.what.apply_some(&mut self.durable, dice),
            }
        }
        self.seen.clone_from(&self.durable);
    }

    pub(super) fn flip(&mut self, bit: u64) -> bool {
        let (at, mask) = (index(bit / 8), 1 << (bit % 8));
        let mut flipped = false;
        for content in [&mut self.seen, &mut self.durable] {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= mask;
                flipped = true;
            }
        }
        flipped
    }
}

impl What {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(content, *at, bytes),
            Self::Length(length) => content.resize(*length, 0),
        }
    }

    /// Whole, not at all, or torn.
    fn apply_some(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        match (self, dice.next() % 4) {
            (_, 0) => {}
            (Self::Write { at, bytes }, 1) => {
                let kept = index(dice.next()) % (bytes.len() + 1);
                put(content, *at, &bytes[..kept]);
            }
            (Self::Write { at, bytes }, 2) => {
                let mut from = 0;
                while from < bytes.len() {
                    // Sectors begin where the file's do.
                    let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                    if dice.coin() {
                        put(content, at + from, &bytes[from..to]);
                    }
                    from = to;
                }
            }
            (what, _) => what.apply(content),
        }
    }

    /// Whether this takes the place of some of what `other` wrote.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Write { at, bytes }, Self::Write { at: other, bytes: others }) => {
                *at < other + others.len() && *other < at + bytes.len()
            }
            (Self::Length(length), Self::Write { at, bytes }) => *length < at + bytes.len(),
            (Self::Length(_), Self::Length(_)) => true,
            (Self::Write { .. }, Self::Length(_)) => false,
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// Nothing here is longer than memory.
fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}
