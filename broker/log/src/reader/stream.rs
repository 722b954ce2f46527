//! Reading one stream: by offset, by time.

use bytes::Bytes;
use holdfast_protocol::{Header, Offset, Position, StreamId};

use super::LogReader;
use crate::Error;
use crate::index::StreamRun;
use crate::shared::{Part, View};
use crate::summary::Holds;

impl LogReader {
    /// The header of the `Append` entry (of at least one offset) that holds `offset` of `stream`,
    /// or of the first after it.
    ///
    /// # Errors
    /// Any IO error.
    pub fn locate(&self, stream: StreamId, offset: Offset) -> Result<Option<Header>, Error> {
        let _held = self.shared.hold();
        let mut after = None;
        loop {
            let found = self.shared.ask(
                |view| part_of_offset(view, stream, offset, after),
                |index| {
                    let entry = index.locate(stream, offset)?;
                    Some(index.header(entry))
                },
            )?;
            match found {
                None => return Ok(None),
                Some((_, Some(header))) => return Ok(Some(header)),
                Some((place, None)) if place.last => return Ok(None),
                Some((place, None)) => after = Some(place.base),
            }
        }
    }

    /// The bodies of consecutive `Append` entries of `stream`: from the one that holds `offset`, or
    /// the first after it, as long as their first offset is below `below` and together they have
    /// at most `bytes_max` bytes; with `at_least_one`, the first whatever its size.
    ///
    /// # Errors
    /// [`Error::Damaged`] for rot; any IO error.
    pub fn read_stream(
        &self,
        stream: StreamId,
        offset: Offset,
        below: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Vec<Bytes>, Error> {
        let mut bodies = Vec::new();
        let (mut next, mut left, mut after) = (offset, bytes_max, None);
        let _held = self.shared.hold();
        while next < below && (left > 0 || (at_least_one && bodies.is_empty())) {
            let one = at_least_one && bodies.is_empty();
            let found = self.shared.ask(
                |view| part_of_offset(view, stream, next, after),
                |index| index.stream_run(stream, next, below, left, one),
            )?;
            let Some((place, run)) = found else {
                break;
            };
            let StreamRun { locations, bytes, next: reached, complete } = run;
            if !locations.is_empty() {
                let entries = self.read_each(&place, &locations)?;
                bodies.extend(entries.into_iter().map(|entry| entry.slice(Header::LEN..)));
                next = reached;
                left = left.saturating_sub(bytes);
            }
            if complete || place.last {
                break;
            }
            after = Some(place.base);
        }
        Ok(bodies)
    }

    /// The first `Append` entry of `stream` that reaches `from` or beyond, begins below `below`,
    /// and whose largest timestamp is at or after `timestamp_ms`: its first offset and its body.
    ///
    /// # Errors
    /// [`Error::Damaged`] for rot; any IO error.
    pub fn find_timestamp(
        &self,
        stream: StreamId,
        timestamp_ms: i64,
        from: Offset,
        below: Offset,
    ) -> Result<Option<(Offset, Bytes)>, Error> {
        let _held = self.shared.hold();
        let mut after = None;
        loop {
            let found = self.shared.ask(
                |view| part_of_timestamp(view, stream, timestamp_ms, from, below, after),
                |index| index.find_timestamp(stream, timestamp_ms, from, below),
            )?;
            match found {
                None => return Ok(None),
                Some((place, Some((offset, location)))) => {
                    let entry = self.read_run(&place, &location, location.length)?;
                    return Ok(Some((offset, entry.slice(Header::LEN..))));
                }
                Some((place, None)) if place.last => return Ok(None),
                Some((place, None)) => after = Some(place.base),
            }
        }
    }
}

/// The oldest segment after `after` that may hold `offset` of `stream` or something after it.
/// Looks from the newest back, because that is where most reads are.
fn part_of_offset(
    view: &View,
    stream: StreamId,
    offset: Offset,
    after: Option<Position>,
) -> Option<Part> {
    let mut found = None;
    for part in view.parts_back_to(after) {
        match view.holds(part, stream) {
            Holds::Nothing => {}
            Holds::Unknown => found = Some(part),
            Holds::Range(range) if range.end <= offset => return found,
            Holds::Range(range) => {
                found = Some(part);
                if range.first <= offset {
                    return found;
                }
            }
        }
    }
    found
}

/// The oldest segment after `after` that may hold such an entry.
fn part_of_timestamp(
    view: &View,
    stream: StreamId,
    timestamp_ms: i64,
    from: Offset,
    below: Offset,
    after: Option<Position>,
) -> Option<Part> {
    let mut found = None;
    for part in view.parts_back_to(after) {
        match view.holds(part, stream) {
            Holds::Nothing => {}
            Holds::Unknown => found = Some(part),
            Holds::Range(range) if range.end <= from => return found,
            Holds::Range(range) => {
                if range.first < below && range.timestamp_ms >= timestamp_ms {
                    found = Some(part);
                }
            }
        }
    }
    found
}
