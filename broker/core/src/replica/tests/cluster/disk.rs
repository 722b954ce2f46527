//! The disk of one replica: what was flushed stays, what was not may go.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::entry::{self, Entries, Entry};
use holdfast_protocol::{
    BrokerId, Epoch, Header, Incarnation, Kind, Position, ShardId, ShardRecord,
};

use crate::Shard;
use crate::replica::{History, Recovered, Replica, Settings};
use crate::state::{Command, State};

/// A log, its checkpoint, its record.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) incarnation: Incarnation,
    pub(super) record: Option<ShardRecord>,
    pub(super) start: Position,
    pub(super) end: Position,
    pub(super) durable: Position,
    /// Positions below may be left out.
    pub(super) clean_point: Position,
    pub(super) checkpoint: Option<(Position, Vec<u8>)>,
    committed: Position,
    epochs: Vec<(Epoch, Position)>,
    entries: BTreeMap<Position, Entry>,
    /// Where the log ended when the flush under way began.
    flushing: Option<Position>,
}

impl Disk {
    pub(super) fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            record: None,
            start: Position(0),
            end: Position(0),
            durable: Position(0),
            clean_point: Position(0),
            checkpoint: None,
            committed: Position(0),
            epochs: Vec::new(),
            entries: BTreeMap::new(),
            flushing: None,
        }
    }

    pub(super) fn entry(&self, position: Position) -> Option<&Entry> {
        self.entries.get(&position)
    }

    /// Epoch of the entry before `position`.
    pub(super) fn epoch_before(&self, position: Position) -> Epoch {
        let before = self.entries.range(..position).next_back();
        before.map_or(Epoch(0), |(_, entry)| entry.header.epoch)
    }

    pub(super) fn append(&mut self, entries: &Entries) {
        let entries = entry::split(entries.bytes().clone()).expect("entries are whole");
        for entry in entries {
            let at = entry.header.position;
            assert!(
                at == self.end || at > self.end && self.end < self.clean_point,
                "position {at} on a log that ends at {}",
                self.end
            );
            if self.epochs.last().is_none_or(|(last, _)| *last < entry.header.epoch) {
                self.epochs.push((entry.header.epoch, at));
            }
            self.end = at.next();
            self.entries.insert(at, entry);
        }
    }

    pub(super) fn truncate(&mut self, to: Position) {
        self.entries.split_off(&to);
        self.end = to;
        self.durable = self.durable.min(to);
        self.flushing = None;
        // While a checkpoint is filled in, its epochs stand for what is still missing.
        let known = self.end.max(self.checkpoint_position());
        self.epochs.retain(|(_, first)| *first < known);
    }

    /// At most `count` entries from `from` on and below `end`, and the position after them.
    pub(super) fn read(&self, from: Position, end: Position, count: usize) -> (Bytes, Position) {
        let mut bytes = BytesMut::new();
        let mut entries = self.entries.range(from..end);
        let mut next = from;
        for (at, entry) in entries.by_ref().take(count) {
            bytes.extend_from_slice(&entry.bytes);
            next = at.next();
        }
        let whole = entries.next().is_none();
        (bytes.freeze(), if whole { end } else { next })
    }

    pub(super) fn begin_flush(&mut self) {
        if self.flushing.is_none() && self.durable < self.end {
            self.flushing = Some(self.end);
        }
    }

    /// Ends the flush under way; gives what is durable then.
    pub(super) fn finish_flush(&mut self) -> Option<Position> {
        let flushed = self.flushing.take()?;
        self.durable = self.durable.max(flushed);
        Some(self.durable)
    }

    pub(super) fn is_flushing(&self) -> bool {
        self.flushing.is_some()
    }

    pub(super) fn checkpoint_position(&self) -> Position {
        self.checkpoint.as_ref().map_or(Position(0), |(position, _)| *position)
    }

    /// Keeps a checkpoint; the log below it is durable then.
    pub(super) fn keep_checkpoint(&mut self, shard: &Shard) {
        let position = shard.state().position();
        if position <= self.checkpoint_position() || position > self.end {
            return;
        }
        self.durable = self.durable.max(position);
        self.committed = shard.replica().committed();
        self.checkpoint = Some((position, shard.state().encode(shard.replica().history())));
    }

    /// Cleaning: drops what is dead below `below`.
    pub(super) fn clean(&mut self, below: Position, state: &State) {
        self.entries.retain(|at, entry| {
            let header = &entry.header;
            let live = header.kind == Kind::Append
                && state.stream(header.stream).is_some_and(|stream| {
                    header.offset.plus(u64::from(header.count)) > stream.start
                });
            *at >= below || live
        });
        self.clean_point = self.clean_point.max(below);
        let first = self.entries.keys().next().copied();
        self.start = first.unwrap_or(self.end).min(self.clean_point);
    }

    /// Sets the log aside and begins anew, as another log.
    pub(super) fn reset(&mut self, name: Incarnation, start: Position, checkpoint: Vec<u8>) {
        let (state, history) = State::decode(&checkpoint).expect("a checkpoint just encoded");
        let fresh = Self {
            record: self.record.clone(),
            start,
            end: start,
            durable: start,
            clean_point: state.position(),
            checkpoint: Some((state.position(), checkpoint)),
            epochs: history.epochs().to_vec(),
            ..Self::new(name)
        };
        *self = fresh;
    }

    /// The power goes: of what was not flushed, only what is below `keep` stays.
    pub(super) fn lose_unflushed(&mut self, keep: Position) {
        self.truncate(keep.max(self.durable).min(self.end));
    }

    /// Opens the replica again: everything on the disk is durable then.
    pub(super) fn open(&mut self, me: BrokerId, settings: Settings) -> Shard {
        self.durable = self.end;
        self.flushing = None;
        let state = match &self.checkpoint {
            Some((_, bytes)) => State::decode(bytes).expect("a checkpoint that was kept").0,
            None => State::default(),
        };
        let from = state.position();
        let recovered = Recovered {
            incarnation: self.incarnation,
            end: self.end,
            epochs: History::new(self.epochs.clone()),
            committed: self.committed.max(from).min(self.end),
            record: self.record.clone(),
            gaps_until: self.clean_point,
        };
        let mut shard = Shard::new(Replica::new(me, ShardId(0), settings, recovered), state);
        for (_, entry) in self.entries.range(from..) {
            shard.replay(Command::new(entry.header, &entry.bytes.slice(Header::LEN..)));
        }
        shard
    }
}
