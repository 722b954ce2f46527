//! Reading a segment from its first entry on, telling entries from damage.

use std::path::Path;

use holdfast_protocol::entry;
use holdfast_protocol::{Header, Position};

use crate::identity::HEAD;
use crate::storage::File;
use crate::{Error, disk};

/// Bytes read at a time.
const CHUNK: usize = 1024 * 1024;

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A whole, verified entry at this byte; its bytes are in [`Scanner::bytes`].
    Entry(Header, u64),
    /// The unwritten rest, or the end of the file, from this byte on.
    Unwritten(u64),
    /// No entry at this byte, and why.
    Bad(u64, String),
}

/// Reads a segment entry by entry. Every byte is read from the file once, so that what was
/// verified is what is handed out.
pub(crate) struct Scanner<'a> {
    file: &'a File,
    path: &'a Path,
    buffer: Vec<u8>,
    /// Where in `buffer` the next entry begins.
    next: usize,
    /// Where in the file `buffer` begins.
    at: u64,
    /// The file has no more bytes than `buffer`.
    complete: bool,
    /// Length of the entry handed out last.
    length: usize,
}

impl<'a> Scanner<'a> {
    /// Begins at the first entry of the segment.
    pub(crate) fn new(file: &'a File, path: &'a Path) -> Self {
        Self { file, path, buffer: Vec::new(), next: 0, at: HEAD, complete: false, length: 0 }
    }

    /// Looks at what comes after the entry handed out last.
    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        self.next += std::mem::take(&mut self.length);
        let at = self.at + self.next as u64;
        self.fill(Header::LEN)?;
        // What is left of the room allocated ahead may be too little to tell its length.
        let rest = self.rest();
        if rest.len() < Header::LEN && rest.iter().all(|byte| *byte == 0) {
            return Ok(Step::Unwritten(at));
        }
        if let Some(length) = plausible_length(self.rest()) {
            self.fill(length)?;
        }
        match Header::verify(self.rest()) {
            Ok(header) => {
                self.length = header.length as usize;
                Ok(Step::Entry(header, at))
            }
            Err(entry::Error::Unwritten) => Ok(Step::Unwritten(at)),
            Err(entry::Error::Unknown { version, kind }) if self.is_checked() => {
                Err(Error::UnknownEntry {
                    path: self.path.to_owned(),
                    at,
                    source: entry::Error::Unknown { version, kind },
                })
            }
            Err(error) => Ok(Step::Bad(at, error.to_string())),
        }
    }

    /// The bytes of the entry handed out last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.next..self.next + self.length]
    }

    /// Goes on to the next verified entry with a position in `low..high`, whatever lies between;
    /// false where there is none: the scanner is at the end then.
    pub(crate) fn resync(&mut self, low: Position, high: Position) -> Result<bool, Error> {
        self.length = 0;
        loop {
            // Where the file ends at once there is nothing to pass over.
            self.next = (self.next + 1).min(self.buffer.len());
            self.fill(Header::LEN)?;
            if self.rest().len() < Header::LEN {
                self.next = self.buffer.len();
                return Ok(false);
            }
            let Ok(header) = Header::peek(self.rest()) else {
                continue;
            };
            if header.position < low || header.position >= high {
                continue;
            }
            self.fill(header.length as usize)?;
            if Header::verify(self.rest()).is_ok() {
                return Ok(true);
            }
        }
    }

    /// How many bytes there are from here to the last that is not zero; goes to the end.
    pub(crate) fn written_rest(&mut self) -> Result<u64, Error> {
        self.length = 0;
        let (mut seen, mut written) = (0, 0);
        loop {
            self.fill(CHUNK)?;
            let rest = self.rest();
            if rest.is_empty() {
                return Ok(written);
            }
            if let Some(last) = rest.iter().rposition(|byte| *byte != 0) {
                written = seen + last as u64 + 1;
            }
            seen += rest.len() as u64;
            self.next = self.buffer.len();
        }
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.next..]
    }

    /// Whether the checksum of the entry here is right, whatever its kind.
    fn is_checked(&self) -> bool {
        !matches!(
            Header::verify(self.rest()),
            Err(entry::Error::Checksum { .. } | entry::Error::Short { .. })
        ) && plausible_length(self.rest()).is_some_and(|length| length <= self.rest().len())
    }

    /// Sees to it that `count` bytes are at hand, if the file has them.
    fn fill(&mut self, count: usize) -> Result<(), Error> {
        if self.complete || self.rest().len() >= count {
            return Ok(());
        }
        self.buffer.drain(..self.next);
        self.at += std::mem::take(&mut self.next) as u64;
        let have = self.buffer.len();
        self.buffer.resize(have + CHUNK.max(count - have), 0);
        let from = self.at + have as u64;
        let read = disk::read_at(self.file, self.path, &mut self.buffer[have..], from)?;
        self.buffer.truncate(have + read);
        self.complete = read < CHUNK.max(count - have);
        Ok(())
    }
}

fn plausible_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    (length as usize >= Header::LEN && length <= Header::ENTRY_BYTES_MAX).then_some(length as usize)
}
