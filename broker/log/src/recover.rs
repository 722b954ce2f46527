//! Opening a log: what may be trusted, what is verified and copied, what is cut.
//!
//! The *threshold* is the highest position that is known to have been durable: the checkpoint's,
//! or the one noted in the meta file. Segments wholly below it are trusted (and verified whenever
//! they are read). The others are read once, verified, and written to new files that are synced
//! and renamed into place, because after a failed flush the page cache may show bytes that the
//! disk does not have. In them, what is wrong at or above the threshold is a torn tail and is
//! cut; what is wrong below it is rot and is reported. A log that was closed in order has
//! nothing above its threshold, and its last segment is verified where it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_protocol::{Epoch, Incarnation, Position, mark};

use crate::error::READING;
use crate::identity::{HEAD, Identity};
use crate::index::Index;
use crate::meta::{self, Meta, State};
use crate::recover::tail::Scanned;
use crate::segment::{self, Growth, Sealed, Writer};
use crate::storage::{Disk, File, Mode};
use crate::summary::{self, Summary};
use crate::{Config, Damage, Error, Recovered, aside, checkpoint, disk};

mod tail;

/// A log that has been recovered.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) meta: Meta,
    pub(crate) state: State,
    pub(crate) sealed: Vec<Arc<Sealed>>,
    pub(crate) writer: Writer,
    pub(crate) index: Index,
    pub(crate) end: Position,
    pub(crate) recovered: Recovered,
}

/// Recovers the log in `dir`, making it where there is none. Where the disk has no room for the
/// copy of the tail, what was set aside is given up for it.
pub(crate) fn recover(disk: &Disk, dir: &Path, config: &Config) -> Result<Log, Error> {
    match try_recover(disk, dir, config) {
        Err(Error::DiskFull { .. }) if aside::clear(disk, dir)? => try_recover(disk, dir, config),
        other => other,
    }
}

fn try_recover(disk: &Disk, dir: &Path, config: &Config) -> Result<Log, Error> {
    disk::create_dir(disk, dir)?;
    disk::create_dir(disk, &dir.join("aside"))?;
    let mut recovery = Recovery::new(disk, dir, config);
    let candidates = recovery.find()?;
    recovery.read_checkpoint()?;
    recovery.walk(candidates)?;
    recovery.finish()
}

/// A segment file whose first bytes are good.
#[derive(Debug)]
struct Candidate {
    identity: Identity,
    path: PathBuf,
    file: File,
}

struct Recovery<'a> {
    disk: &'a Disk,
    dir: &'a Path,
    config: &'a Config,
    meta: Meta,
    state: State,
    recovered: Recovered,
    threshold: Position,
    /// The position that comes next.
    expected: Position,
    sealed: Vec<Arc<Sealed>>,
    /// The last segment, if it was scanned: the active one unless another follows.
    last: Option<Scanned>,
    epochs: BTreeMap<Epoch, Position>,
    /// Where this run puts aside what it finds in the way.
    item: Option<PathBuf>,
}

impl<'a> Recovery<'a> {
    fn new(disk: &'a Disk, dir: &'a Path, config: &'a Config) -> Self {
        Self {
            disk,
            dir,
            config,
            meta: Meta::default(),
            state: State::default(),
            recovered: Recovered::default(),
            threshold: Position(0),
            expected: Position(0),
            sealed: Vec::new(),
            last: None,
            epochs: BTreeMap::new(),
            item: None,
        }
    }

    /// Reads the meta file and finds the segments of this generation, in order.
    fn find(&mut self) -> Result<Vec<Candidate>, Error> {
        let names = disk::names(self.disk, self.dir)?;
        for name in &names {
            if name.ends_with(disk::TEMPORARY) {
                disk::remove(self.disk, &self.dir.join(name))?;
            }
        }
        let bases: Vec<Position> = names.iter().filter_map(|name| segment::base_of(name)).collect();
        let path = self.dir.join("meta");
        let salvage = match meta::read(self.disk, &path)? {
            meta::Found::Good(meta, state) => {
                self.threshold = state.durable.max(state.checkpoint.unwrap_or_default());
                (self.meta, self.state) = (meta, state);
                if self.is_unfilled() {
                    let dir = self.dir.to_owned();
                    self.damage(&dir, self.state.durable, "it was being filled from a checkpoint");
                }
                false
            }
            meta::Found::Missing
                if bases.is_empty() && !names.iter().any(|name| name == "checkpoint") =>
            {
                self.state.generation = 1;
                // Before any segment is made: one without a meta file is damage.
                meta::write(self.disk, &path, &self.meta, &self.state)?;
                false
            }
            meta::Found::Missing => {
                self.damage(&path, Position(0), "it is missing");
                true
            }
            meta::Found::Bad(reason) => {
                self.damage(&path, Position(0), reason);
                true
            }
        };
        let candidates = self.open_all(&bases)?;
        if salvage {
            // Without the meta file the segments say best which log this was.
            let newest = candidates.iter().flatten().map(|c| c.identity.generation);
            self.state.generation = newest.max().unwrap_or(1);
            self.state.start = bases.first().copied().unwrap_or_default();
        }
        self.expected = self.state.start;
        self.choose(candidates, &bases)
    }

    /// Whether the log was being filled behind a checkpoint, and is not known to be durable up to
    /// there: what was lost of that looks like what was cleaned.
    fn is_unfilled(&self) -> bool {
        self.state.durable < self.state.clean_point
    }

    /// Opens every segment file; `None` for one whose first bytes are bad.
    fn open_all(&self, bases: &[Position]) -> Result<Vec<Option<Candidate>>, Error> {
        bases
            .iter()
            .map(|base| {
                let path = segment::path(self.dir, *base);
                let file = disk::open(self.disk, &path, Mode::Write)?;
                let identity = Identity::read(&file, &path)?.filter(|found| found.base == *base);
                Ok(identity.map(|identity| Candidate { identity, path, file }))
            })
            .collect()
    }

    /// Sets aside what is not of this generation, or not a segment at all.
    fn choose(
        &mut self,
        candidates: Vec<Option<Candidate>>,
        bases: &[Position],
    ) -> Result<Vec<Candidate>, Error> {
        let mut chosen = Vec::new();
        for (candidate, base) in candidates.into_iter().zip(bases) {
            match candidate {
                Some(candidate) if candidate.identity.generation == self.state.generation => {
                    chosen.push(candidate);
                }
                // Left over from a reset that was cut short.
                Some(_) => {
                    mark!(SegmentLeftOver);
                    self.set_aside(*base)?;
                }
                None => {
                    // Above the threshold its making was cut short; below it, the walk notices
                    // that its positions are missing.
                    self.set_aside(*base)?;
                }
            }
        }
        Ok(chosen)
    }

    fn read_checkpoint(&mut self) -> Result<(), Error> {
        let path = self.dir.join("checkpoint");
        let noted = self.state.checkpoint;
        match checkpoint::read(self.disk, &path)? {
            checkpoint::Found::Missing => {
                if let Some(position) = noted {
                    self.damage(&path, position, "it is missing");
                }
            }
            checkpoint::Found::Bad(reason) => {
                self.damage(&path, noted.unwrap_or_default(), reason);
            }
            checkpoint::Found::Good { generation, .. } if generation != self.state.generation => {
                // Left over from a reset that was cut short.
                disk::remove(self.disk, &path)?;
                if let Some(position) = noted {
                    self.damage(&path, position, "it is of another log");
                }
            }
            checkpoint::Found::Good { position, bytes, .. } => {
                if noted.is_some_and(|noted| noted > position) {
                    self.damage(&path, position, "it is older than was noted");
                }
                self.state.checkpoint = Some(position);
                self.threshold = self.threshold.max(position);
                self.recovered.checkpoint = Some((position, bytes));
            }
        }
        Ok(())
    }

    /// Goes through the segments in order, until one does not follow.
    fn walk(&mut self, candidates: Vec<Candidate>) -> Result<(), Error> {
        let mut left = candidates.into_iter().peekable();
        while let Some(candidate) = left.next() {
            let base = candidate.identity.base;
            if !self.follows(base) {
                self.tear(base, left.map(|later| later.identity.base))?;
                return Ok(());
            }
            self.seal_last()?;
            self.expected = self.expected.max(base);
            let next = left.peek().map(|next| next.identity.base);
            if next.is_some_and(|next| next <= self.threshold) && self.trust(&candidate)? {
                continue;
            }
            let scanned = self.scan(&candidate, next)?;
            let torn = scanned.torn;
            self.last = Some(scanned);
            if torn {
                if let Some(next) = left.next() {
                    self.tear(next.identity.base, left.map(|later| later.identity.base))?;
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a segment that begins at `base` may come next; what is missing before it below the
    /// threshold is damage.
    fn follows(&mut self, base: Position) -> bool {
        if base == self.expected || (base > self.expected && base <= self.state.clean_point) {
            return true;
        }
        if self.expected >= self.threshold {
            return false;
        }
        let dir = self.dir.to_owned();
        self.damage(&dir, self.expected, "a segment is missing");
        base > self.expected
    }

    /// Sets aside segments behind the end.
    fn tear(&mut self, base: Position, later: impl Iterator<Item = Position>) -> Result<(), Error> {
        for base in std::iter::once(base).chain(later) {
            let path = segment::path(self.dir, base);
            let length = disk::length(self.disk, &path)?;
            self.recovered.torn_bytes += length.saturating_sub(HEAD);
            self.set_aside(base)?;
        }
        Ok(())
    }

    /// Takes a segment below the threshold by its index file; false where it has to be scanned.
    fn trust(&mut self, candidate: &Candidate) -> Result<bool, Error> {
        let index_path = segment::index_path(self.dir, candidate.identity.base);
        let summary = summary::read_summary(
            self.disk,
            &index_path,
            candidate.identity,
            self.config.summary_streams_max,
        )?;
        let length =
            candidate.file.length().map_err(|error| Error::io(READING, &candidate.path, error))?;
        let Some(summary) = summary.filter(|summary| length >= summary.bytes) else {
            return Ok(false);
        };
        self.expected = summary.end;
        self.note_epochs(&summary.epochs);
        self.sealed.push(Arc::new(Sealed {
            identity: candidate.identity,
            path: candidate.path.clone(),
            index_path,
            summary,
        }));
        Ok(true)
    }

    /// Seals the segment scanned last, because another follows.
    fn seal_last(&mut self) -> Result<(), Error> {
        let Some(last) = self.last.take() else {
            return Ok(());
        };
        let index_path = segment::index_path(self.dir, last.identity.base);
        let summary =
            Summary::new(&last.index, self.expected, last.used, self.config.summary_streams_max);
        summary::write(self.disk, &index_path, last.identity, &summary, &last.index)?;
        self.sealed.push(Arc::new(Sealed {
            identity: last.identity,
            path: last.path,
            index_path,
            summary,
        }));
        Ok(())
    }

    fn finish(mut self) -> Result<Log, Error> {
        let end = self.expected;
        if self.recovered.torn_bytes > 0 {
            mark!(TailTorn);
        }
        if end < self.threshold {
            let dir = self.dir.to_owned();
            self.damage(&dir, end, "the log ends before what was durable");
        }
        let (writer, index) = self.active(end)?;
        let noted = std::mem::take(&mut self.state.epochs);
        self.note_epochs(&noted);
        self.take_epochs(end);
        let whole = self.recovered.damage.is_none();
        self.recovered.clean = self.state.clean && whole;
        // A log whose making was cut short has not been given an identity either.
        self.recovered.fresh = whole && self.meta.incarnation == Incarnation::default();
        self.state.clean = false;
        // As long as it is unfilled, every open is to find that again.
        if !self.is_unfilled() {
            self.state.durable = end;
        }
        self.drop_stray_indexes()?;
        aside::bound(self.disk, self.dir, self.config)?;
        disk::sync_dir(self.disk, self.dir)?;
        meta::write(self.disk, &self.dir.join("meta"), &self.meta, &self.state)?;
        Ok(Log {
            meta: self.meta,
            state: self.state,
            sealed: self.sealed,
            writer,
            index,
            end,
            recovered: self.recovered,
        })
    }

    /// Keeps the epochs of the entries and those noted, as far as they are a history.
    fn take_epochs(&mut self, end: Position) {
        let noted = std::mem::take(&mut self.epochs).into_iter();
        let epochs: Vec<_> = noted.filter(|(_, first)| *first < end).collect();
        if !Epoch::are_history(&epochs) {
            // No rot has right checksums: whoever wrote this is not to be followed.
            let path = self.dir.join("meta");
            self.damage(&path, Position(0), "the epochs noted contradict the entries");
            return;
        }
        for (epoch, position) in epochs {
            self.state.note_epoch(epoch, position);
        }
    }

    /// The segment to go on with: the one scanned last, or a new one.
    fn active(&mut self, end: Position) -> Result<(Writer, Index), Error> {
        let Some(last) = self.last.take() else {
            let identity = Identity { generation: self.state.generation, revision: 0, base: end };
            // What the name holds, if anything, was set aside.
            let mut writer = Writer::create(self.disk, self.dir, identity, Growth::default())?;
            writer.file.sync_all().map_err(|error| Error::fsync(&writer.path, error))?;
            writer.new = false;
            return Ok((writer, Index::default()));
        };
        let writer = Writer {
            identity: last.identity,
            file: Arc::new(last.file),
            used: last.used,
            allocated: last.allocated,
            path: last.path,
            new: false,
        };
        Ok((writer, last.index))
    }

    /// Removes index files that have no sealed segment.
    fn drop_stray_indexes(&self) -> Result<(), Error> {
        for name in disk::names(self.disk, self.dir)? {
            let Some(base) = segment::index_base_of(&name) else {
                continue;
            };
            let found = self.sealed.binary_search_by_key(&base, |sealed| sealed.identity.base);
            if found.is_err() {
                disk::remove(self.disk, &self.dir.join(name))?;
            }
        }
        Ok(())
    }

    fn note_epochs(&mut self, epochs: &[(Epoch, Position)]) {
        for (epoch, position) in epochs {
            let first = self.epochs.entry(*epoch).or_insert(*position);
            *first = (*first).min(*position);
        }
    }

    /// Keeps the first damage found: everything from there on is in doubt.
    fn damage(&mut self, path: &Path, position: Position, reason: &str) {
        mark!(RotFound);
        let found = Damage { path: path.to_owned(), position, reason: reason.to_owned() };
        match &self.recovered.damage {
            Some(damage) if damage.position <= position => {}
            _ => self.recovered.damage = Some(found),
        }
    }

    /// Moves the segment at `base` to this run's item in `aside/`.
    fn set_aside(&mut self, base: Position) -> Result<(), Error> {
        let item = self.item()?;
        let path = segment::path(self.dir, base);
        disk::remove(self.disk, &segment::index_path(self.dir, base))?;
        disk::rename(self.disk, &path, &segment::path(&item, base))?;
        disk::sync_dir(self.disk, &item)
    }

    fn item(&mut self) -> Result<PathBuf, Error> {
        if self.item.is_none() {
            let item = aside::new_item(self.disk, self.dir, "recovery", self.expected)?;
            self.item = Some(item);
        }
        Ok(self.item.clone().expect("made just now"))
    }
}
