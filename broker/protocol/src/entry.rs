//! An entry of a shard's log, as it lies on disk and travels between brokers.
//!
//! A fixed header of [`Header::LEN`] bytes, little endian, then the body:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the whole entry, header included, bytes |
//! | 4 | 4 | CRC32C of everything from byte 8 on |
//! | 8 | 1 | format version, 1 |
//! | 9 | 1 | kind |
//! | 10 | 2 | reserved, 0 |
//! | 12 | 4 | epoch |
//! | 16 | 8 | position |
//! | 24 | 16 | topic of the stream, zero where the entry is of no stream |
//! | 40 | 4 | partition of the stream |
//! | 44 | 4 | number of offsets that the entry takes in its stream |
//! | 48 | 8 | first of those offsets |
//! | 56 | 8 | largest timestamp of its messages, ms since 1970, -1 for none |
//!
//! A length of 0 marks the unwritten rest of a preallocated segment.

use bytes::Bytes;

use crate::ids::{Epoch, Offset, Position, StreamId, TopicId};

/// What an entry commands. The meaning of a released kind never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A leader begins its epoch (`command::EpochStart`).
    EpochStart = 1,
    /// One Kafka `RecordBatch` v2 is appended to the stream (the batch itself).
    Append = 2,
    /// Messages of the stream below an offset are dropped (`command::TrimStream`).
    TrimStream = 3,
    /// The stream is dropped, with everything in it (`command::DropStream`).
    DropStream = 4,
    /// Cursors of a group move (`command::CommitOffsets`).
    CommitOffsets = 5,
    /// Cursors of a group, or the group itself, are dropped (`command::DropOffsets`).
    DropOffsets = 6,
    /// A group's membership is kept (`command::KeepGroup`).
    KeepGroup = 7,
    /// A topic is declared, or declared anew (`command::DeclareTopic`); shard 0 only.
    DeclareTopic = 8,
    /// A topic is deleted (`command::DeleteTopic`); shard 0 only.
    DeleteTopic = 9,
}

impl Kind {
    /// The kind with this number, if it is known.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        [
            Self::EpochStart,
            Self::Append,
            Self::TrimStream,
            Self::DropStream,
            Self::CommitOffsets,
            Self::DropOffsets,
            Self::KeepGroup,
            Self::DeclareTopic,
            Self::DeleteTopic,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == number)
    }
}

/// The header of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Length of the whole entry, header included, bytes.
    pub length: u32,
    /// CRC32C of everything from byte 8 on.
    pub crc: u32,
    /// What the entry commands.
    pub kind: Kind,
    /// The reign in which it was appended.
    pub epoch: Epoch,
    /// Its number in the shard's log.
    pub position: Position,
    /// The stream that it is of; all zero for none.
    pub stream: StreamId,
    /// How many offsets it takes in its stream.
    pub count: u32,
    /// The first of those offsets.
    pub offset: Offset,
    /// Largest timestamp of its messages, ms since 1970; -1 for none.
    pub timestamp_ms: i64,
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The unwritten rest of a segment.
    #[error("no entry here: the length is zero")]
    Unwritten,
    /// Fewer bytes than the entry says it has.
    #[error("the entry is cut short: it needs {need} bytes and {have} are left")]
    Short {
        /// Bytes that the entry needs.
        need: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// A length that no entry has.
    #[error("an entry of {0} bytes can't be: at least 64 and at most {max}", max = Header::ENTRY_BYTES_MAX)]
    Length(u32),
    /// The checksum does not match.
    #[error("the checksum of the entry is {found:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// As written in the entry.
        found: u32,
        /// As computed over its bytes.
        computed: u32,
    },
    /// A number that nothing ever reaches, and that nothing could follow.
    #[error("the entry's {0} is too large to be")]
    Range(&'static str),
    /// A version or kind from the future.
    #[error("entry version {version} kind {kind} is not known to this broker; upgrade it")]
    Unknown {
        /// The format version found.
        version: u8,
        /// The kind found.
        kind: u8,
    },
}

impl Header {
    /// Length of a header, bytes.
    pub const LEN: usize = 64;
    /// The format version written.
    pub const VERSION: u8 = 1;
    /// The longest entry, bytes: the largest batch that a topic may allow, and room to spare.
    pub const ENTRY_BYTES_MAX: u32 = 104 * 1024 * 1024;

    /// Reads the header at the start of `bytes`, without looking at the body or the checksum.
    ///
    /// # Errors
    /// [`Error`], but for `Checksum`; `Short` only where the header itself is cut short.
    pub fn peek(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() >= 4 && u32_at(bytes, 0) == 0 {
            return Err(Error::Unwritten);
        }
        if bytes.len() < Self::LEN {
            return Err(Error::Short { need: Self::LEN, have: bytes.len() });
        }
        let length = u32_at(bytes, 0);
        if (length as usize) < Self::LEN || length > Self::ENTRY_BYTES_MAX {
            return Err(Error::Length(length));
        }
        let (version, number) = (bytes[8], bytes[9]);
        let kind = Kind::from_u8(number)
            .filter(|_| version == Self::VERSION)
            .ok_or(Error::Unknown { version, kind: number })?;
        let (epoch, position) = (Epoch(u32_at(bytes, 12)), Position(u64_at(bytes, 16)));
        let offset = Offset(u64_at(bytes, 48));
        let ranges = [
            (epoch > Epoch::MAX, "epoch"),
            (position > Position::MAX, "position"),
            (offset > Offset::MAX, "offset"),
        ];
        if let Some((_, field)) = ranges.into_iter().find(|(beyond, _)| *beyond) {
            return Err(Error::Range(field));
        }
        Ok(Self {
            length,
            crc: u32_at(bytes, 4),
            kind,
            epoch,
            position,
            stream: StreamId { topic: TopicId(array_at(bytes, 24)), partition: u32_at(bytes, 40) },
            count: u32_at(bytes, 44),
            offset,
            timestamp_ms: i64::from_le_bytes(array_at(bytes, 56)),
        })
    }

    /// Reads and verifies the whole entry at the start of `bytes`; the body is
    /// `bytes[Header::LEN..length]`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn verify(bytes: &[u8]) -> Result<Self, Error> {
        // The checksum comes before the kind: garbage is torn, not "from the future".
        if bytes.len() >= Self::LEN {
            let length = u32_at(bytes, 0);
            let plausible = length as usize >= Self::LEN && length <= Self::ENTRY_BYTES_MAX;
            if plausible && bytes.len() >= length as usize {
                let computed = crc32c::crc32c(&bytes[8..length as usize]);
                let found = u32_at(bytes, 4);
                if found != computed {
                    return Err(Error::Checksum { found, computed });
                }
            }
        }
        let header = Self::peek(bytes)?;
        if bytes.len() < header.length as usize {
            return Err(Error::Short { need: header.length as usize, have: bytes.len() });
        }
        Ok(header)
    }
}

/// What is to be appended: everything of an entry but what the log gives it.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// What the entry commands.
    pub kind: Kind,
    /// The stream, all zero for none.
    pub stream: StreamId,
    /// How many offsets it takes.
    pub count: u32,
    /// The first of those.
    pub offset: Offset,
    /// Largest timestamp, ms since 1970; -1 for none.
    pub timestamp_ms: i64,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Draft<'a> {
    /// A command that is of no stream.
    #[must_use]
    pub fn command(kind: Kind, body: &'a [u8]) -> Self {
        Self {
            kind,
            stream: StreamId::default(),
            count: 0,
            offset: Offset(0),
            timestamp_ms: -1,
            body,
        }
    }

    /// Writes the entry at `position` in `epoch` to the end of `out`.
    ///
    /// # Panics
    /// Where the body is longer than [`Header::ENTRY_BYTES_MAX`] allows: callers bound it.
    pub fn encode(&self, epoch: Epoch, position: Position, out: &mut Vec<u8>) {
        self.encode_with(epoch, position, out, |_| ());
    }

    fn encode_with(
        &self,
        epoch: Epoch,
        position: Position,
        out: &mut Vec<u8>,
        finish: impl FnOnce(&mut [u8]),
    ) -> Header {
        let start = out.len();
        let length = u32::try_from(Header::LEN + self.body.len())
            .ok()
            .filter(|length| *length <= Header::ENTRY_BYTES_MAX)
            .expect("callers bound the body of an entry");
        out.reserve(length as usize);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[Header::VERSION, self.kind as u8, 0, 0]);
        out.extend_from_slice(&epoch.0.to_le_bytes());
        out.extend_from_slice(&position.0.to_le_bytes());
        out.extend_from_slice(&self.stream.topic.0);
        out.extend_from_slice(&self.stream.partition.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.offset.0.to_le_bytes());
        out.extend_from_slice(&self.timestamp_ms.to_le_bytes());
        out.extend_from_slice(self.body);
        finish(&mut out[start + Header::LEN..]);
        let crc = crc32c::crc32c(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        let Self { kind, stream, count, offset, timestamp_ms, .. } = *self;
        Header { length, crc, kind, epoch, position, stream, count, offset, timestamp_ms }
    }
}

/// One whole, verified entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its header.
    pub header: Header,
    /// All of its bytes, header included.
    pub bytes: Bytes,
}

impl Entry {
    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.bytes[Header::LEN..]
    }
}

/// Splits `bytes` into whole verified entries.
///
/// # Errors
/// [`Error`] of the first that is not one.
pub fn split(mut bytes: Bytes) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let header = Header::verify(&bytes)?;
        entries.push(Entry { header, bytes: bytes.split_to(header.length as usize) });
    }
    Ok(entries)
}

/// Whole entries that stand one after the other: each was verified, or encoded here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Entries {
    bytes: Bytes,
    headers: Vec<Header>,
}

impl Entries {
    /// Verifies every entry.
    ///
    /// # Errors
    /// [`Error`] of the first that is not one.
    pub fn verify(bytes: Bytes) -> Result<Self, Error> {
        let mut headers = Vec::new();
        let mut left = &bytes[..];
        while !left.is_empty() {
            let header = Header::verify(left)?;
            left = &left[header.length as usize..];
            headers.push(header);
        }
        Ok(Self { bytes, headers })
    }

    /// All of their bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Their headers, in their order.
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// The position after the last; `None` where there is none.
    #[must_use]
    pub fn next(&self) -> Option<Position> {
        self.headers.last().map(|header| header.position.next())
    }
}

/// Encodes entries, one behind the other.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    headers: Vec<Header>,
}

impl Encoder {
    /// Encodes the entry at `position` in `epoch`, once `finish` has changed what it wants of the
    /// body. Gives its header.
    ///
    /// # Panics
    /// As [`Draft::encode`].
    pub fn push(
        &mut self,
        draft: &Draft<'_>,
        epoch: Epoch,
        position: Position,
        finish: impl FnOnce(&mut [u8]),
    ) -> Header {
        let header = draft.encode_with(epoch, position, &mut self.bytes, finish);
        self.headers.push(header);
        header
    }

    /// Bytes encoded so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was encoded since the last [`Encoder::take`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Gives what was encoded, and begins anew.
    pub fn take(&mut self) -> Entries {
        let headers = std::mem::take(&mut self.headers);
        Entries { bytes: Bytes::from(std::mem::take(&mut self.bytes)), headers }
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Draft::command(Kind::KeepGroup, body).encode(Epoch(3), Position(9), &mut out);
        out
    }

    #[test]
    fn an_entry_survives_the_disk() {
        let bytes = Bytes::from([encoded(b"one"), encoded(b"")].concat());
        let entries = split(bytes).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].body(), b"one");
        assert_eq!(entries[0].header.position, Position(9));
        assert_eq!(entries[1].header.kind, Kind::KeepGroup);
    }

    #[test]
    fn what_is_encoded_is_what_would_be_verified() {
        let mut encoder = Encoder::default();
        let draft = Draft { kind: Kind::Append, count: 3, ..Draft::command(Kind::Append, b"body") };
        encoder.push(&draft, Epoch(3), Position(9), |body| body[0] = b'B');
        encoder.push(&Draft::command(Kind::KeepGroup, b""), Epoch(3), Position(10), |_| ());
        let entries = encoder.take();
        assert!(encoder.is_empty());
        assert_eq!(Entries::verify(entries.bytes().clone()), Ok(entries.clone()));
        assert_eq!(entries.next(), Some(Position(11)));
        assert_eq!(split(entries.bytes().clone()).unwrap()[0].body(), b"Body");
    }

    #[test]
    fn the_unwritten_rest_is_told_from_damage() {
        assert_eq!(Header::verify(&[0; 100]), Err(Error::Unwritten));
        let mut bytes = encoded(b"body");
        bytes[66] ^= 1;
        assert!(matches!(Header::verify(&bytes), Err(Error::Checksum { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Header::verify(&bytes);
            let _ = split(Bytes::from(bytes));
        }

        #[test]
        fn any_flipped_bit_is_noticed(body in proptest::collection::vec(any::<u8>(), 0..64), bit in any::<proptest::sample::Index>()) {
            let mut bytes = encoded(&body);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Header::verify(&bytes).is_err());
        }
    }
}
