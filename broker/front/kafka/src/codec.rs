//! Frames into requests, answers into frames.
//!
//! The kafka-protocol crate decodes and encodes, but trusts the counts on the wire: it reserves
//! what an array says it holds. So every body is first walked against its schema
//! ([`Api::check`]), which allocates nothing, holds each count against the bytes that are left,
//! and bounds the memory that decoding may take.

pub mod apis;
mod cursor;
mod fetch;
mod frame;
mod header;
pub(crate) mod log_dirs;
mod requests;
mod schema;

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;

pub use apis::{APIS, Api};
pub(crate) use fetch::{FetchAnswer, FetchedPartition, FetchedTopic};
pub(crate) use frame::{Frame, Unencodable};
pub use header::Header;
pub use schema::{DECODED_BYTES_MAX, ELEMENTS_MAX};

/// Bytes that are not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end before the request does.
    #[error("the request is cut short at byte {0}")]
    Short(usize),
    /// A length or count below zero that is not the mark of "none".
    #[error("a length of {length} at byte {at} can't be")]
    Length {
        /// As found.
        length: i64,
        /// Where in the body.
        at: usize,
    },
    /// A count that the bytes left could not hold.
    #[error("{count} elements at byte {at} can't be: {left} bytes are left")]
    Count {
        /// As found.
        count: usize,
        /// Where in the body.
        at: usize,
        /// Bytes left.
        left: usize,
    },
    /// More elements than any client sends.
    #[error("the request has more than {ELEMENTS_MAX} elements; split it")]
    TooManyElements,
    /// A variable-length number of more than five bytes.
    #[error("the number at byte {0} is too long")]
    Number(usize),
    /// A tagged field whose length is not that of its value.
    #[error("the tagged field {tag} has {found} bytes instead of {length}")]
    Tagged {
        /// The tag.
        tag: u32,
        /// As told.
        length: usize,
        /// As found.
        found: usize,
    },
    /// An API that the door does not serve, and so does not advertise.
    #[error("the API {0} is not served")]
    UnknownApi(i16),
    /// A version that the door does not serve.
    #[error("version {version} of the API {api} is not served")]
    UnknownVersion {
        /// The API's key.
        api: i16,
        /// The version asked for.
        version: i16,
    },
    /// What the schema allows and the decoder does not: null where there must be a value, text
    /// that is not UTF-8, ...
    #[error("the request can't be decoded: {0}")]
    Decode(String),
}

/// Decodes a body that [`Api::check`] found sound.
///
/// # Errors
/// [`Error::Decode`].
pub fn decode<T: Decodable>(body: &Bytes, version: i16) -> Result<T, Error> {
    let mut body = body.clone();
    T::decode(&mut body, version).map_err(|error| Error::Decode(error.to_string()))
}
