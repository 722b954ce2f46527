//! The single writer of one shard's log.

use std::path::Path;

use holdfast_protocol::{Epoch, Header, Position};

use crate::{Config, Error, FlushJob, Flushed, LogReader, Meta, Recovered};

/// The log of one replica of one shard: its only writer.
#[derive(Debug)]
pub struct ShardLog {}

impl ShardLog {
    /// Opens the log in `dir`, making it where it does not exist, and recovers it: what lies above
    /// the durable point is verified, copied to new files and synced before it is offered; torn
    /// bytes are cut. Afterwards everything up to [`ShardLog::end`] is durable.
    ///
    /// # Errors
    /// Any IO error; [`Error::Version`] for files of a newer release. Damage is no error: see
    /// [`Recovered::damage`].
    pub fn open(dir: &Path, config: Config) -> Result<(Self, Recovered), Error> {
        todo!()
    }

    /// Writes one or more whole entries to the end of the log, without flushing. Every entry is
    /// verified. Positions go on from [`ShardLog::end`]; below `gaps_until` of a
    /// [`ShardLog::reset`] they may leave some out.
    ///
    /// # Errors
    /// [`Error::DiskFull`] leaves the log as it was; so do the refusals. Others are fatal.
    pub fn append(&mut self, entries: &[u8]) -> Result<(), Error> {
        todo!()
    }

    /// One past the last entry.
    #[must_use]
    pub fn end(&self) -> Position {
        todo!()
    }

    /// The first position that the log may hold.
    #[must_use]
    pub fn start(&self) -> Position {
        todo!()
    }

    /// Everything below is on the disk.
    #[must_use]
    pub fn durable(&self) -> Position {
        todo!()
    }

    /// Positions below may be left out: cleaned here, or on the replica this one was filled from.
    #[must_use]
    pub fn clean_point(&self) -> Position {
        todo!()
    }

    /// The position of the durable checkpoint.
    #[must_use]
    pub fn checkpoint_position(&self) -> Option<Position> {
        todo!()
    }

    /// The epoch of the last entry, or of the last known below an empty log; 0 for none.
    #[must_use]
    pub fn last_epoch(&self) -> Epoch {
        todo!()
    }

    /// The first position of each epoch, oldest first.
    #[must_use]
    pub fn epochs(&self) -> &[(Epoch, Position)] {
        todo!()
    }

    /// What must be flushed to make everything up to [`ShardLog::end`] durable; `None` where it is
    /// already. One job at a time is enough: what is appended meanwhile goes with the next.
    #[must_use]
    pub fn flush_job(&self) -> Option<FlushJob> {
        todo!()
    }

    /// Takes the result of a [`FlushJob`]. One that a truncation has overtaken counts for nothing.
    pub fn flushed(&mut self, flushed: Flushed) {
        todo!()
    }

    /// Cuts every entry at or above `to`. They are copied to `aside/` and synced first; the cut is
    /// durable when this returns.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `to` is below the durable checkpoint, whose state would be left
    /// without its log ([`ShardLog::reset`] instead), or beyond the end. [`Error::DiskFull`] leaves
    /// the log as it was.
    pub fn truncate(&mut self, to: Position) -> Result<(), Error> {
        todo!()
    }

    /// Sets everything aside, the checkpoint too, and begins an empty log at `start`, as of a log
    /// with the history `epochs`. Positions below `gaps_until`, the clean point of the log that it
    /// is filled from, may be left out. Meta is kept. Durable when this returns.
    ///
    /// # Errors
    /// Any IO error.
    pub fn reset(
        &mut self,
        start: Position,
        epochs: Vec<(Epoch, Position)>,
        gaps_until: Position,
    ) -> Result<(), Error> {
        todo!()
    }

    /// What was last written by [`ShardLog::write_meta`].
    #[must_use]
    pub fn meta(&self) -> &Meta {
        todo!()
    }

    /// Replaces the meta durably (two flushes).
    ///
    /// # Errors
    /// Any IO error; the old meta stands then.
    pub fn write_meta(&mut self, meta: &Meta) -> Result<(), Error> {
        todo!()
    }

    /// Makes the log durable up to `position` and `bytes` its durable checkpoint. Blocks for
    /// several flushes; [`ShardLog::checkpoint_job`] does it elsewhere.
    ///
    /// # Errors
    /// Any IO error; the old checkpoint stands then.
    pub fn write_checkpoint(&mut self, position: Position, bytes: &[u8]) -> Result<(), Error> {
        todo!()
    }

    /// As [`ShardLog::write_checkpoint`], for another thread; hand the result to
    /// [`ShardLog::checkpointed`]. One at a time.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `position` is below the present checkpoint or beyond the end.
    pub fn checkpoint_job(
        &mut self,
        position: Position,
        bytes: Vec<u8>,
    ) -> Result<CheckpointJob, Error> {
        todo!()
    }

    /// Takes the result of a [`CheckpointJob`] and notes it in the meta file (two flushes).
    ///
    /// # Errors
    /// Any IO error.
    pub fn checkpointed(&mut self, done: Checkpointed) -> Result<(), Error> {
        todo!()
    }

    /// Frees the room of dead entries: deletes sealed segments that hold nothing else, and
    /// rewrites one that is mostly dead. Looks only at segments wholly below both `below` and the
    /// durable checkpoint, at most `clean_segments_max` of them a call, and goes on where the last
    /// call stopped.
    ///
    /// # Errors
    /// Any IO error.
    pub fn clean(
        &mut self,
        below: Position,
        is_dead: impl Fn(&Header) -> bool,
    ) -> Result<Cleaned, Error> {
        todo!()
    }

    /// A reader that works while this writer writes.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        todo!()
    }

    /// Bytes that the segments take on the disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        todo!()
    }

    /// Flushes everything and notes that the log was closed in order.
    ///
    /// # Errors
    /// Any IO error; the next open recovers then.
    pub fn close(self) -> Result<(), Error> {
        todo!()
    }
}

/// A checkpoint to be written by another thread.
#[derive(Debug)]
pub struct CheckpointJob {}

impl CheckpointJob {
    /// Makes the log durable up to the checkpoint's position, then replaces the checkpoint file.
    ///
    /// # Errors
    /// [`Error::FsyncFailed`] is fatal; others leave the old checkpoint.
    pub fn run(self) -> Result<Checkpointed, Error> {
        todo!()
    }
}

/// A [`CheckpointJob`] that succeeded.
#[derive(Debug)]
#[must_use = "hand it to ShardLog::checkpointed"]
pub struct Checkpointed {}

/// What one call of [`ShardLog::clean`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Segments looked at.
    pub segments: usize,
    /// Segments deleted.
    pub deleted: usize,
    /// Segments rewritten.
    pub rewritten: usize,
    /// Bytes freed.
    pub bytes: u64,
    /// Every segment that may be cleaned has been looked at since the last time this was true.
    pub complete: bool,
}
