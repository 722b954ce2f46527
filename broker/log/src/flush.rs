//! Group commit: flushing what was appended, on a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_protocol::Position;

use crate::shared::Shared;
use crate::storage::File;
use crate::{Error, disk};

/// What must be flushed to make everything appended so far durable. Runs on any thread while
/// appends go on; hand the result to [`crate::ShardLog::flushed`].
#[derive(Debug)]
pub struct FlushJob {
    pub(crate) shared: Arc<Shared>,
    /// Oldest first.
    pub(crate) files: Vec<(PathBuf, Arc<File>)>,
    /// One of them is new: its name has to be made durable too.
    pub(crate) names: bool,
    pub(crate) flushed: Flushed,
}

impl FlushJob {
    /// The end of the log when the job was made: durable once it has run.
    #[must_use]
    pub fn position(&self) -> Position {
        self.flushed.position
    }

    /// Flushes. Blocks for as long as the disk needs.
    ///
    /// # Errors
    /// [`Error::FsyncFailed`]: stop the process at once. The log takes nothing more.
    pub fn run(self) -> Result<Flushed, Error> {
        let result = self.flush();
        self.shared.watch(result)?;
        Ok(self.flushed)
    }

    fn flush(&self) -> Result<(), Error> {
        for (path, file) in &self.files {
            file.sync_data().map_err(|error| Error::fsync(path, error))?;
        }
        if self.names {
            disk::sync_dir(&self.shared.disk, &self.shared.dir)?;
        }
        Ok(())
    }
}

/// A [`FlushJob`] that succeeded.
#[derive(Clone, Copy, Debug)]
#[must_use = "hand it to ShardLog::flushed"]
pub struct Flushed {
    pub(crate) position: Position,
    /// How often the log had been cut when the job was made.
    pub(crate) cuts: u64,
}

impl Flushed {
    /// Everything below is durable, unless the log was truncated meanwhile;
    /// [`crate::ShardLog::durable`] knows.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }
}
