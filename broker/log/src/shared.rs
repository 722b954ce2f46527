//! What the writer of a log and its readers share.
//!
//! Readers take the view's lock for as long as a look into an index lasts, never across IO, so
//! that appending does not wait for the disk of a reader. What would pull a file from under a
//! reader between its look and its read (truncation, reset, cleaning; all rare) closes the gate
//! first, which every reader holds open from its look to the end of its read.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use holdfast_protocol::{Position, StreamId, mark};

use crate::identity::Identity;
use crate::index::Index;
use crate::scan::{Scanner, Step};
use crate::segment::Sealed;
use crate::storage::{Disk, File, Mode};
use crate::summary::{self, Holds};
use crate::tail::Tail;
use crate::{Config, Error, disk};

/// What the writer of a log and its readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Disk,
    pub(crate) dir: PathBuf,
    pub(crate) config: Config,
    view: RwLock<View>,
    tail: RwLock<Tail>,
    /// The sealed segments that were read last, the newest at the end.
    opened: Mutex<Vec<Arc<Opened>>>,
    gate: RwLock<()>,
    /// Held while the checkpoint is replaced; the newest one there is, or may be.
    checkpoint: Mutex<Newest>,
    /// A write or flush has failed: nothing more is taken.
    failed: AtomicBool,
}

/// Which checkpoint is the newest: what another thread has begun before must not take its place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Newest {
    pub(crate) generation: u32,
    pub(crate) position: Position,
}

/// The segments of a log.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) start: Position,
    pub(crate) end: Position,
    /// By base position.
    pub(crate) sealed: Vec<Arc<Sealed>>,
    pub(crate) active: Active,
}

/// The segment that is written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) base: Position,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    pub(crate) index: Index,
}

/// A sealed segment opened for reading.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) identity: Identity,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    pub(crate) index: Index,
}

/// A file that locations are of.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) base: Position,
    /// It was the active segment when it was asked: what it did not have then, no other had. To
    /// look further would be to skip what it got before it was sealed.
    pub(crate) last: bool,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
}

/// One of the segments of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The sealed segment with this number.
    Sealed(usize),
    /// The active segment.
    Active,
}

impl View {
    /// The segment that holds `position`, or the first after it.
    pub(crate) fn part_of(&self, position: Position) -> Part {
        let number = self.sealed.partition_point(|sealed| sealed.summary.end <= position);
        if number < self.sealed.len() { Part::Sealed(number) } else { Part::Active }
    }

    /// The base of a segment.
    pub(crate) fn base(&self, part: Part) -> Position {
        match part {
            Part::Sealed(number) => self.sealed[number].identity.base,
            Part::Active => self.active.base,
        }
    }

    /// What a segment holds of a stream.
    pub(crate) fn holds(&self, part: Part, stream: StreamId) -> Holds {
        match part {
            Part::Sealed(number) => self.sealed[number].summary.holds(stream),
            Part::Active => match self.active.index.range(stream) {
                Some(range) => Holds::Range(range),
                None => Holds::Nothing,
            },
        }
    }

    /// The segments that begin after `after`, the newest first.
    pub(crate) fn parts_back_to(&self, after: Option<Position>) -> impl Iterator<Item = Part> + '_ {
        std::iter::once(Part::Active)
            .chain((0..self.sealed.len()).rev().map(Part::Sealed))
            .take_while(move |part| after.is_none_or(|after| self.base(*part) > after))
    }
}

impl Shared {
    pub(crate) fn new(disk: &Disk, dir: &Path, config: Config, view: View) -> Self {
        Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            tail: RwLock::new(Tail::new(config.tail_bytes_max)),
            config,
            view: RwLock::new(view),
            opened: Mutex::new(Vec::new()),
            gate: RwLock::new(()),
            checkpoint: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    pub(crate) fn newest_checkpoint(&self) -> MutexGuard<'_, Newest> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // A panic elsewhere while a lock was held does not make what it guards wrong: every change
    // under these locks is complete before anything that could panic.

    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tail(&self) -> RwLockReadGuard<'_, Tail> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tail_mut(&self) -> RwLockWriteGuard<'_, Tail> {
        self.tail.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps files and places as they are for as long as the guard lives.
    pub(crate) fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no reader relies on files and places.
    pub(crate) fn change(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes nothing more.
    pub(crate) fn fail(&self) {
        mark!(LogFailed);
        self.failed.store(true, Ordering::Release);
    }

    /// Refuses where something has failed before.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.failed.load(Ordering::Acquire) {
            return Err(Error::Failed { path: self.dir.clone() });
        }
        Ok(())
    }

    /// Notes a failure that nothing may follow.
    pub(crate) fn watch<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Error::is_fatal) {
            self.fail();
        }
        result
    }

    /// Runs `ask` on the index of the segment that `choose` picks, and says where that is.
    pub(crate) fn ask<R>(
        &self,
        choose: impl Fn(&View) -> Option<Part>,
        ask: impl Fn(&Index) -> R,
    ) -> Result<Option<(Place, R)>, Error> {
        let sealed = {
            let view = self.view();
            match choose(&view) {
                None => return Ok(None),
                Some(Part::Sealed(number)) => Arc::clone(&view.sealed[number]),
                Some(Part::Active) => {
                    let active = &view.active;
                    let place = Place {
                        base: active.base,
                        last: true,
                        path: active.path.clone(),
                        file: Arc::clone(&active.file),
                    };
                    return Ok(Some((place, ask(&active.index))));
                }
            }
        };
        let opened = self.open(&sealed)?;
        let place = Place {
            base: opened.identity.base,
            last: false,
            path: opened.path.clone(),
            file: Arc::clone(&opened.file),
        };
        Ok(Some((place, ask(&opened.index))))
    }

    /// Opens a sealed segment, or finds it open; of those open the one used longest ago is closed.
    pub(crate) fn open(&self, sealed: &Sealed) -> Result<Arc<Opened>, Error> {
        let lock = || self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut opened = lock();
            if let Some(at) = opened.iter().position(|o| o.identity == sealed.identity) {
                let found = opened.remove(at);
                opened.push(Arc::clone(&found));
                return Ok(found);
            }
        }
        // Without the lock: two readers may do this at once, which is harmless.
        let loaded = Arc::new(load(&self.disk, sealed)?);
        self.keep(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Keeps an opened segment at hand.
    pub(crate) fn keep(&self, segment: Arc<Opened>) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|o| o.identity != segment.identity);
        opened.push(segment);
        let excess = opened.len().saturating_sub(self.config.indexes_cached_max.max(1));
        opened.drain(..excess);
    }

    /// Forgets every opened segment and every cached entry.
    pub(crate) fn forget(&self) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.tail_mut().clear();
    }
}

/// Opens the file of a sealed segment and reads its index, or makes that again.
fn load(disk: &Disk, sealed: &Sealed) -> Result<Opened, Error> {
    let file = disk::open(disk, &sealed.path, Mode::Read)?;
    if Identity::read(&file, &sealed.path)? != Some(sealed.identity) {
        return Err(Error::Damaged {
            path: sealed.path.clone(),
            at: 0,
            position: sealed.identity.base,
            reason: "it does not begin as that segment does".to_owned(),
        });
    }
    let index = match summary::read_index(disk, &sealed.index_path, sealed.identity)? {
        Some(index) => index,
        None => index_again(disk, &file, sealed)?,
    };
    Ok(Opened { identity: sealed.identity, path: sealed.path.clone(), file: Arc::new(file), index })
}

/// Makes the index of a sealed segment by scanning, and writes it for the next time.
fn index_again(disk: &Disk, file: &File, sealed: &Sealed) -> Result<Index, Error> {
    mark!(IndexMadeAgain);
    let mut scanner = Scanner::new(file, &sealed.path);
    let mut index = Index::default();
    loop {
        match scanner.step()? {
            Step::Entry(header, at) => {
                index.push(&header, u32::try_from(at).unwrap_or(u32::MAX));
            }
            Step::Unwritten(at) if at >= sealed.summary.bytes => break,
            Step::Unwritten(at) => {
                return Err(damaged(sealed, at, "entries are missing".to_owned()));
            }
            Step::Bad(at, reason) => return Err(damaged(sealed, at, reason)),
        }
    }
    // The index is right without its file.
    let _ = summary::write(disk, &sealed.index_path, sealed.identity, &sealed.summary, &index);
    Ok(index)
}

fn damaged(sealed: &Sealed, at: u64, reason: String) -> Error {
    Error::Damaged { path: sealed.path.clone(), at, position: sealed.identity.base, reason }
}
