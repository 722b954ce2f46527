//! The single writer of one shard's log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_protocol::{Epoch, Position};

use crate::index::Index;
use crate::meta::{self, State};
use crate::recover::{self, recover};
use crate::segment::Writer;
use crate::shared::{Active, Shared, View};
use crate::storage::{Disk, File};
use crate::{Config, Error, FlushJob, Flushed, LogReader, Meta, Recovered};

mod append;
mod checkpoint;
mod clean;
mod truncate;

pub use append::APPEND_BYTES_MAX;
pub use checkpoint::{CheckpointJob, Checkpointed};
pub use clean::Cleaned;

/// The log of one replica of one shard: its only writer.
#[derive(Debug)]
pub struct ShardLog {
    shared: Arc<Shared>,
    meta: Meta,
    /// What the meta file says of the log, and in memory the newest of it.
    state: State,
    writer: Writer,
    start: Position,
    end: Position,
    /// Sealed segments that have not been flushed since, oldest first.
    unsynced: Vec<Unsynced>,
    /// Bytes that the sealed segments take.
    sealed_bytes: u64,
    /// How often the log has been cut: what was in flight then counts for nothing.
    cuts: u64,
    /// Where cleaning goes on.
    clean_next: Position,
    /// The position of a checkpoint that another thread is writing.
    checkpoint_pending: Option<Position>,
}

/// A sealed segment that has not been flushed since.
#[derive(Debug)]
struct Unsynced {
    end: Position,
    path: PathBuf,
    file: Arc<File>,
    new: bool,
}

impl ShardLog {
    /// Opens the log in `dir`, making it where it does not exist, and recovers it: what lies above
    /// the durable point is verified, copied to new files and synced before it is offered; torn
    /// bytes are cut. Afterwards everything up to [`ShardLog::end`] is durable.
    ///
    /// The caller sees to it that nobody else has the directory open ([`crate::Volume`]).
    ///
    /// # Errors
    /// Any IO error; [`Error::Version`] for files of a newer release. Damage is no error: see
    /// [`Recovered::damage`].
    pub fn open(dir: &Path, config: Config) -> Result<(Self, Recovered), Error> {
        Self::open_on(&Disk::Files, dir, config)
    }

    /// As [`ShardLog::open`], on `disk`.
    ///
    /// # Errors
    /// As [`ShardLog::open`].
    pub fn open_on(disk: &Disk, dir: &Path, config: Config) -> Result<(Self, Recovered), Error> {
        let recover::Log { meta, state, sealed, writer, index, end, recovered } =
            recover(disk, dir, &config)?;
        let start = sealed.first().map_or(writer.identity.base, |first| first.identity.base);
        let sealed_bytes = sealed.iter().map(|sealed| sealed.summary.bytes).sum();
        let view = View { start, end, sealed, active: active(&writer, index) };
        let log = Self {
            shared: Arc::new(Shared::new(disk, dir, config, view)),
            meta,
            state,
            writer,
            start,
            end,
            unsynced: Vec::new(),
            sealed_bytes,
            cuts: 0,
            clean_next: Position(0),
            checkpoint_pending: None,
        };
        Ok((log, recovered))
    }

    /// One past the last entry.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    /// The first position that the log may hold.
    #[must_use]
    pub fn start(&self) -> Position {
        self.start
    }

    /// Everything below is on the disk.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.state.durable
    }

    /// Positions below may be left out: cleaned here, or on the replica this one was filled from.
    #[must_use]
    pub fn clean_point(&self) -> Position {
        self.state.clean_point
    }

    /// The position of the durable checkpoint.
    #[must_use]
    pub fn checkpoint_position(&self) -> Option<Position> {
        self.state.checkpoint
    }

    /// The epoch of the last entry, or of the last known below an empty log; 0 for none.
    #[must_use]
    pub fn last_epoch(&self) -> Epoch {
        self.state.epochs.last().map_or(Epoch::default(), |(epoch, _)| *epoch)
    }

    /// The first position of each epoch, oldest first; at most the newest 4,096.
    #[must_use]
    pub fn epochs(&self) -> &[(Epoch, Position)] {
        &self.state.epochs
    }

    /// Bytes that the segments take on the disk, preallocated ones included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sealed_bytes + self.writer.used.max(self.writer.allocated)
    }

    /// A reader that works while this writer writes.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// What must be flushed to make everything up to [`ShardLog::end`] durable; `None` where it is
    /// already. One job at a time is enough: what is appended meanwhile goes with the next.
    #[must_use]
    pub fn flush_job(&self) -> Option<FlushJob> {
        if self.state.durable >= self.end {
            return None;
        }
        let mut names = false;
        let mut files = Vec::with_capacity(self.unsynced.len() + 1);
        for sealed in &self.unsynced {
            names |= sealed.new;
            files.push((sealed.path.clone(), Arc::clone(&sealed.file)));
        }
        if self.writer.identity.base < self.end {
            names |= self.writer.new;
            files.push((self.writer.path.clone(), Arc::clone(&self.writer.file)));
        }
        Some(FlushJob {
            shared: Arc::clone(&self.shared),
            files,
            names,
            flushed: Flushed { position: self.end, cuts: self.cuts },
        })
    }

    /// Takes the result of a [`FlushJob`]. One that a truncation has overtaken counts for nothing.
    /// Blocks for a write of the meta file once in the life of a log that is filled behind a
    /// checkpoint: when all of that is durable.
    ///
    /// # Errors
    /// Any IO error of that; the log is not called durable then, and the next flush tries again.
    pub fn flushed(&mut self, flushed: Flushed) -> Result<(), Error> {
        if flushed.cuts != self.cuts {
            return Ok(());
        }
        self.unsynced.retain(|sealed| sealed.end > flushed.position);
        if self.writer.identity.base < flushed.position {
            self.writer.new = false;
        }
        self.note_durable(self.state.durable.max(flushed.position))
    }

    /// Notes up to where the log is durable. Of a log that is being filled the meta file says so,
    /// too: an open could not tell what was lost of it from what its leader has cleaned.
    fn note_durable(&mut self, durable: Position) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.state.durable, durable);
        let filled = before < self.state.clean_point && durable >= self.state.clean_point;
        let noted = if filled { self.save(&self.meta, &self.state) } else { Ok(()) };
        if noted.is_err() {
            self.state.durable = before;
        }
        noted
    }

    /// Makes everything durable, here and now.
    ///
    /// # Errors
    /// Any of [`FlushJob::run`] and [`ShardLog::flushed`].
    pub fn flush(&mut self) -> Result<(), Error> {
        if let Some(job) = self.flush_job() {
            let flushed = job.run()?;
            self.flushed(flushed)?;
        }
        Ok(())
    }

    /// What was last written by [`ShardLog::write_meta`].
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Replaces the meta durably (two flushes).
    ///
    /// # Errors
    /// Any IO error; the old meta stands then.
    pub fn write_meta(&mut self, meta: &Meta) -> Result<(), Error> {
        self.save(meta, &self.state)?;
        self.meta.clone_from(meta);
        Ok(())
    }

    /// Flushes everything and notes that the log was closed in order.
    ///
    /// # Errors
    /// Any IO error; the next open recovers then.
    pub fn close(mut self) -> Result<(), Error> {
        self.shared.check()?;
        self.flush()?;
        self.state.clean = true;
        self.save(&self.meta, &self.state)
    }

    /// Writes the meta file.
    fn save(&self, meta: &Meta, state: &State) -> Result<(), Error> {
        self.shared.check()?;
        let written = meta::write(&self.shared.disk, &self.shared.dir.join("meta"), meta, state);
        self.shared.watch(written)
    }

    fn config(&self) -> &Config {
        &self.shared.config
    }
}

/// The active segment as readers see it.
fn active(writer: &Writer, index: Index) -> Active {
    Active {
        base: writer.identity.base,
        path: writer.path.clone(),
        file: Arc::clone(&writer.file),
        index,
    }
}
