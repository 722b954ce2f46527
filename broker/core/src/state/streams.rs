//! Streams: their bounds, their epochs, their producers.

use holdfast_protocol::{Epoch, Offset, StreamId, command};

use super::{ApplyError, Change, Command, Producers, State};

/// The committed state of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// First offset that it still has.
    pub start: Offset,
    /// One past its last message.
    pub end: Offset,
    /// First offset that was appended in each epoch, oldest first.
    pub epochs: Vec<(Epoch, Offset)>,
    /// Its idempotent producers.
    pub producers: Producers,
    /// Size of what it has, bytes, as its leaders counted.
    pub bytes: u64,
    /// Largest timestamp of any message, ms since 1970.
    pub timestamp_ms_max: i64,
}

impl Stream {
    /// The largest epoch at or below `epoch` and the end offset of it. What is older than all that
    /// the stream has ended where that begins, as in Kafka: nothing of it was cut off. `None` where
    /// the stream has never had anything.
    #[must_use]
    pub fn end_of(&self, epoch: Epoch) -> Option<(Epoch, Offset)> {
        let after = self.epochs.partition_point(|(known, _)| *known <= epoch);
        let ends = self.epochs.get(after).map_or(self.end, |(_, start)| *start);
        match after.checked_sub(1) {
            Some(at) => Some((self.epochs[at].0, ends)),
            None => self.epochs.first().map(|_| (epoch, ends)),
        }
    }

    /// Drops what the epochs say of messages below the start, but for the one it is in.
    fn forget_epochs(&mut self) {
        let after = self.epochs.partition_point(|(_, first)| *first <= self.start);
        self.epochs.drain(..after.saturating_sub(1));
    }
}

impl State {
    pub(super) fn append(&mut self, command: &Command) -> Result<Change, ApplyError> {
        let header = &command.header;
        let expected = self.stream(header.stream).map_or(Offset(0), |stream| stream.end);
        let found = header.offset;
        if found != expected {
            return Err(ApplyError::Offset { stream: header.stream, expected, found });
        }
        let stream = self.streams.entry(header.stream).or_default();
        if stream.epochs.last().is_none_or(|(epoch, _)| *epoch < header.epoch) {
            stream.epochs.push((header.epoch, header.offset));
        }
        stream.end = header.offset.plus(u64::from(header.count));
        stream.bytes = stream.bytes.saturating_add(header.length.into());
        stream.timestamp_ms_max = stream.timestamp_ms_max.max(header.timestamp_ms);
        if let Some(stamp) = command.stamp {
            let (position, timestamp) = (header.position, header.timestamp_ms);
            stream.producers.note(stamp, header.offset, position, timestamp);
        }
        Ok(Change::Stream(header.stream))
    }

    pub(super) fn trim(&mut self, id: StreamId, trim: &command::TrimStream) -> Change {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Change::Nothing;
        };
        stream.start = stream.start.max(Offset(trim.start)).min(stream.end);
        stream.bytes = stream.bytes.saturating_sub(trim.bytes);
        stream.forget_epochs();
        Change::Stream(id)
    }

    pub(super) fn drop_stream(&mut self, id: StreamId) -> Change {
        match self.streams.remove(&id) {
            Some(_) => Change::StreamGone(id),
            None => Change::Nothing,
        }
    }
}
