//! Appending, and beginning a new segment.

use std::sync::Arc;

use holdfast_protocol::entry::Entries;
use holdfast_protocol::{Epoch, Header, Position};

use super::{ShardLog, Unsynced, active};
use crate::Error;
use crate::identity::{HEAD, Identity};
use crate::index::{ENTRIES_MAX, Index};
use crate::segment::{self, SEGMENT_BYTES_MAX, Sealed, Writer};
use crate::shared::Opened;
use crate::summary::{self, Summary};

/// Most bytes of one append: what fits behind the head of a segment whose places are 32 bits wide,
/// with room to spare.
pub const APPEND_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most sealed segments that may wait for a flush; beyond, appending waits for one.
const UNSYNCED_MAX: usize = 8;

impl ShardLog {
    /// Writes entries to the end of the log, without flushing. Positions go on from
    /// [`ShardLog::end`]; below `gaps_until` of a [`ShardLog::reset`] they may leave some out.
    ///
    /// # Errors
    /// [`Error::DiskFull`] leaves the log as it was; so do the refusals. Others are fatal.
    pub fn append(&mut self, entries: &Entries) -> Result<(), Error> {
        self.shared.check()?;
        self.check(entries)?;
        let Some(next) = entries.next() else {
            return Ok(());
        };
        let (bytes, headers) = (entries.bytes(), entries.headers());
        let written = self.place(bytes.len(), headers.len()).and_then(|()| {
            let growth = self.config().growth();
            self.writer.write(bytes, growth)
        });
        self.shared.watch(written)?;
        let base = self.writer.identity.base;
        let first_at = self.writer.used - bytes.len() as u64;
        self.shared.tail_mut().push(base, first_at, bytes);
        let mut view = self.shared.view_mut();
        let mut at = first_at;
        for header in headers {
            let place = u32::try_from(at).expect("a segment and an append are bounded");
            view.active.index.push(header, place);
            at += u64::from(header.length);
        }
        self.end = next;
        view.end = self.end;
        drop(view);
        for header in headers {
            self.state.note_epoch(header.epoch, header.position);
        }
        Ok(())
    }

    /// Checks that the entries continue the log.
    fn check(&self, entries: &Entries) -> Result<(), Error> {
        let bytes = entries.bytes().len();
        if bytes > APPEND_BYTES_MAX {
            return Err(Error::TooLarge { bytes, max: APPEND_BYTES_MAX });
        }
        let mut expected = self.end;
        let mut epoch = self.last_epoch();
        for header in entries.headers() {
            self.check_follows(header, expected, epoch)?;
            expected = header.position.next();
            epoch = header.epoch;
        }
        Ok(())
    }

    fn check_follows(&self, header: &Header, expected: Position, last: Epoch) -> Result<(), Error> {
        let found = header.position;
        let may_skip = found > expected && found <= self.state.clean_point;
        if found != expected && !may_skip {
            return Err(Error::NotContiguous { expected, found });
        }
        if header.epoch < last {
            return Err(Error::EpochBackwards { last, found: header.epoch });
        }
        Ok(())
    }

    /// Sees to it that the active segment takes that many bytes and entries.
    fn place(&mut self, bytes: usize, entries: usize) -> Result<(), Error> {
        let config = self.config();
        let bytes = bytes as u64;
        let full = self.sealed_bytes + self.writer.used + bytes + HEAD;
        if config.bytes_max.is_some_and(|max| full > max) {
            return Err(Error::DiskFull { path: self.writer.path.clone() });
        }
        let entries_max = config.segment_entries_max.min(ENTRIES_MAX) as usize;
        let present = self.shared.view().active.index.len();
        let fits = self.writer.used + bytes <= config.segment_bytes_max.min(SEGMENT_BYTES_MAX)
            && present + entries <= entries_max;
        if fits || present == 0 {
            return Ok(());
        }
        if self.unsynced.len() >= UNSYNCED_MAX {
            self.flush()?;
        }
        self.roll()
    }

    /// Seals the active segment and begins another. Nothing has changed where that fails.
    fn roll(&mut self) -> Result<(), Error> {
        let identity = Identity { generation: self.state.generation, revision: 0, base: self.end };
        let next =
            Writer::create(&self.shared.disk, &self.shared.dir, identity, self.config().growth())?;
        // The room allocated ahead; where the cut fails the zeros stay, which is harmless.
        let _ = self.writer.cut();
        let old = std::mem::replace(&mut self.writer, next);
        self.seal(old);
        Ok(())
    }

    /// Makes the segment that was active a sealed one, and the writer's the active one.
    fn seal(&mut self, old: Writer) {
        let streams_max = self.config().summary_streams_max;
        let mut view = self.shared.view_mut();
        let index =
            std::mem::replace(&mut view.active, active(&self.writer, Index::default())).index;
        let sealed = Arc::new(Sealed {
            identity: old.identity,
            index_path: segment::index_path(&self.shared.dir, old.identity.base),
            summary: Summary::new(&index, self.end, old.used, streams_max),
            path: old.path.clone(),
        });
        let opened = Arc::new(Opened {
            identity: old.identity,
            path: old.path.clone(),
            file: Arc::clone(&old.file),
            index,
        });
        self.shared.keep(Arc::clone(&opened));
        view.sealed.push(Arc::clone(&sealed));
        drop(view);
        let Sealed { identity, index_path, summary, .. } = &*sealed;
        // Without its file an index is made again by scanning.
        let _ = summary::write(&self.shared.disk, index_path, *identity, summary, &opened.index);
        self.sealed_bytes += old.used;
        if self.end > self.state.durable {
            self.unsynced.push(Unsynced {
                end: self.end,
                path: old.path,
                file: old.file,
                new: old.new,
            });
        }
    }
}
