//! Reading everything from the disk itself, to find rot while there are others to repair it from.
//!
//! It reads as other readers do, under the same gate, so that a cut or a cleaning never makes it
//! see what is not there; but past the caches: past the newest entries in memory, and past the
//! page cache as far as the kernel lets it.

use holdfast_protocol::{Header, Position};

use super::{Found, LogReader, damaged, read};
use crate::identity::{HEAD, Identity};
use crate::index::Slot;
use crate::shared::Place;
use crate::storage::Mode;
use crate::{Error, checkpoint, disk, meta, summary};

/// What [`LogReader::scrub`] has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where to go on.
    pub next: Position,
    /// Bytes read.
    pub bytes: usize,
    /// The index file of the segment that was begun was not whole, and is written again.
    pub index_again: bool,
}

impl LogReader {
    /// Verifies entries on the disk from the first at or after `position` on: as many as
    /// `bytes_max` holds, at least one; `None` at the end of the log. Where a segment begins, its
    /// first bytes and its index file are verified too; an index is made again where it is not
    /// whole, for everything in it is in the segment.
    ///
    /// # Errors
    /// [`Error::is_rot`] for rot; any IO error.
    pub fn scrub(&self, position: Position, bytes_max: usize) -> Result<Option<Scrubbed>, Error> {
        let _held = self.shared.hold();
        let found = self.find_from(position, |index| {
            let run = index.run(position, bytes_max);
            let (first, last) = (run.first()?, run.last()?);
            Some((run.to_vec(), u64::from(first.at) == HEAD, last.position.next()))
        })?;
        let Some(Found { place, what: (run, begins, next), .. }) = found else { return Ok(None) };
        let bytes = verify_on_disk(&place, &run)?;
        let index_again = begins && self.check_segment(&place)?;
        Ok(Some(Scrubbed { next, bytes, index_again }))
    }

    /// Verifies the first bytes of a segment, and the index file of a sealed one; `true` where
    /// that had to be written again.
    fn check_segment(&self, place: &Place) -> Result<bool, Error> {
        place.file.forget_cached(0, usize::try_from(HEAD).unwrap_or(usize::MAX));
        let identity = Identity::read(&place.file, &place.path)?;
        let Some(identity) = identity.filter(|identity| identity.base == place.base) else {
            return Err(Error::Damaged {
                path: place.path.clone(),
                at: 0,
                position: place.base,
                reason: "it does not begin as that segment does".to_owned(),
            });
        };
        let view = self.shared.view();
        let sealed = view.sealed.iter().find(|sealed| sealed.identity == identity).cloned();
        drop(view);
        let Some(sealed) = sealed else { return Ok(false) };
        let disk = &self.shared.disk;
        if let Ok(file) = disk.open(&sealed.index_path, Mode::Read) {
            file.forget_cached(0, 0);
        }
        let streams_max = self.shared.config.summary_streams_max;
        let whole = summary::read_index(disk, &sealed.index_path, identity)?.is_some()
            && summary::read_summary(disk, &sealed.index_path, identity, streams_max)?.is_some();
        if whole {
            return Ok(false);
        }
        let opened = self.shared.open(&sealed)?;
        summary::write(disk, &sealed.index_path, identity, &sealed.summary, &opened.index)?;
        Ok(true)
    }

    /// Verifies the small files of the log, which are replaced as a whole: says which is not whole.
    /// Both can be written again from memory.
    ///
    /// # Errors
    /// Any IO error.
    pub fn scrub_files(&self) -> Result<SmallFiles, Error> {
        let (files, dir) = (&self.shared.disk, &self.shared.dir);
        let (checkpoint, meta) = (dir.join("checkpoint"), dir.join("meta"));
        for path in [&checkpoint, &meta] {
            if let Ok(file) = disk::open(files, path, Mode::Read) {
                file.forget_cached(0, 0);
            }
        }
        let checkpoint = checkpoint::read(files, &checkpoint)?;
        let meta = meta::read(files, &meta)?;
        Ok(SmallFiles {
            checkpoint_is_whole: !matches!(checkpoint, checkpoint::Found::Bad(_)),
            meta_is_whole: matches!(meta, meta::Found::Good(..)),
        })
    }
}

/// Which of the small files of a log are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallFiles {
    /// The checkpoint, where there is one.
    pub checkpoint_is_whole: bool,
    /// The broker's meta.
    pub meta_is_whole: bool,
}

/// Verifies neighbouring entries as the disk has them, and says how many bytes they are. The index
/// tells which they must be: a write that never got to the disk leaves whole entries too.
fn verify_on_disk(place: &Place, run: &[Slot]) -> Result<usize, Error> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(0) };
    let at = u64::from(first.at);
    let length = usize::try_from(last.location().end() - at).unwrap_or(usize::MAX);
    place.file.forget_cached(at, length);
    let bytes = read(place, at, length);
    // It will not be needed again soon, and others' pages will.
    place.file.forget_cached(at, length);
    let bytes = bytes?;
    let mut left = &bytes[..];
    for slot in run {
        let location = slot.location();
        let header =
            Header::verify(left).map_err(|error| damaged(place, &location, location.at, &error))?;
        if (header.position, header.crc, header.length) != (slot.position, slot.crc, slot.length) {
            return Err(damaged(place, &location, location.at, &"another entry lies there"));
        }
        left = &left[location.length..];
    }
    Ok(length)
}
