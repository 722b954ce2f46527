//! Writing the durable checkpoint, here or on another thread.

use std::sync::Arc;

use holdfast_protocol::Position;

use super::ShardLog;
use crate::shared::{Newest, Shared};
use crate::{Error, FlushJob, Flushed, checkpoint};

impl ShardLog {
    /// Makes the log durable up to `position` and `bytes` its durable checkpoint. Blocks for
    /// several flushes; [`ShardLog::checkpoint_job`] does it elsewhere.
    ///
    /// # Errors
    /// Any IO error; the old checkpoint stands then.
    pub fn write_checkpoint(&mut self, position: Position, bytes: &[u8]) -> Result<(), Error> {
        let result = self
            .checkpoint_job(position, bytes.to_vec())?
            .run()
            .and_then(|done| self.checkpointed(done));
        if result.is_err() {
            self.checkpoint_pending = None;
        }
        result
    }

    /// The durable checkpoint, read back; `None` where there is none.
    ///
    /// # Errors
    /// Any IO error; [`Error::Damaged`] where the file is not the checkpoint that was written.
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, Error> {
        let Some(noted) = self.state.checkpoint else { return Ok(None) };
        let path = self.shared.dir.join("checkpoint");
        match checkpoint::read(&self.shared.disk, &path)? {
            checkpoint::Found::Good { generation, position, bytes }
                if generation == self.state.generation && position >= noted =>
            {
                Ok(Some(bytes))
            }
            checkpoint::Found::Good { .. }
            | checkpoint::Found::Bad(_)
            | checkpoint::Found::Missing => {
                let reason = "it is not the checkpoint that was written".to_owned();
                Err(Error::Damaged { path, at: 0, position: noted, reason })
            }
        }
    }

    /// After a [`ShardLog::reset`], puts the checkpoint in place that stands for everything below
    /// `gaps_until`; the log is filled in behind it. A log that is opened before it is filled
    /// reports damage, and must be reset again.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `position` is not the `gaps_until` of the reset; any IO error.
    pub fn install_checkpoint(&mut self, position: Position, bytes: &[u8]) -> Result<(), Error> {
        self.shared.check()?;
        let gaps_until = self.state.clean_point;
        if position != gaps_until {
            let (low, high) = (gaps_until, gaps_until);
            return Err(Error::OutOfRange { action: "be checkpointed", position, low, high });
        }
        replace(&self.shared, self.state.generation, position, bytes)?;
        self.state.checkpoint = Some(position);
        self.save(&self.meta, &self.state)
    }

    /// As [`ShardLog::write_checkpoint`], for another thread; hand the result to
    /// [`ShardLog::checkpointed`]. One at a time; until then the log can't be cut below `position`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `position` is below the present checkpoint or beyond the end.
    pub fn checkpoint_job(
        &mut self,
        position: Position,
        bytes: Vec<u8>,
    ) -> Result<CheckpointJob, Error> {
        self.shared.check()?;
        let low = self.start.max(self.state.checkpoint.unwrap_or_default());
        if position < low || position > self.end {
            return Err(Error::OutOfRange {
                action: "be checkpointed",
                position,
                low,
                high: self.end,
            });
        }
        self.checkpoint_pending = Some(position);
        Ok(CheckpointJob {
            shared: Arc::clone(&self.shared),
            flush: (self.state.durable < position).then(|| self.flush_job()).flatten(),
            generation: self.state.generation,
            position,
            bytes,
        })
    }

    /// A [`CheckpointJob`] failed, and the old checkpoint stands.
    pub fn checkpoint_failed(&mut self) {
        self.checkpoint_pending = None;
    }

    /// Takes the result of a [`CheckpointJob`] and notes it in the meta file (two flushes). One
    /// that a reset has overtaken counts for nothing.
    ///
    /// # Errors
    /// Any IO error.
    pub fn checkpointed(&mut self, done: Checkpointed) -> Result<(), Error> {
        if done.generation != self.state.generation {
            return Ok(());
        }
        self.checkpoint_pending = None;
        if let Some(flushed) = done.flushed {
            self.flushed(flushed)?;
        }
        self.state.checkpoint = Some(done.position);
        self.save(&self.meta, &self.state)
    }
}

/// Replaces the checkpoint durably, unless there is a newer one: an older one in its place would
/// make a whole log look damaged.
fn replace(
    shared: &Shared,
    generation: u32,
    position: Position,
    bytes: &[u8],
) -> Result<(), Error> {
    let mut newest = shared.newest_checkpoint();
    if (newest.generation, newest.position) > (generation, position) {
        let (low, high) = (newest.position, Position::MAX);
        return Err(Error::OutOfRange { action: "be checkpointed", position, low, high });
    }
    shared.check()?;
    *newest = Newest { generation, position };
    let path = shared.dir.join("checkpoint");
    shared.watch(checkpoint::write(&shared.disk, &path, generation, position, bytes))
}

/// A checkpoint to be written by another thread.
#[derive(Debug)]
pub struct CheckpointJob {
    shared: Arc<Shared>,
    flush: Option<FlushJob>,
    generation: u32,
    position: Position,
    bytes: Vec<u8>,
}

impl CheckpointJob {
    /// Makes the log durable up to the checkpoint's position, then replaces the checkpoint file.
    ///
    /// # Errors
    /// [`Error::FsyncFailed`] and [`Error::WriteFailed`] are fatal; others leave the old
    /// checkpoint, and another job may be made. [`Error::OutOfRange`] where there is a newer one by
    /// now, as after the log was closed or begun anew.
    pub fn run(self) -> Result<Checkpointed, Error> {
        let flushed = self.flush.map(FlushJob::run).transpose()?;
        replace(&self.shared, self.generation, self.position, &self.bytes)?;
        Ok(Checkpointed { flushed, generation: self.generation, position: self.position })
    }
}

/// A [`CheckpointJob`] that succeeded.
#[derive(Debug)]
#[must_use = "hand it to ShardLog::checkpointed"]
pub struct Checkpointed {
    flushed: Option<Flushed>,
    generation: u32,
    position: Position,
}
