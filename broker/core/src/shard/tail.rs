//! What a leader must know of entries that are not committed yet: where the next batch of a
//! stream goes, which sequence numbers were taken, and what is about to be dropped.

use std::collections::{HashMap, VecDeque};

use holdfast_protocol::entry::Kind;
use holdfast_protocol::{Offset, StreamId, command};
use prost::Message;

use crate::batch::Stamp;
use crate::state::{Command, Producers, Sequence, State};

/// A stream with uncommitted batches.
#[derive(Clone, Debug, Default)]
struct TailStream {
    end: Offset,
    /// Producers that have uncommitted batches, with all that is known of them.
    producers: Producers,
    /// The stream begins anew: what the state knows of its producers is about to go.
    is_new: bool,
    pending: usize,
}

/// Messages of a stream that uncommitted trims drop.
#[derive(Clone, Copy, Debug, Default)]
struct TailTrim {
    start: Offset,
    bytes: u64,
    pending: usize,
}

/// The streams with uncommitted batches, and those with uncommitted trims.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    streams: HashMap<StreamId, TailStream>,
    trims: HashMap<StreamId, TailTrim>,
}

impl Tail {
    /// What stands above `state`.
    pub(super) fn over(state: &State, pending: &VecDeque<Command>) -> Self {
        let mut tail = Self::default();
        for command in pending {
            tail.note(state, command);
        }
        tail
    }

    /// Where the next batch of `stream` goes.
    pub(super) fn end(&self, state: &State, stream: StreamId) -> Offset {
        match self.streams.get(&stream) {
            Some(tail) => tail.end,
            None => state.stream(stream).map_or(Offset(0), |stream| stream.end),
        }
    }

    /// Where `stream` begins and how large it is once all that waits is committed, but for what is
    /// appended.
    pub(super) fn kept(&self, state: &State, stream: StreamId) -> (Offset, u64) {
        let (start, bytes) =
            state.stream(stream).map_or((Offset(0), 0), |stream| (stream.start, stream.bytes));
        match self.trims.get(&stream) {
            Some(trim) => (start.max(trim.start), bytes.saturating_sub(trim.bytes)),
            None => (start, bytes),
        }
    }

    /// What the sequence numbers of a batch say.
    pub(super) fn check(&self, state: &State, stream: StreamId, stamp: Stamp) -> Sequence {
        let tail = self.streams.get(&stream);
        match tail.filter(|tail| tail.is_new || tail.producers.get(stamp.id).is_some()) {
            Some(tail) => tail.producers.check(stamp),
            None => state
                .stream(stream)
                .map_or(Sequence::Follows, |stream| stream.producers.check(stamp)),
        }
    }

    /// A command was appended.
    pub(super) fn note(&mut self, state: &State, command: &Command) {
        let header = &command.header;
        match header.kind {
            Kind::Append => {}
            Kind::DropStream => {
                // What follows begins anew at 0, as the state will.
                let tail = self.streams.entry(header.stream).or_default();
                tail.end = Offset(0);
                tail.producers = Producers::default();
                tail.is_new = true;
                tail.pending += 1;
                if let Some(trim) = self.trims.get_mut(&header.stream) {
                    (trim.start, trim.bytes) = (Offset(0), 0);
                }
                return;
            }
            Kind::TrimStream => {
                let of = command::TrimStream::decode(command.body.clone()).unwrap_or_default();
                let trim = self.trims.entry(header.stream).or_default();
                trim.start = trim.start.max(Offset(of.start));
                trim.bytes += of.bytes;
                trim.pending += 1;
                return;
            }
            Kind::EpochStart
            | Kind::CommitOffsets
            | Kind::DropOffsets
            | Kind::KeepGroup
            | Kind::DeclareTopic
            | Kind::DeleteTopic => return,
        }
        let tail = self.streams.entry(header.stream).or_default();
        tail.end = header.offset.plus(u64::from(header.count));
        tail.pending += 1;
        let Some(stamp) = command.stamp else { return };
        if !tail.is_new && tail.producers.get(stamp.id).is_none() {
            let known = state.stream(header.stream).and_then(|s| s.producers.get(stamp.id));
            if let Some(producer) = known {
                tail.producers.insert(stamp.id, producer.clone());
            }
        }
        tail.producers.note(stamp, header.offset, header.position, header.timestamp_ms);
    }

    /// A command was committed and applied.
    pub(super) fn settled(&mut self, command: &Command) {
        let header = &command.header;
        if header.kind == Kind::TrimStream {
            self.settled_trim(header.stream, command);
        }
        if !matches!(header.kind, Kind::Append | Kind::DropStream) {
            return;
        }
        let Some(tail) = self.streams.get_mut(&header.stream) else {
            return;
        };
        tail.pending -= 1;
        if tail.pending == 0 {
            self.streams.remove(&header.stream);
        }
    }

    fn settled_trim(&mut self, stream: StreamId, command: &Command) {
        let Some(trim) = self.trims.get_mut(&stream) else { return };
        let of = command::TrimStream::decode(command.body.clone()).unwrap_or_default();
        trim.bytes = trim.bytes.saturating_sub(of.bytes);
        trim.pending -= 1;
        if trim.pending == 0 {
            self.trims.remove(&stream);
        }
    }
}
