//! Cutting the end off, and beginning anew.

use std::io::Write;
use std::sync::Arc;

use holdfast_protocol::{Epoch, Position, mark};

use super::{ShardLog, active};
use crate::identity::{HEAD, Identity};
use crate::index::Index;
use crate::meta::State;
use crate::segment::{self, Growth, Sealed, Writer};
use crate::shared::{Newest, Opened, Part};
use crate::storage::{Disk, File, Mode, Sequential};
use crate::{Error, aside, disk};

/// Bytes copied at a time.
const CHUNK: usize = 1024 * 1024;

/// A piece of a segment that is to be set aside.
struct Piece {
    identity: Identity,
    path: std::path::PathBuf,
    file: Arc<File>,
    from: u64,
    to: u64,
}

impl ShardLog {
    /// Cuts every entry at or above `to`. They are copied to `aside/` and synced first; the cut is
    /// durable when this returns.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `to` is below the durable checkpoint, whose state would be left
    /// without its log ([`ShardLog::reset`] instead), or beyond the end. [`Error::DiskFull`] leaves
    /// the log as it was.
    pub fn truncate(&mut self, to: Position) -> Result<(), Error> {
        self.shared.check()?;
        let low = self
            .start
            .max(self.state.checkpoint.unwrap_or_default())
            .max(self.checkpoint_pending.unwrap_or_default());
        if to < low || to > self.end {
            return Err(Error::OutOfRange { action: "be cut", position: to, low, high: self.end });
        }
        if to == self.end {
            return Ok(());
        }
        self.set_suffix_aside(to)?;
        // The meta file first: it must never promise more than there is.
        let mut state = self.state.clone();
        state.durable = state.durable.min(to);
        state.cut_epochs(to);
        self.save(&self.meta, &state)?;
        self.state = state;
        self.cuts += 1;
        let shared = Arc::clone(&self.shared);
        let _changing = shared.change();
        let cut = self.cut(to);
        self.shared.forget();
        // Half a cut leaves memory and disk apart.
        if cut.is_err() {
            self.shared.fail();
        }
        cut
    }

    /// Sets everything aside, the checkpoint too, and begins an empty log at `start`, as of a log
    /// with the history `epochs`. Positions below `gaps_until`, the clean point of the log that it
    /// is filled from, may be left out. Meta is kept. Durable when this returns.
    ///
    /// # Errors
    /// Any IO error; the next open finishes what was begun.
    pub fn reset(
        &mut self,
        start: Position,
        epochs: Vec<(Epoch, Position)>,
        gaps_until: Position,
    ) -> Result<(), Error> {
        self.shared.check()?;
        let mut state = State {
            generation: self.state.generation.wrapping_add(1),
            start,
            clean_point: gaps_until.max(start),
            durable: start,
            ..State::default()
        };
        for (epoch, position) in epochs {
            state.note_epoch(epoch, position);
        }
        state.cut_epochs(start);
        // From here on the old files are not of this log, whatever becomes of the rest.
        self.save(&self.meta, &state)?;
        self.cuts += 1;
        let shared = Arc::clone(&self.shared);
        let _changing = shared.change();
        self.state = state;
        // No checkpoint of the log before is put in place from here on.
        let newest = Newest { generation: self.state.generation, position: Position(0) };
        *shared.newest_checkpoint() = newest;
        self.checkpoint_pending = None;
        let begun = self.begin_anew(start);
        self.shared.forget();
        if begun.is_err() {
            self.shared.fail();
        }
        begun
    }

    fn begin_anew(&mut self, start: Position) -> Result<(), Error> {
        let (disk, dir) = (self.shared.disk.clone(), self.shared.dir.clone());
        let item = aside::new_item(&disk, &dir, "reset", self.end)?;
        for name in disk::names(&disk, &dir)? {
            if segment::base_of(&name).is_some() || name == "checkpoint" {
                disk::rename(&disk, &dir.join(&name), &item.join(&name))?;
            } else if segment::index_base_of(&name).is_some() {
                disk::remove(&disk, &dir.join(&name))?;
            }
        }
        disk::sync_dir(&disk, &item)?;
        disk::sync_dir(&disk, &dir)?;
        aside::bound(&disk, &dir, self.config())?;
        let identity = Identity { generation: self.state.generation, revision: 0, base: start };
        let writer = Writer::create(&disk, &dir, identity, Growth::default())?;
        self.adopt(writer, Index::default(), 0, start)?;
        self.start = start;
        self.shared.view_mut().start = start;
        Ok(())
    }

    /// Copies every entry at or above `to` to a new item in `aside/`, durably.
    fn set_suffix_aside(&self, to: Position) -> Result<(), Error> {
        let (disk, dir) = (&self.shared.disk, &self.shared.dir);
        mark!(SuffixSetAside);
        let item = aside::new_item(disk, dir, "cut", to)?;
        for piece in self.suffix(to)? {
            let path = segment::path(&item, piece.identity.base.max(to));
            let mut file = Sequential::new(disk::create(disk, &path)?);
            let head = Identity { base: piece.identity.base.max(to), ..piece.identity };
            let copied = write(&mut file, &path, &head.head())
                .and_then(|()| copy(&piece, &mut file, &path))
                .and_then(|()| file.file.sync_all().map_err(|error| Error::fsync(&path, error)));
            self.shared.watch(copied)?;
        }
        disk::sync_dir(disk, &item)?;
        aside::bound(disk, dir, self.config())
    }

    /// Where the entries at or above `to` lie.
    fn suffix(&self, to: Position) -> Result<Vec<Piece>, Error> {
        let view = self.shared.view();
        let sealed: Vec<Arc<Sealed>> = match view.part_of(to) {
            Part::Sealed(number) => view.sealed[number..].to_vec(),
            Part::Active => Vec::new(),
        };
        let from = first_byte(&view.active.index, to, self.writer.used);
        drop(view);
        let mut pieces = Vec::new();
        for sealed in sealed {
            let opened = self.shared.open(&sealed)?;
            pieces.push(Piece {
                identity: sealed.identity,
                path: sealed.path.clone(),
                file: Arc::clone(&opened.file),
                from: first_byte(&opened.index, to, sealed.summary.bytes),
                to: sealed.summary.bytes,
            });
        }
        pieces.push(Piece {
            identity: self.writer.identity,
            path: self.writer.path.clone(),
            file: Arc::clone(&self.writer.file),
            from,
            to: self.writer.used,
        });
        pieces.retain(|piece| piece.from < piece.to);
        Ok(pieces)
    }

    /// Removes segments from the newest back, then shortens the one that `to` lies in.
    fn cut(&mut self, to: Position) -> Result<(), Error> {
        let part = self.shared.view().part_of(to);
        let Part::Sealed(number) = part else {
            return self.cut_active(to);
        };
        let sealed = Arc::clone(&self.shared.view().sealed[number]);
        let opened = self.shared.open(&sealed)?;
        let later: Vec<Arc<Sealed>> = self.shared.view().sealed[number + 1..].to_vec();
        disk::remove(&self.shared.disk, &self.writer.path)?;
        for later in later.iter().rev() {
            disk::remove(&self.shared.disk, &later.path)?;
            disk::remove(&self.shared.disk, &later.index_path)?;
        }
        disk::remove(&self.shared.disk, &sealed.index_path)?;
        // Names first: were the shortened file durable and a later one not gone, the later one
        // would seem to be what comes next.
        disk::sync_dir(&self.shared.disk, &self.shared.dir)?;
        let (writer, index) = reopen(&self.shared.disk, &opened, to)?;
        self.adopt(writer, index, number, to)
    }

    fn cut_active(&mut self, to: Position) -> Result<(), Error> {
        let mut view = self.shared.view_mut();
        let index = &view.active.index;
        self.writer.used = first_byte(index, to, self.writer.used);
        view.active.index = index.prefix(index.at_or_after(to));
        view.end = to;
        drop(view);
        self.end = to;
        self.writer.cut()?;
        self.sync_active()
    }

    /// Goes on with `writer` behind the first `sealed` segments, at `end`.
    fn adopt(
        &mut self,
        writer: Writer,
        index: Index,
        sealed: usize,
        end: Position,
    ) -> Result<(), Error> {
        self.writer = writer;
        self.end = end;
        self.unsynced.retain(|unsynced| unsynced.end <= self.writer.identity.base);
        let mut view = self.shared.view_mut();
        view.sealed.truncate(sealed);
        view.active = active(&self.writer, index);
        view.end = end;
        self.sealed_bytes = view.sealed.iter().map(|sealed| sealed.summary.bytes).sum();
        drop(view);
        self.sync_active()
    }

    /// Makes the active segment and its name durable, and what comes before it.
    fn sync_active(&mut self) -> Result<(), Error> {
        for unsynced in &self.unsynced {
            unsynced.file.sync_data().map_err(|error| Error::fsync(&unsynced.path, error))?;
        }
        self.writer.file.sync_all().map_err(|error| Error::fsync(&self.writer.path, error))?;
        disk::sync_dir(&self.shared.disk, &self.shared.dir)?;
        self.writer.new = false;
        self.unsynced.clear();
        self.note_durable(self.end)
    }
}

/// Makes a sealed segment the active one again, without what lies at or above `to`. As another
/// revision, so that an index of the old one is never taken for its own.
fn reopen(disk: &Disk, opened: &Opened, to: Position) -> Result<(Writer, Index), Error> {
    let index = opened.index.prefix(opened.index.at_or_after(to));
    let used =
        index.slots().last().map_or(HEAD, |slot| u64::from(slot.at) + u64::from(slot.length));
    let mut writer = Writer {
        identity: Identity {
            revision: opened.identity.revision.wrapping_add(1),
            ..opened.identity
        },
        path: opened.path.clone(),
        file: Arc::new(disk::open(disk, &opened.path, Mode::Write)?),
        used,
        allocated: used,
        new: false,
    };
    writer.cut()?;
    let head = writer.identity.head();
    writer.file.write_all_at(&head, 0).map_err(|error| Error::write(&writer.path, error))?;
    Ok((writer, index))
}

/// Where the first entry at or above `position` lies; `used` where there is none.
fn first_byte(index: &Index, position: Position, used: u64) -> u64 {
    index.slots().get(index.at_or_after(position)).map_or(used, |slot| u64::from(slot.at))
}

fn copy(piece: &Piece, out: &mut Sequential, path: &std::path::Path) -> Result<(), Error> {
    let mut buffer = vec![0; CHUNK];
    let mut at = piece.from;
    while at < piece.to {
        let want = usize::try_from(piece.to - at).map_or(CHUNK, |left| left.min(CHUNK));
        let read = disk::read_at(&piece.file, &piece.path, &mut buffer[..want], at)?;
        if read == 0 {
            break;
        }
        write(out, path, &buffer[..read])?;
        at += read as u64;
    }
    Ok(())
}

fn write(out: &mut Sequential, path: &std::path::Path, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes).map_err(|error| Error::write(path, error))
}
