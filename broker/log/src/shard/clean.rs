//! Freeing the room of dead entries.
//!
//! Deletes sealed segments without live entries and rewrites those that are mostly dead. The
//! clean point moves, durably, before anything goes, so that recovery never takes a gap that was
//! made here for a loss.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use holdfast_protocol::{Header, Position, mark};

use super::ShardLog;
use crate::identity::{HEAD, Identity};
use crate::index::{Index, Slot};
use crate::segment::Sealed;
use crate::shared::Opened;
use crate::storage::{Disk, File, Sequential};
use crate::summary::{self, Summary};
use crate::{Error, disk};

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

/// What is to become of a segment.
enum Fate {
    Keep,
    Delete,
    /// Rewrite with these entries.
    Rewrite(Vec<usize>),
}

impl ShardLog {
    /// Frees the room of dead entries: deletes sealed segments that hold nothing else, and
    /// rewrites one that is mostly dead. Looks only at segments wholly below both `below` and the
    /// durable checkpoint, at most `clean_segments_max` of them a call, and goes on where the last
    /// call stopped.
    ///
    /// # Errors
    /// Any IO error. [`Error::DiskFull`] and [`Error::Damaged`] leave the segment as it was; the
    /// next call goes on with the one after it.
    pub fn clean(
        &mut self,
        below: Position,
        is_dead: impl Fn(&Header) -> bool,
    ) -> Result<Cleaned, Error> {
        self.shared.check()?;
        // While a log is filled behind an installed checkpoint, that is ahead of the disk.
        let below = below.min(self.state.checkpoint.unwrap_or_default()).min(self.state.durable);
        let mut cleaned = Cleaned::default();
        while cleaned.segments < self.config().clean_segments_max.max(1) && cleaned.rewritten == 0 {
            let Some(sealed) = self.next_to_clean(below) else {
                self.clean_next = Position(0);
                cleaned.complete = true;
                break;
            };
            cleaned.segments += 1;
            self.clean_next = sealed.identity.base.next();
            let opened = self.shared.open(&sealed)?;
            match self.fate(&opened.index, &sealed, &is_dead) {
                Fate::Keep => {}
                Fate::Delete => {
                    self.prepare(&sealed)?;
                    let result = self.delete(&sealed);
                    self.shared.watch(result)?;
                    mark!(SegmentDeleted);
                    cleaned.deleted += 1;
                    cleaned.bytes += sealed.summary.bytes;
                }
                Fate::Rewrite(live) => {
                    self.prepare(&sealed)?;
                    let result = self.rewrite(&sealed, &opened, &live);
                    let left = self.shared.watch(result)?;
                    mark!(SegmentRewritten);
                    cleaned.rewritten += 1;
                    cleaned.bytes += sealed.summary.bytes - left;
                }
            }
        }
        Ok(cleaned)
    }

    /// The next sealed segment that ends at or below `below`.
    fn next_to_clean(&self, below: Position) -> Option<Arc<Sealed>> {
        let view = self.shared.view();
        let number = view.sealed.partition_point(|sealed| sealed.identity.base < self.clean_next);
        view.sealed.get(number).filter(|sealed| sealed.summary.end <= below).cloned()
    }

    fn fate(&self, index: &Index, sealed: &Sealed, is_dead: &impl Fn(&Header) -> bool) -> Fate {
        let live: Vec<usize> =
            (0..index.len()).filter(|entry| !is_dead(&index.header(*entry))).collect();
        if live.is_empty() {
            return Fate::Delete;
        }
        let all = sealed.summary.bytes - HEAD;
        let kept: u64 = live.iter().map(|entry| u64::from(index.slots()[*entry].length)).sum();
        let percent = u64::from(self.config().clean_dead_percent);
        if live.len() < index.len() && (all - kept) * 100 >= all * percent {
            Fate::Rewrite(live)
        } else {
            Fate::Keep
        }
    }

    /// Makes durable what removing part of `sealed` relies on: the clean point, the epochs whose
    /// first entries may go, and the name of the segment that the log goes on in.
    fn prepare(&mut self, sealed: &Sealed) -> Result<(), Error> {
        if self.writer.new {
            self.writer
                .file
                .sync_all()
                .map_err(|error| self.failed(Error::fsync(&self.writer.path, error)))?;
            let synced = disk::sync_dir(&self.shared.disk, &self.shared.dir);
            self.shared.watch(synced)?;
            self.writer.new = false;
        }
        if self.state.clean_point < sealed.summary.end {
            let mut state = self.state.clone();
            state.clean_point = sealed.summary.end;
            self.save(&self.meta, &state)?;
            self.state = state;
        }
        Ok(())
    }

    fn failed(&self, error: Error) -> Error {
        self.shared.fail();
        error
    }

    fn delete(&mut self, sealed: &Sealed) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let _changing = shared.change();
        let mut view = self.shared.view_mut();
        view.sealed.retain(|other| other.identity != sealed.identity);
        view.start = view.sealed.first().map_or(view.active.base, |first| first.identity.base);
        self.start = view.start;
        drop(view);
        self.sealed_bytes -= sealed.summary.bytes;
        disk::remove(&self.shared.disk, &sealed.path)?;
        disk::remove(&self.shared.disk, &sealed.index_path)?;
        disk::sync_dir(&self.shared.disk, &self.shared.dir)
    }

    /// Writes the live entries to a new file in the place of the old one; says how long it is.
    fn rewrite(
        &mut self,
        sealed: &Arc<Sealed>,
        opened: &Opened,
        live: &[usize],
    ) -> Result<u64, Error> {
        let identity =
            Identity { revision: sealed.identity.revision.wrapping_add(1), ..sealed.identity };
        let temporary = disk::temporary(&sealed.path);
        let written = write_live(&self.shared.disk, &temporary, identity, opened, live);
        let (file, index, bytes) = match written {
            Ok(written) => written,
            Err(error) => {
                disk::remove(&self.shared.disk, &temporary)?;
                return Err(error);
            }
        };
        let streams_max = self.config().summary_streams_max;
        let new = Sealed {
            identity,
            path: sealed.path.clone(),
            index_path: sealed.index_path.clone(),
            summary: Summary::new(&index, sealed.summary.end, bytes, streams_max),
        };
        let shared = Arc::clone(&self.shared);
        let _changing = shared.change();
        disk::rename(&self.shared.disk, &temporary, &sealed.path)?;
        // Without its file an index is made again by scanning.
        let _ = summary::write(&self.shared.disk, &new.index_path, identity, &new.summary, &index);
        // Entries lie elsewhere in this segment now.
        self.shared.tail_mut().clear();
        self.shared.keep(Arc::new(Opened {
            identity,
            path: new.path.clone(),
            file: Arc::new(file),
            index,
        }));
        let mut view = self.shared.view_mut();
        if let Some(place) = view.sealed.iter_mut().find(|other| other.identity == sealed.identity)
        {
            *place = Arc::new(new);
        }
        drop(view);
        self.sealed_bytes -= sealed.summary.bytes - bytes;
        disk::sync_dir(&self.shared.disk, &self.shared.dir)?;
        Ok(bytes)
    }
}

/// Writes the live entries of a segment to a new, synced file.
fn write_live(
    disk: &Disk,
    path: &std::path::Path,
    identity: Identity,
    opened: &Opened,
    live: &[usize],
) -> Result<(File, Index, u64), Error> {
    let write = |error| Error::write(path, error);
    let mut out = BufWriter::with_capacity(1024 * 1024, Sequential::new(disk::create(disk, path)?));
    out.write_all(&identity.head()).map_err(write)?;
    let mut index = Index::default();
    let mut at = HEAD;
    let mut buffer = Vec::new();
    for entry in live {
        let slot: &Slot = &opened.index.slots()[*entry];
        buffer.resize(slot.length as usize, 0);
        let read = disk::read_at(&opened.file, &opened.path, &mut buffer, u64::from(slot.at))?;
        let header = Header::verify(&buffer[..read])
            .ok()
            .filter(|header| header.position == slot.position && header.crc == slot.crc)
            .ok_or_else(|| Error::Damaged {
                path: opened.path.clone(),
                at: u64::from(slot.at),
                position: slot.position,
                reason: "an entry is not what was written".to_owned(),
            })?;
        out.write_all(&buffer).map_err(write)?;
        index.push(&header, u32::try_from(at).expect("shorter than before"));
        at += u64::from(header.length);
    }
    let file = out.into_inner().map_err(|error| Error::write(path, error.into_error()))?.file;
    file.sync_all().map_err(|error| Error::fsync(path, error))?;
    Ok((file, index, at))
}
