//! The shape of a request's body, and the walk that holds a frame against it.
//!
//! Invariant: a body that passed the walk makes the decoder of the kafka-protocol crate take
//! the very same path over the bytes, so that no count reaches it that was not checked here.
//! Known tagged fields are walked too, because the decoder ignores the length they come with.

use super::Error;
use super::cursor::Cursor;

/// The most elements of arrays, and unknown tagged fields, in one request.
pub const ELEMENTS_MAX: usize = 100_000;

/// What one element may take in memory once decoded, bytes. The largest structs of requests have
/// about 150; the first unknown tagged field of each brings a node of a B-tree.
const ELEMENT_BYTES: usize = 512;

/// What any request may take in memory once decoded, bytes, beside its frame.
pub const DECODED_BYTES_MAX: usize = ELEMENTS_MAX * ELEMENT_BYTES;

/// A value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A number, boolean or UUID of so many bytes.
    Fixed(usize),
    /// A string.
    Text,
    /// Bytes, or records.
    Blob,
    /// An array.
    List(&'static Kind),
    /// A struct.
    Struct(&'static Record),
    /// A struct behind a byte that says whether it is there.
    Optional(&'static Record),
}

/// A field that is there in some versions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    pub(super) first: i16,
    pub(super) last: i16,
}

/// A tagged field that the decoder knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tagged {
    pub(super) tag: u32,
    pub(super) first: i16,
    pub(super) kind: Kind,
}

/// A struct: its fields in order, then its tagged fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) fields: &'static [Field],
    pub(super) tagged: &'static [Tagged],
}

/// Walks one body.
pub(super) struct Walk<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) version: i16,
    pub(super) flexible: bool,
    elements: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(body: &'a [u8], version: i16, flexible: bool) -> Self {
        Self { cursor: Cursor::new(body), version, flexible, elements: 0 }
    }

    /// What the body may take in memory once decoded, bytes.
    pub(super) fn decoded_bytes(&self) -> usize {
        self.elements * ELEMENT_BYTES
    }

    pub(super) fn record(&mut self, record: &Record) -> Result<(), Error> {
        for field in record.fields {
            if (field.first..=field.last).contains(&self.version) {
                self.value(&field.kind)?;
            }
        }
        if self.flexible {
            self.tagged_fields(record.tagged)?;
        }
        Ok(())
    }

    fn value(&mut self, kind: &Kind) -> Result<(), Error> {
        match kind {
            Kind::Fixed(size) => self.cursor.take(*size).map(|_| ()),
            Kind::Text => {
                let length = self.cursor.text_length(self.flexible)?;
                self.cursor.take(length.unwrap_or(0)).map(|_| ())
            }
            Kind::Blob => {
                let length = self.cursor.length(self.flexible)?;
                self.cursor.take(length.unwrap_or(0)).map(|_| ())
            }
            Kind::List(element) => self.list(element),
            Kind::Struct(record) => self.record(record),
            Kind::Optional(record) => match self.cursor.array()? {
                [1] => self.record(record),
                [_] => Ok(()),
            },
        }
    }

    fn list(&mut self, element: &Kind) -> Result<(), Error> {
        let count = self.cursor.length(self.flexible)?.unwrap_or(0);
        self.count(count, 1)?;
        for _ in 0..count {
            self.value(element)?;
        }
        Ok(())
    }

    /// Takes `count` elements of at least `least` bytes each into account.
    fn count(&mut self, count: usize, least: usize) -> Result<(), Error> {
        let left = self.cursor.left();
        if count > left / least {
            let at = self.cursor.at();
            return Err(Error::Count { count, at, left });
        }
        self.elements += count;
        if self.elements > ELEMENTS_MAX {
            return Err(Error::TooManyElements);
        }
        Ok(())
    }

    /// Walks tagged fields, of which those in `known` are values.
    pub(super) fn tagged_fields(&mut self, known: &[Tagged]) -> Result<(), Error> {
        let count = self.cursor.varint()? as usize;
        self.count(count, 2)?;
        for _ in 0..count {
            let tag = self.cursor.varint()?;
            let length = self.cursor.varint()? as usize;
            let Some(field) = known.iter().find(|field| field.tag == tag) else {
                self.cursor.take(length)?;
                continue;
            };
            let start = self.cursor.at();
            if self.version >= field.first {
                self.value(&field.kind)?;
            }
            let found = self.cursor.at() - start;
            if found != length {
                return Err(Error::Tagged { tag, length, found });
            }
        }
        Ok(())
    }
}
