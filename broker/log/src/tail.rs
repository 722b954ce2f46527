//! The newest entries in memory, so that readers at the tail do not ask the disk.
//!
//! Holds what was appended, keyed by where it lies in the segments; the oldest go first.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{Header, Position};

use crate::index::Location;

/// What a chunk costs beside its bytes.
const CHUNK_OVERHEAD: usize = 128;

/// One append.
#[derive(Debug)]
struct Chunk {
    base: Position,
    at: u64,
    bytes: Bytes,
}

/// The newest entries of one shard.
#[derive(Debug)]
pub(crate) struct Tail {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { chunks: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Keeps what was appended at byte `at` of the segment `base`, if it is not too long.
    pub(crate) fn push(&mut self, base: Position, at: u64, entries: &Bytes) {
        let cost = entries.len() + CHUNK_OVERHEAD;
        if cost > self.bytes_max {
            return;
        }
        while self.bytes + cost > self.bytes_max {
            let Some(oldest) = self.chunks.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes.len() + CHUNK_OVERHEAD;
        }
        self.bytes += cost;
        self.chunks.push_back(Chunk { base, at, bytes: entries.clone() });
    }

    /// Forgets everything: what lies in the segments has changed.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }

    /// The bytes of the entry at `location`, if they are kept.
    pub(crate) fn entry(&self, base: Position, location: &Location) -> Option<Bytes> {
        let chunk = &self.chunks[self.chunk_of(base, location.at)?];
        let bytes = chunk.slice(location.at, location.length)?;
        begins_with(&bytes, location.position).then_some(bytes)
    }

    /// The `length` bytes from the entry at `location` on, if all are kept.
    pub(crate) fn run(&self, base: Position, first: &Location, length: usize) -> Option<Bytes> {
        let number = self.chunk_of(base, first.at)?;
        if let Some(bytes) = self.chunks[number].slice(first.at, length) {
            return begins_with(&bytes, first.position).then_some(bytes);
        }
        let mut run = BytesMut::with_capacity(length);
        let mut at = first.at;
        for chunk in self.chunks.range(number..) {
            let left = length - run.len();
            let skip = usize::try_from(at.checked_sub(chunk.at)?).ok()?;
            if chunk.base != base || skip > chunk.bytes.len() {
                return None;
            }
            let piece = &chunk.bytes[skip..];
            let piece = &piece[..piece.len().min(left)];
            run.extend_from_slice(piece);
            at += piece.len() as u64;
            if run.len() == length {
                return begins_with(&run, first.position).then(|| run.freeze());
            }
        }
        None
    }

    /// The chunk that byte `at` of the segment `base` may be in.
    fn chunk_of(&self, base: Position, at: u64) -> Option<usize> {
        let after = self.chunks.partition_point(|chunk| (chunk.base, chunk.at) <= (base, at));
        let number = after.checked_sub(1)?;
        (self.chunks[number].base == base).then_some(number)
    }
}

impl Chunk {
    fn slice(&self, at: u64, length: usize) -> Option<Bytes> {
        let from = usize::try_from(at.checked_sub(self.at)?).ok()?;
        let to = from.checked_add(length)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

/// Whether an entry at `position` begins here, as it must.
fn begins_with(bytes: &[u8], position: Position) -> bool {
    Header::peek(bytes).is_ok_and(|header| header.position == position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::entry::Draft;
    use holdfast_protocol::{Epoch, Kind};

    fn entry(position: u64, body: usize) -> Bytes {
        let mut out = Vec::new();
        let body = vec![7; body];
        Draft::command(Kind::KeepGroup, &body).encode(Epoch(1), Position(position), &mut out);
        out.into()
    }

    fn location(position: u64, at: u64) -> Location {
        Location { position: Position(position), at, length: 74 }
    }

    #[test]
    fn runs_span_appends_but_not_segments() {
        let mut tail = Tail::new(4096);
        let entries: Vec<_> = (0..4).map(|position| entry(position, 10)).collect();
        tail.push(Position(0), 64, &[&entries[0][..], &entries[1]].concat().into());
        tail.push(Position(0), 64 + 148, &entries[2]);
        tail.push(Position(3), 64, &entries[3]);
        let base = Position(0);
        assert_eq!(tail.entry(base, &location(1, 64 + 74)).unwrap(), entries[1]);
        assert_eq!(
            tail.run(base, &location(1, 64 + 74), 148).unwrap(),
            [&entries[1][..], &entries[2]].concat()
        );
        assert_eq!(tail.run(base, &location(1, 64 + 74), 222), None);
        // Another entry lies there.
        assert_eq!(tail.entry(base, &location(9, 64)), None);
        assert_eq!(tail.entry(Position(1), &location(0, 64)), None);
    }

    #[test]
    fn the_oldest_go_first() {
        let mut tail = Tail::new(3 * (74 + CHUNK_OVERHEAD));
        for position in 0..10 {
            tail.push(Position(0), 64 + position * 74, &entry(position, 10));
        }
        assert_eq!(tail.chunks.len(), 3);
        assert!(tail.entry(Position(0), &location(6, 64 + 6 * 74)).is_none());
        assert!(tail.entry(Position(0), &location(7, 64 + 7 * 74)).is_some());
        tail.push(Position(0), 9999, &entry(10, 5000));
        assert_eq!(tail.chunks.len(), 3, "what is too long is not kept");
    }
}
