//! The disk of one replica: what was flushed stays, what was not may go.

use bytes::Bytes;
use holdfast_core::replica::{History, Recovered};
use holdfast_protocol::entry::{self, Draft, Entries};
use holdfast_protocol::{Epoch, Incarnation, Kind, Position, ShardRecord};

/// An entry, as short as it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its epoch.
    pub epoch: Epoch,
    /// What it says; 0 for an epoch start.
    pub mark: u8,
}

impl Entry {
    /// Its bytes at `position`, as they are shipped.
    fn encode(self, position: Position, out: &mut Vec<u8>) {
        let body = [self.mark];
        let draft = match self.mark {
            0 => Draft::command(Kind::EpochStart, &[]),
            _ => Draft { count: 1, ..Draft::command(Kind::Append, &body) },
        };
        draft.encode(self.epoch, position, out);
    }
}

/// The log and what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    /// The identity of the log.
    pub incarnation: Incarnation,
    /// The newest record that was persisted.
    pub record: Option<ShardRecord>,
    /// The entries, from position 0.
    pub log: Vec<Entry>,
    /// How many of them a power cut leaves.
    pub durable: usize,
    /// How many of them the process counts as durable: the same, but where a rule is missing.
    pub believed: usize,
}

impl Disk {
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        Self { incarnation, record: None, log: Vec::new(), durable: 0, believed: 0 }
    }

    pub(crate) fn end(&self) -> Position {
        Position(self.log.len() as u64)
    }

    /// Appends whole entries, as a replica gives them.
    pub(crate) fn append(&mut self, entries: &Entries) {
        let entries = entry::split(entries.bytes().clone()).expect("entries are whole");
        for entry in entries {
            assert_eq!(entry.header.position, self.end(), "an entry stands at its position");
            let mark = entry.body().first().copied().unwrap_or(0);
            self.log.push(Entry { epoch: entry.header.epoch, mark });
        }
    }

    pub(crate) fn truncate(&mut self, end: usize) {
        self.log.truncate(end);
        self.durable = self.durable.min(end);
        self.believed = self.believed.min(end);
    }

    /// At most `count` entries from `from` on and below `end`, and the position after them.
    pub(crate) fn read(&self, from: usize, end: usize, count: usize) -> (Bytes, Position) {
        let next = end.min(from + count);
        let mut out = Vec::new();
        for (at, entry) in self.log.iter().enumerate().take(next).skip(from) {
            entry.encode(Position(at as u64), &mut out);
        }
        (out.into(), Position(next as u64))
    }

    /// The bytes of one entry at the end of the log.
    pub(crate) fn draft(&self, entry: Entry) -> Entries {
        let mut out = Vec::new();
        entry.encode(self.end(), &mut out);
        Entries::verify(out.into()).expect("an entry just encoded")
    }

    /// What a process that starts now recovers.
    pub(crate) fn recovered(&self) -> Recovered {
        let mut epochs: Vec<(Epoch, Position)> = Vec::new();
        for (at, entry) in self.log.iter().enumerate() {
            if epochs.last().is_none_or(|(last, _)| *last < entry.epoch) {
                epochs.push((entry.epoch, Position(at as u64)));
            }
        }
        Recovered {
            incarnation: self.incarnation,
            end: self.end(),
            epochs: History::new(epochs),
            committed: Position(0),
            record: self.record.clone(),
            gaps_until: Position(0),
        }
    }
}
