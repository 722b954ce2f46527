//! What a leader must know of entries that are not committed yet: where the next batch of a
//! stream goes, and which sequence numbers were taken.

use std::collections::{HashMap, VecDeque};

use holdfast_protocol::entry::Kind;
use holdfast_protocol::{Offset, StreamId};

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

/// The streams with uncommitted batches.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(HashMap<StreamId, TailStream>);

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
        match self.0.get(&stream) {
            Some(tail) => tail.end,
            None => state.stream(stream).map_or(Offset(0), |stream| stream.end),
        }
    }

    /// What the sequence numbers of a batch say.
    pub(super) fn check(&self, state: &State, stream: StreamId, stamp: Stamp) -> Sequence {
        let tail = self.0.get(&stream);
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
                let tail = self.0.entry(header.stream).or_default();
                tail.end = Offset(0);
                tail.producers = Producers::default();
                tail.is_new = true;
                tail.pending += 1;
                return;
            }
            Kind::EpochStart
            | Kind::TrimStream
            | Kind::CommitOffsets
            | Kind::DropOffsets
            | Kind::KeepGroup
            | Kind::DeclareTopic
            | Kind::DeleteTopic => return,
        }
        let tail = self.0.entry(header.stream).or_default();
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
        if !matches!(header.kind, Kind::Append | Kind::DropStream) {
            return;
        }
        let Some(tail) = self.0.get_mut(&header.stream) else {
            return;
        };
        tail.pending -= 1;
        if tail.pending == 0 {
            self.0.remove(&header.stream);
        }
    }
}
