//! Reading while the writer writes.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::{Header, Position, mark};

use crate::Error;
use crate::disk;
use crate::index::{Index, Location};
use crate::shared::{Part, Place, Shared, View};

mod replay;
mod scrub;
mod stream;

pub use replay::{Entries, Headers};
pub use scrub::{Scrubbed, SmallFiles};

/// Longest run of neighbouring entries that is read at once, bytes; a longer entry is read whole.
const RUN_BYTES_MAX: usize = 1024 * 1024;
/// Entries of a stream that lie at most this far apart are read at once, and what lies between
/// thrown away: cheaper than asking the kernel twice.
const RUN_GAP_MAX: u64 = 16 * 1024;

/// Reads one shard's log, on any thread, while its writer writes. Cheap to clone.
///
/// Everything that comes from the disk has its checksum verified before it is returned, for
/// followers and consumers alike: it costs a fraction of the read, and rot is noticed here, where
/// the replica can leave the in-sync replicas, and not by a client. What comes from the cache of
/// newest entries was verified when it was appended.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The position one past the last entry.
    #[must_use]
    pub fn end(&self) -> Position {
        self.shared.view().end
    }

    /// The first position that the log may hold.
    #[must_use]
    pub fn start(&self) -> Position {
        self.shared.view().start
    }

    /// Whole entries from the first at or after `position`: as many as `bytes_max` holds, at least
    /// one, in one buffer; empty at the end of the log. May return less than there is.
    ///
    /// # Errors
    /// [`Error::Damaged`] for rot; any IO error.
    pub fn read_from(&self, position: Position, bytes_max: usize) -> Result<Bytes, Error> {
        let _held = self.shared.hold();
        let found = self.find_from(position, |index| {
            let run = index.run(position, bytes_max);
            let first = run.first()?;
            let last = run.last()?;
            let end = u64::from(last.at) + u64::from(last.length);
            let length = usize::try_from(end - u64::from(first.at)).ok()?;
            Some((first.location(), length))
        })?;
        let Some(Found { place, what: (first, length), passed }) = found else {
            return Ok(Bytes::new());
        };
        if passed {
            mark!(CleanedUnderReader);
        }
        self.read_run(&place, &first, length)
    }

    /// What `take` finds in the index of the segment that holds `position`, or of the next in which
    /// it finds anything; `None` at the end of the log. For who holds the gate.
    fn find_from<T>(
        &self,
        position: Position,
        take: impl Fn(&Index) -> Option<T>,
    ) -> Result<Option<Found<T>>, Error> {
        let mut after = None;
        loop {
            let found = self.shared.ask(|view| part_with(view, position, after), &take)?;
            let Some((place, what)) = found else { return Ok(None) };
            if let Some(what) = what {
                return Ok(Some(Found { place, what, passed: after.is_some() }));
            }
            if place.last {
                return Ok(None);
            }
            // Everything at or after `position` in this segment is gone.
            after = Some(place.base);
        }
    }

    /// The `length` bytes of neighbouring entries, the first of which is at `first`.
    fn read_run(&self, place: &Place, first: &Location, length: usize) -> Result<Bytes, Error> {
        if let Some(bytes) = self.shared.tail().run(place.base, first, length) {
            return Ok(bytes);
        }
        let bytes = read(place, first.at, length)?;
        let mut left = &bytes[..];
        while !left.is_empty() {
            let at = first.at + (bytes.len() - left.len()) as u64;
            let header = Header::verify(left).map_err(|error| damaged(place, first, at, &error))?;
            left = &left[header.length as usize..];
        }
        check_position(place, first, &bytes)?;
        Ok(bytes)
    }

    /// The bytes of each entry. Those in memory come from there; of the others, neighbours are
    /// read at once.
    fn read_each(&self, place: &Place, locations: &[Location]) -> Result<Vec<Bytes>, Error> {
        let mut entries = Vec::with_capacity(locations.len());
        let mut left = locations;
        while let Some(first) = left.first() {
            if let Some(bytes) = self.shared.tail().entry(place.base, first) {
                entries.push(bytes);
                left = &left[1..];
                continue;
            }
            let (run, rest) = left.split_at(neighbours(left));
            let end = run.last().map_or(first.at, Location::end);
            let length = usize::try_from(end - first.at).unwrap_or(usize::MAX);
            let bytes = read(place, first.at, length)?;
            for location in run {
                let from = usize::try_from(location.at - first.at).unwrap_or(usize::MAX);
                let entry = bytes.slice(from..from + location.length);
                verify(place, location, &entry)?;
                entries.push(entry);
            }
            left = rest;
        }
        Ok(entries)
    }
}

/// Something in a segment.
struct Found<T> {
    place: Place,
    what: T,
    /// Segments before it have nothing left of what was looked for.
    passed: bool,
}

/// The segment that holds `position`, or the next after `after`.
fn part_with(view: &View, position: Position, after: Option<Position>) -> Option<Part> {
    let Some(after) = after else {
        return Some(view.part_of(position));
    };
    if after >= view.active.base {
        return None;
    }
    let next = view.sealed.partition_point(|sealed| sealed.identity.base <= after);
    Some(if next < view.sealed.len() { Part::Sealed(next) } else { Part::Active })
}

/// How many of the first of these entries to read at once.
fn neighbours(locations: &[Location]) -> usize {
    let start = locations[0].at;
    1 + locations
        .windows(2)
        .take_while(|pair| {
            pair[1].at.saturating_sub(pair[0].end()) <= RUN_GAP_MAX
                && pair[1].end() - start <= RUN_BYTES_MAX as u64
        })
        .count()
}

fn read(place: &Place, at: u64, length: usize) -> Result<Bytes, Error> {
    let mut buffer = vec![0; length];
    let read = disk::read_at(&place.file, &place.path, &mut buffer, at)?;
    if read < length {
        return Err(Error::Damaged {
            path: place.path.clone(),
            at: at + read as u64,
            position: place.base,
            reason: "the file is shorter than what was written".to_owned(),
        });
    }
    Ok(Bytes::from(buffer))
}

fn verify(place: &Place, location: &Location, bytes: &[u8]) -> Result<(), Error> {
    Header::verify(bytes).map_err(|error| damaged(place, location, location.at, &error))?;
    check_position(place, location, bytes)
}

fn check_position(place: &Place, location: &Location, bytes: &[u8]) -> Result<(), Error> {
    let found = Header::peek(bytes).map(|header| header.position);
    if found != Ok(location.position) {
        return Err(Error::Damaged {
            path: place.path.clone(),
            at: location.at,
            position: location.position,
            reason: "another entry lies there".to_owned(),
        });
    }
    Ok(())
}

fn damaged(place: &Place, location: &Location, at: u64, error: &impl ToString) -> Error {
    Error::Damaged {
        path: place.path.clone(),
        at,
        position: location.position,
        reason: error.to_string(),
    }
}
