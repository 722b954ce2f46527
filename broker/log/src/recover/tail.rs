//! Verifying a segment that may have been torn, and writing what is good of it to a new file.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use holdfast_protocol::{Header, Position};

use super::{Candidate, Recovery};
use crate::error::READING;
use crate::identity::{HEAD, Identity};
use crate::index::Index;
use crate::scan::{Scanner, Step};
use crate::segment;
use crate::storage::{Disk, File, Mode, Sequential};
use crate::{Error, disk};

/// Bytes gathered before they are written.
const BUFFER: usize = 1024 * 1024;

/// A segment that was scanned.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) identity: Identity,
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) index: Index,
    /// Bytes in use, the head included.
    pub(super) used: u64,
    /// Length of the file.
    pub(super) allocated: u64,
    /// It ended early: nothing that follows is of the log.
    pub(super) torn: bool,
}

/// What is wrong with what comes next.
enum Verdict {
    /// Nothing.
    Good,
    /// It was never durable: the log ends before it.
    Torn,
    /// It was durable once: it is left out, and reported.
    Rot(&'static str),
}

impl Recovery<'_> {
    /// Scans a segment, `next` being where the one after it begins, if there is one.
    pub(super) fn scan(
        &mut self,
        candidate: &Candidate,
        next: Option<Position>,
    ) -> Result<Scanned, Error> {
        let trusted = next.is_some_and(|next| next <= self.threshold);
        let in_place = trusted || (self.state.clean && self.recovered.damage.is_none());
        let mut copy = if in_place { None } else { Some(Copy::create(self.disk, candidate)?) };
        let damage_before = self.recovered.damage.is_some();
        let torn_before = self.recovered.torn_bytes;
        let (index, used, torn) = self.take(candidate, next, &mut copy)?;
        self.note_epochs(&index.epochs());
        if !damage_before && self.recovered.damage.is_some() {
            let item = self.item()?;
            let kept = segment::path(&item, candidate.identity.base);
            // For people to look at; the log does without.
            let _ = self.disk.hard_link(&candidate.path, &kept);
        }
        let (identity, file, used) = match copy {
            Some(copy) => copy.finish(self.disk, &candidate.path)?,
            None => {
                let file = disk::open(self.disk, &candidate.path, Mode::Write)?;
                if self.recovered.torn_bytes > torn_before {
                    cut(&file, &candidate.path, used)?;
                }
                (candidate.identity, file, used)
            }
        };
        let allocated =
            file.length().map_err(|error| Error::io(READING, &candidate.path, error))?;
        Ok(Scanned { identity, path: candidate.path.clone(), file, index, used, allocated, torn })
    }

    /// Takes entries until the segment ends: their index, the bytes in use, and whether it is torn.
    fn take(
        &mut self,
        candidate: &Candidate,
        next: Option<Position>,
        copy: &mut Option<Copy>,
    ) -> Result<(Index, u64, bool), Error> {
        let mut scanner = Scanner::new(&candidate.file, &candidate.path);
        let mut index = Index::default();
        let mut used = HEAD;
        let high = next.unwrap_or(Position(u64::MAX));
        loop {
            let step = scanner.step()?;
            let verdict = self.judge(&step, index.slots().last().map(|slot| slot.epoch.0), high);
            match (verdict, step) {
                (Verdict::Good, Step::Entry(header, at)) => {
                    let at = match copy {
                        Some(copy) => copy.add(scanner.bytes())?,
                        None => at,
                    };
                    used = at + u64::from(header.length);
                    self.keep(&mut index, &header, at, &candidate.path);
                }
                (Verdict::Good, _) => {
                    if next.is_none() {
                        self.recovered.torn_bytes += scanner.written_rest()?;
                    }
                    return Ok((index, used, false));
                }
                (Verdict::Torn, Step::Entry(header, _)) => {
                    let rest = u64::from(header.length) + scanner.written_rest()?;
                    self.recovered.torn_bytes += rest;
                    return Ok((index, used, true));
                }
                (Verdict::Torn, _) => {
                    self.recovered.torn_bytes += scanner.written_rest()?;
                    return Ok((index, used, true));
                }
                (Verdict::Rot(reason), _) => {
                    self.damage(&candidate.path, self.expected, reason);
                    if !scanner.resync(self.expected, high)? {
                        return Ok((index, used, false));
                    }
                }
            }
        }
    }

    /// Puts an entry into the index; positions missing before it are damage that `judge` let pass.
    fn keep(&mut self, index: &mut Index, header: &Header, at: u64, path: &Path) {
        if !self.continues(header.position) {
            self.damage(path, self.expected, "entries are missing");
        }
        index.push(header, u32::try_from(at).unwrap_or(u32::MAX));
        self.expected = header.position.next();
    }

    fn judge(&self, step: &Step, epoch: Option<u32>, high: Position) -> Verdict {
        let durable_once = self.expected < self.threshold;
        match step {
            Step::Entry(header, at) => {
                let epoch_ok = epoch.is_none_or(|epoch| header.epoch.0 >= epoch);
                let room = u32::try_from(*at).is_ok() && header.position < high;
                let follows = self.continues(header.position)
                    || (durable_once && header.position > self.expected);
                match (epoch_ok && room && follows, durable_once) {
                    (true, _) => Verdict::Good,
                    (false, true) => Verdict::Rot("an entry does not follow the one before"),
                    (false, false) => Verdict::Torn,
                }
            }
            Step::Unwritten(_) => {
                let sealed = high != Position(u64::MAX);
                let complete = if sealed {
                    self.expected == high || high <= self.state.clean_point
                } else {
                    !durable_once
                };
                match (complete, durable_once) {
                    (true, _) => Verdict::Good,
                    (false, true) => Verdict::Rot("entries are missing"),
                    (false, false) => Verdict::Torn,
                }
            }
            Step::Bad(..) if durable_once => Verdict::Rot("a checksum or header is wrong"),
            Step::Bad(..) => Verdict::Torn,
        }
    }

    fn continues(&self, position: Position) -> bool {
        position == self.expected
            || (position > self.expected && position <= self.state.clean_point)
    }
}

/// Drops what lies behind the entries, durably.
fn cut(file: &File, path: &Path, used: u64) -> Result<(), Error> {
    file.set_length(used).map_err(|error| Error::write(path, error))?;
    file.sync_all().map_err(|error| Error::fsync(path, error))
}

/// A new segment file that will take the place of an old one.
struct Copy {
    identity: Identity,
    path: PathBuf,
    out: BufWriter<Sequential>,
    used: u64,
}

impl Copy {
    fn create(disk: &Disk, candidate: &Candidate) -> Result<Self, Error> {
        // Another revision: what was indexed of the old file is not of this one.
        let identity = Identity {
            revision: candidate.identity.revision.wrapping_add(1),
            ..candidate.identity
        };
        let path = disk::temporary(&candidate.path);
        let mut copy = Self {
            identity,
            out: BufWriter::with_capacity(BUFFER, Sequential::new(disk::create(disk, &path)?)),
            path,
            used: 0,
        };
        copy.add(&identity.head())?;
        Ok(copy)
    }

    /// Adds bytes, and says where they are.
    fn add(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let at = self.used;
        self.out.write_all(bytes).map_err(|error| Error::write(&self.path, error))?;
        self.used += bytes.len() as u64;
        Ok(at)
    }

    /// Makes the new file durable and puts it in the place of the old one.
    fn finish(self, disk: &Disk, path: &Path) -> Result<(Identity, File, u64), Error> {
        let out = self.out.into_inner();
        let file = out.map_err(|error| Error::write(&self.path, error.into_error()))?.file;
        file.sync_all().map_err(|error| Error::fsync(&self.path, error))?;
        disk::rename(disk, &self.path, path)?;
        Ok((self.identity, file, self.used))
    }
}
