//! Reading primitive values without allocating.

use super::Error;

/// A place in a frame.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        if count > self.left() {
            return Err(Error::Short(self.bytes.len()));
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("N bytes were taken"))
    }

    pub(super) fn int16(&mut self) -> Result<i16, Error> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn int32(&mut self) -> Result<i32, Error> {
        self.array().map(i32::from_be_bytes)
    }

    /// An unsigned number of one to five bytes, seven bits each, the lowest first.
    pub(super) fn varint(&mut self) -> Result<u32, Error> {
        let start = self.at;
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| Error::Number(start));
            }
        }
        Err(Error::Number(start))
    }

    /// The length of a string: `None` for null.
    pub(super) fn text_length(&mut self, compact: bool) -> Result<Option<usize>, Error> {
        if compact {
            return self.compact_length();
        }
        let at = self.at;
        let length = self.int16()?;
        length_or_null(i64::from(length), at)
    }

    /// The length of bytes, or the count of an array: `None` for null.
    pub(super) fn length(&mut self, compact: bool) -> Result<Option<usize>, Error> {
        if compact {
            return self.compact_length();
        }
        let at = self.at;
        let length = self.int32()?;
        length_or_null(i64::from(length), at)
    }

    fn compact_length(&mut self) -> Result<Option<usize>, Error> {
        Ok((self.varint()? as usize).checked_sub(1))
    }
}

fn length_or_null(length: i64, at: usize) -> Result<Option<usize>, Error> {
    if length == -1 {
        return Ok(None);
    }
    usize::try_from(length).map(Some).map_err(|_| Error::Length { length, at })
}
