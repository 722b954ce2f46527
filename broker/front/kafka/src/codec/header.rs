//! The header of a request.

use super::Error;
use super::apis::Api;
use super::cursor::Cursor;
use super::schema::Walk;

/// What precedes the body of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The key of the API.
    pub api: i16,
    /// The version of the body.
    pub version: i16,
    /// Given back with the answer.
    pub correlation: i32,
}

impl Header {
    /// Length of the part that is the same in every version, bytes.
    pub const LEN: usize = 8;

    /// Reads the part that is the same in every version.
    ///
    /// # Errors
    /// [`Error::Short`].
    pub fn read(frame: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(frame);
        Ok(Self { api: cursor.int16()?, version: cursor.int16()?, correlation: cursor.int32()? })
    }

    /// Where the body begins, and the id that the client calls itself.
    ///
    /// # Errors
    /// [`Error`], where the header is not whole.
    pub fn body_at<'a>(&self, api: &Api, frame: &'a [u8]) -> Result<(usize, &'a [u8]), Error> {
        let mut walk = Walk::new(frame, self.version, api.is_flexible(self.version));
        walk.cursor.take(Self::LEN)?;
        // The client's id is never compact: it was there before compact strings were.
        let length = walk.cursor.text_length(false)?;
        let client = walk.cursor.take(length.unwrap_or(0))?;
        if walk.flexible {
            walk.tagged_fields(&[])?;
        }
        Ok((walk.cursor.at(), client))
    }
}
