//! Every entry, or every header, of a range of positions.

use std::collections::VecDeque;

use bytes::Bytes;
use holdfast_protocol::{Entry, Header, Position};

use super::{LogReader, RUN_BYTES_MAX};
use crate::Error;

/// Headers taken from an index at a time.
const HEADERS_MAX: usize = 1024;

impl LogReader {
    /// Every entry with `from <= position < to`, for replay. Ends at the end of the log, and after
    /// the first error.
    #[must_use]
    pub fn entries(&self, from: Position, to: Position) -> Entries {
        Entries { reader: self.clone(), next: from, to, bytes: Bytes::new() }
    }

    /// The header of every entry with `from <= position < to`, from the indexes: reads no entry.
    /// Ends at the end of the log, and after the first error.
    #[must_use]
    pub fn headers(&self, from: Position, to: Position) -> Headers {
        Headers { reader: self.clone(), next: from, to, headers: VecDeque::new() }
    }

    /// Some of the headers from `position` on; none at the end of the log.
    fn some_headers(&self, position: Position) -> Result<VecDeque<Header>, Error> {
        let _held = self.shared.hold();
        let found = self.find_from(position, |index| {
            let first = index.at_or_after(position);
            let end = index.len().min(first + HEADERS_MAX);
            (first < end).then(|| (first..end).map(|entry| index.header(entry)).collect())
        })?;
        Ok(found.map_or_else(VecDeque::new, |found| found.what))
    }
}

/// See [`LogReader::entries`].
#[derive(Debug)]
pub struct Entries {
    reader: LogReader,
    next: Position,
    to: Position,
    /// Verified entries that were read ahead.
    bytes: Bytes,
}

impl Entries {
    fn read(&mut self) -> Result<Option<Entry>, Error> {
        if self.next >= self.to {
            return Ok(None);
        }
        if self.bytes.is_empty() {
            self.bytes = self.reader.read_from(self.next, RUN_BYTES_MAX)?;
        }
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let header = Header::peek(&self.bytes)?;
        let entry = Entry { header, bytes: self.bytes.split_to(header.length as usize) };
        self.next = header.position.next();
        Ok((header.position < self.to).then_some(entry))
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            self.next = self.to;
        }
        read.transpose()
    }
}

/// See [`LogReader::headers`].
#[derive(Debug)]
pub struct Headers {
    reader: LogReader,
    next: Position,
    to: Position,
    /// Headers that were taken ahead.
    headers: VecDeque<Header>,
}

impl Headers {
    fn read(&mut self) -> Result<Option<Header>, Error> {
        if self.next >= self.to {
            return Ok(None);
        }
        if self.headers.is_empty() {
            self.headers = self.reader.some_headers(self.next)?;
        }
        let Some(header) = self.headers.pop_front() else {
            return Ok(None);
        };
        self.next = header.position.next();
        Ok((header.position < self.to).then_some(header))
    }
}

impl Iterator for Headers {
    type Item = Result<Header, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            self.next = self.to;
        }
        read.transpose()
    }
}
