//! The outside of Kafka's `RecordBatch` v2: what a broker must know of a batch without opening it.
//!
//! Layout as in the Kafka protocol guide, section "Record Batch". Base offset and leader epoch
//! stand before the checksummed part, so the leader sets them without computing it anew.

use bytes::Bytes;
use holdfast_protocol::{Epoch, Offset};

/// Length of a batch's header, bytes.
pub const HEADER_LEN: usize = 61;
/// Bytes before the part that the length field counts.
const LENGTH_OVERHEAD: usize = 12;
/// Where the checksummed part begins.
const CHECKED_FROM: usize = 21;

/// What a broker knows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How many offsets it takes.
    pub count: u32,
    /// Largest timestamp of its records, ms since 1970.
    pub timestamp_ms_max: i64,
    /// Who produced it, where that is an idempotent producer.
    pub producer: Option<Stamp>,
}

/// An idempotent producer's mark on a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Id of the producer.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence number of the first record.
    pub first: i32,
    /// Sequence number of the last record.
    pub last: i32,
}

/// Why bytes are not a batch that may be appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one whole batch.
    #[error("{have} bytes are not one batch of {need}")]
    Length {
        /// Bytes given.
        have: usize,
        /// Bytes that the batch's own length asks for.
        need: usize,
    },
    /// A format older or newer than v2.
    #[error("magic {0} is not supported; only record batches of magic 2 are")]
    Magic(i8),
    /// The checksum does not match.
    #[error("the batch's checksum is {found:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// As in the batch.
        found: u32,
        /// As computed.
        computed: u32,
    },
    /// Fields that contradict each other.
    #[error("{0}")]
    Fields(&'static str),
}

impl Batch {
    /// Reads the header of one whole batch and verifies its checksum.
    ///
    /// # Errors
    /// [`Error`].
    pub fn verify(bytes: &[u8]) -> Result<Self, Error> {
        let batch = Self::peek(bytes)?;
        let found = u32::from_be_bytes(array(bytes, 17));
        let computed = crc32c::crc32c(&bytes[CHECKED_FROM..]);
        if found != computed {
            return Err(Error::Checksum { found, computed });
        }
        Ok(batch)
    }

    /// Reads the header of one whole batch, without its checksum.
    ///
    /// # Errors
    /// [`Error`], but for `Checksum`.
    pub fn peek(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() < HEADER_LEN {
            return Err(Error::Length { have: bytes.len(), need: HEADER_LEN });
        }
        let magic = i8::from_be_bytes([bytes[16]]);
        if magic != 2 {
            return Err(Error::Magic(magic));
        }
        let length = i32::from_be_bytes(array(bytes, 8));
        let need = usize::try_from(length).unwrap_or(0) + LENGTH_OVERHEAD;
        if need != bytes.len() {
            return Err(Error::Length { have: bytes.len(), need });
        }
        Self::fields(bytes)
    }

    fn fields(bytes: &[u8]) -> Result<Self, Error> {
        let attributes = i16::from_be_bytes(array(bytes, 21));
        let last_delta = i32::from_be_bytes(array(bytes, 23));
        let count = i32::from_be_bytes(array(bytes, 57));
        if attributes & 0x07 > 4 {
            return Err(Error::Fields("the batch names a compression that does not exist"));
        }
        if attributes & 0x10 != 0 {
            return Err(Error::Fields("transactional batches are not supported"));
        }
        if attributes & 0x20 != 0 {
            return Err(Error::Fields("a client may not append a control batch"));
        }
        let taken = u32::try_from(count).ok().filter(|count| *count > 0);
        let count = taken.ok_or(Error::Fields("the batch holds no record"))?;
        if i64::from(last_delta) + 1 != i64::from(count) {
            return Err(Error::Fields("the batch's last offset contradicts its record count"));
        }
        let producer = Stamp::read(bytes, last_delta)?;
        let timestamp_ms_max = i64::from_be_bytes(array(bytes, 35));
        Ok(Self { count, timestamp_ms_max, producer })
    }
}

impl Batch {
    /// The producer's mark in the header of a batch whose last offset delta is `last_delta`;
    /// `None` where it has none.
    #[must_use]
    pub fn stamp(head: &[u8], last_delta: i32) -> Option<Stamp> {
        Stamp::read(head, last_delta).ok().flatten()
    }
}

impl Stamp {
    fn read(bytes: &[u8], last_delta: i32) -> Result<Option<Self>, Error> {
        let id = i64::from_be_bytes(array(bytes, 43));
        let epoch = i16::from_be_bytes(array(bytes, 51));
        let first = i32::from_be_bytes(array(bytes, 53));
        if id < 0 {
            return Ok(None);
        }
        if epoch < 0 || first < 0 {
            return Err(Error::Fields("a producer id comes without epoch or sequence"));
        }
        Ok(Some(Self { id, epoch, first, last: sequence_plus(first, last_delta) }))
    }
}

/// The sequence number `by` after `sequence`; 0 follows the largest.
#[must_use]
pub fn sequence_plus(sequence: i32, by: i32) -> i32 {
    let sum = (i64::from(sequence) + i64::from(by)) % (i64::from(i32::MAX) + 1);
    i32::try_from(sum).expect("a remainder of 2^31 fits")
}

/// Writes base offset and leader epoch into the header of a batch that was verified.
pub fn stamp(batch: &mut [u8], base: Offset, epoch: Epoch) {
    batch[..8].copy_from_slice(&base.0.to_be_bytes());
    batch[12..16].copy_from_slice(&epoch.0.to_be_bytes());
}

/// The base offset of a batch.
#[must_use]
pub fn base_offset(batch: &Bytes) -> Option<Offset> {
    (batch.len() >= HEADER_LEN).then(|| Offset(u64::from_be_bytes(array(batch, 0))))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N")
}

/// A batch of `count` records whose inside is `payload`, for tests of this and other rooms.
#[must_use]
pub fn build(count: u32, timestamp_ms: i64, producer: Option<Stamp>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    let length = HEADER_LEN - LENGTH_OVERHEAD + payload.len();
    bytes[8..12].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&count.saturating_sub(1).to_be_bytes());
    bytes[27..35].copy_from_slice(&timestamp_ms.to_be_bytes());
    bytes[35..43].copy_from_slice(&timestamp_ms.to_be_bytes());
    let (id, epoch, first) = producer.map_or((-1, -1, -1), |p| (p.id, p.epoch, p.first));
    bytes[43..51].copy_from_slice(&id.to_be_bytes());
    bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
    bytes[53..57].copy_from_slice(&first.to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(payload);
    let crc = crc32c::crc32c(&bytes[CHECKED_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_says_what_the_broker_must_know() {
        let stamp = Stamp { id: 7, epoch: 1, first: i32::MAX, last: 1 };
        let bytes = build(3, 99, Some(stamp), b"records");
        let batch = Batch::verify(&bytes).unwrap();
        assert_eq!(batch, Batch { count: 3, timestamp_ms_max: 99, producer: Some(stamp) });
    }

    #[test]
    fn offset_and_epoch_are_outside_the_checksum() {
        let mut bytes = build(1, 0, None, b"x");
        super::stamp(&mut bytes, Offset(42), Epoch(7));
        assert!(Batch::verify(&bytes).is_ok());
        assert_eq!(base_offset(&Bytes::from(bytes)), Some(Offset(42)));
    }

    #[test]
    fn damage_and_nonsense_are_refused() {
        let good = build(1, 0, None, b"x");
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Batch::verify(&bytes)
        };
        assert!(matches!(with(61, b'y'), Err(Error::Checksum { .. })));
        assert_eq!(with(16, 1), Err(Error::Magic(1)));
        assert!(matches!(with(11, 0), Err(Error::Length { .. })));
        assert!(matches!(with(22, 0x10), Err(Error::Fields(_))));
        assert!(matches!(with(60, 0), Err(Error::Fields(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Batch::verify(&bytes);
        }
    }
}
