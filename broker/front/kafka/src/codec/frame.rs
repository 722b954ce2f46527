//! An answer on its way to the socket: pieces, so that records are not copied into it.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;

use super::apis::Api;
use super::header::Header;

/// An answer that can't be encoded: a fault of this door, not of the client.
#[derive(Debug, thiserror::Error)]
#[error("the answer can't be encoded: {0}")]
pub(crate) struct Unencodable(String);

impl Unencodable {
    pub(super) fn new(why: String) -> Self {
        Self(why)
    }
}

/// A whole answer, length and header included.
#[derive(Debug)]
pub(crate) struct Frame {
    pieces: Vec<Bytes>,
}

impl Frame {
    /// Encodes `body` as the answer to the request with `header`.
    pub(crate) fn encode<T: Encodable>(
        api: &Api,
        header: &Header,
        body: &T,
    ) -> Result<Self, Unencodable> {
        Self::encode_as(api, header, body, header.version)
    }

    /// As [`Frame::encode`], with a body in another version than was asked.
    pub(crate) fn encode_as<T: Encodable>(
        api: &Api,
        header: &Header,
        body: &T,
        version: i16,
    ) -> Result<Self, Unencodable> {
        let mut builder = Builder::default();
        body.encode(&mut builder.open, version).map_err(|error| Unencodable(error.to_string()))?;
        builder.finish(api, header)
    }

    /// The pieces, in order.
    pub(crate) fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }
}

/// Builds an answer of written and of given bytes.
#[derive(Default)]
pub(super) struct Builder {
    /// What is being written.
    pub(super) open: BytesMut,
    closed: Vec<Bytes>,
    closed_bytes: usize,
}

impl Builder {
    /// Writes an unsigned number of one to five bytes.
    pub(super) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.open.put_u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.open.put_u8(value.to_le_bytes()[0]);
    }

    /// Writes a length or count that is at hand.
    pub(super) fn length(&mut self, length: usize, compact: bool) -> Result<(), Unencodable> {
        let too_long = || Unencodable(format!("{length} is too long"));
        let length = i32::try_from(length).map_err(|_| too_long())?;
        if compact {
            self.varint(length.unsigned_abs() + 1);
        } else {
            self.open.put_i32(length);
        }
        Ok(())
    }

    /// Writes a string.
    pub(super) fn text(&mut self, text: &str, compact: bool) -> Result<(), Unencodable> {
        if compact {
            self.length(text.len(), true)?;
        } else {
            let length = i16::try_from(text.len());
            let too_long = |_| Unencodable(format!("a name of {} bytes is too long", text.len()));
            self.open.put_i16(length.map_err(too_long)?);
        }
        self.open.put_slice(text.as_bytes());
        Ok(())
    }

    /// Takes bytes as they are, without copying them.
    pub(super) fn give(&mut self, bytes: Bytes) {
        self.close();
        self.closed_bytes += bytes.len();
        self.closed.push(bytes);
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.closed_bytes += self.open.len();
            self.closed.push(self.open.split().freeze());
        }
    }

    /// Puts length and header in front.
    pub(super) fn finish(mut self, api: &Api, header: &Header) -> Result<Frame, Unencodable> {
        self.close();
        let tags = api.answers_with_tags(header.version);
        let length = 4 + usize::from(tags) + self.closed_bytes;
        let length =
            i32::try_from(length).map_err(|_| Unencodable(format!("{length} bytes at once")))?;
        let mut front = BytesMut::with_capacity(9);
        front.put_i32(length);
        front.put_i32(header.correlation);
        if tags {
            front.put_u8(0);
        }
        let mut pieces = Vec::with_capacity(1 + self.closed.len());
        pieces.push(front.freeze());
        pieces.append(&mut self.closed);
        Ok(Frame { pieces })
    }
}
