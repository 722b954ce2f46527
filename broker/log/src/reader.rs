//! Reading while the writer writes.

use bytes::Bytes;
use holdfast_protocol::{Entry, Header, Offset, Position, StreamId};

use crate::Error;

/// Reads one shard's log, on any thread, while its writer writes. Cheap to clone.
///
/// Everything that comes from the disk has its checksum verified before it is returned, for
/// followers and consumers alike; what comes from the cache of newest entries was verified when
/// it was appended.
#[derive(Clone, Debug)]
pub struct LogReader {}

impl LogReader {
    /// The position one past the last entry.
    #[must_use]
    pub fn end(&self) -> Position {
        todo!()
    }

    /// Whole entries from the first at or after `position`: as many as `bytes_max` holds, at least
    /// one, in one buffer; empty at the end of the log. May return less than there is.
    ///
    /// # Errors
    /// [`Error::Damaged`] for rot; any IO error.
    pub fn read_from(&self, position: Position, bytes_max: usize) -> Result<Bytes, Error> {
        todo!()
    }

    /// Every entry with `from <= position < to`, for replay.
    #[must_use]
    pub fn entries(&self, from: Position, to: Position) -> Entries {
        todo!()
    }

    /// The header of every entry with `from <= position < to`, from the indexes: reads no entry.
    #[must_use]
    pub fn headers(&self, from: Position, to: Position) -> Headers {
        todo!()
    }

    /// The header of the `Append` entry (of at least one offset) that holds `offset` of `stream`,
    /// or of the first after it.
    ///
    /// # Errors
    /// Any IO error.
    pub fn locate(&self, stream: StreamId, offset: Offset) -> Result<Option<Header>, Error> {
        todo!()
    }

    /// The bodies of consecutive `Append` entries of `stream`: from the one that holds `offset`, or
    /// the first after it, as long as their first offset is below `below` and together they have
    /// at most `bytes_max` bytes; with `at_least_one`, the first whatever its size.
    ///
    /// # Errors
    /// [`Error::Damaged`] for rot; any IO error.
    pub fn read_stream(
        &self,
        stream: StreamId,
        offset: Offset,
        below: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Vec<Bytes>, Error> {
        todo!()
    }

    /// The first `Append` entry of `stream` that reaches `from` or beyond, begins below `below`,
    /// and whose largest timestamp is at or after `timestamp_ms`: its first offset and its body.
    ///
    /// # Errors
    /// [`Error::Damaged`] for rot; any IO error.
    pub fn find_timestamp(
        &self,
        stream: StreamId,
        timestamp_ms: i64,
        from: Offset,
        below: Offset,
    ) -> Result<Option<(Offset, Bytes)>, Error> {
        todo!()
    }
}

/// See [`LogReader::entries`].
#[derive(Debug)]
pub struct Entries {}

impl Iterator for Entries {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// See [`LogReader::headers`].
#[derive(Debug)]
pub struct Headers {}

impl Iterator for Headers {
    type Item = Result<Header, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
