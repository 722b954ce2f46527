//! Group commit: flushing what was appended, on a thread of its own.

use holdfast_protocol::Position;

use crate::Error;

/// What must be flushed to make everything appended so far durable. Runs on any thread while
/// appends go on; hand the result to [`crate::ShardLog::flushed`].
#[derive(Debug)]
pub struct FlushJob {}

impl FlushJob {
    /// The end of the log when the job was made: durable once it has run.
    #[must_use]
    pub fn position(&self) -> Position {
        todo!()
    }

    /// Flushes. Blocks for as long as the disk needs.
    ///
    /// # Errors
    /// [`Error::FsyncFailed`]: stop the process at once.
    pub fn run(self) -> Result<Flushed, Error> {
        todo!()
    }
}

/// A [`FlushJob`] that succeeded.
#[derive(Clone, Copy, Debug)]
#[must_use = "hand it to ShardLog::flushed"]
pub struct Flushed {
    pub(crate) position: Position,
}

impl Flushed {
    /// Everything below is durable, unless the log was truncated meanwhile;
    /// [`crate::ShardLog::durable`] knows.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }
}
