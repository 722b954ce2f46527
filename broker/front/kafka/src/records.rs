//! Looks into a batch, message by message, without holding more of it than a few buffers.
//!
//! Only where it has to be: a compacted topic takes no message without a key, and a timestamp
//! is looked for within one batch. Batches come from clients, compressed as they like: what they
//! unpack to is read as a stream, and given up at [`UNPACKED_BYTES_MAX`].

use std::io::{self, Cursor, Read};
use std::ops::ControlFlow;

use bytes::Bytes;
use holdfast_protocol::Offset;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::batch::{self, HEADER_LEN};

/// The most bytes that are unpacked of one batch.
pub const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The largest window of zstd that is allocated, as a power of two: 16 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// Snappy makes no more than this of one byte; a chunk that claims more lies.
const SNAPPY_RATIO_MAX: usize = 32;

/// The most that one chunk of snappy may unpack to, bytes: the largest batch, and more. It is held
/// whole.
const SNAPPY_CHUNK_MAX: usize = 128 * 1024 * 1024;

/// Batches that are looked into at once in this process; others wait. Each takes a core, and up to
/// [`SNAPPY_CHUNK_MAX`] or zstd's window.
const LOOKS_MAX: usize = 4;

static LOOKS: Semaphore = Semaphore::const_new(LOOKS_MAX);

/// What precedes the chunks that Java's snappy writes; then two numbers of four bytes.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_LEN: usize = 16;

/// Why a batch can't be looked into.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not one whole batch.
    #[error("these bytes are not a batch")]
    NotABatch,
    /// A compression of which Kafka knows nothing.
    #[error("compression {0} is not known")]
    Compression(i16),
    /// Its messages can't be unpacked, or are not whole.
    #[error("the messages of the batch can't be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// One message, as far as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the batch, from 0.
    pub index: u32,
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp, ms since 1970.
    pub timestamp_ms: i64,
    /// Whether it has a key.
    pub has_key: bool,
}

/// Waits until a batch may be looked into: for as long as what is given lives.
pub async fn turn() -> Option<SemaphorePermit<'static>> {
    // It is never closed.
    LOOKS.acquire().await.ok()
}

/// Shows the messages of `batch` to `visit`, in order, until that breaks off.
///
/// # Errors
/// [`Error`], also where some messages were shown already.
pub fn visit<B>(
    batch: &Bytes,
    mut visit: impl FnMut(Message) -> ControlFlow<B>,
) -> Result<Option<B>, Error> {
    let length = batch::batch_length(batch).filter(|length| *length <= batch.len());
    let batch = batch.slice(..length.ok_or(Error::NotABatch)?);
    let header = Header::read(&batch);
    let packed = Cursor::new(batch.slice(HEADER_LEN..));
    let unpacked = unpack(packed, header.attributes)?;
    let mut unpacked = io::BufReader::new(unpacked.take(UNPACKED_BYTES_MAX));
    for index in 0..header.count {
        let message = read_message(&mut unpacked, &header, index)?;
        if let ControlFlow::Break(found) = visit(message) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first message of `batch` whose timestamp is at or after `timestamp_ms`, with it.
///
/// # Errors
/// [`Error`].
pub fn first_at_or_after(batch: &Bytes, timestamp_ms: i64) -> Result<Option<(Offset, i64)>, Error> {
    visit(batch, |message| {
        if message.timestamp_ms >= timestamp_ms {
            ControlFlow::Break((message.offset, message.timestamp_ms))
        } else {
            ControlFlow::Continue(())
        }
    })
}

/// What the header says that the messages need.
struct Header {
    base_offset: u64,
    attributes: i16,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    count: u32,
}

impl Header {
    /// Reads the header of a whole batch.
    fn read(batch: &[u8]) -> Self {
        let at = |from: usize| -> [u8; 8] {
            batch[from..from + 8].try_into().expect("a whole header has 61 bytes")
        };
        let count = i32::from_be_bytes([batch[57], batch[58], batch[59], batch[60]]);
        Self {
            base_offset: u64::from_be_bytes(at(0)),
            attributes: i16::from_be_bytes([batch[21], batch[22]]),
            base_timestamp_ms: i64::from_be_bytes(at(27)),
            max_timestamp_ms: i64::from_be_bytes(at(35)),
            count: u32::try_from(count).unwrap_or(0),
        }
    }

    /// Whether all messages have the time at which the log took them.
    fn has_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }
}

fn unpack(packed: Cursor<Bytes>, attributes: i16) -> Result<Box<dyn Read>, Error> {
    Ok(match attributes & 0x07 {
        0 => Box::new(packed),
        1 => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        2 => Box::new(Snappy::new(packed.into_inner())),
        3 => Box::new(lz4::Decoder::new(packed)?),
        4 => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        other => return Err(Error::Compression(other)),
    })
}

fn read_message(input: &mut impl Read, header: &Header, index: u32) -> Result<Message, Error> {
    let length = varint(input)?;
    let length = u64::try_from(length).map_err(|_| invalid("a message of negative length"))?;
    let mut body = input.take(length);
    body.read_exact(&mut [0])?; // attributes, of which there are none yet
    let timestamp = varint(&mut body)?;
    let offset = varint(&mut body)?;
    let key = varint(&mut body)?;
    let skipped = body.limit();
    if io::copy(&mut body, &mut io::sink())? < skipped {
        return Err(invalid("a message that is cut short").into());
    }
    Ok(Message {
        index,
        offset: Offset(header.base_offset.saturating_add(u64::try_from(offset).unwrap_or(0))),
        timestamp_ms: if header.has_append_time() {
            header.max_timestamp_ms
        } else {
            header.base_timestamp_ms.saturating_add(timestamp)
        },
        has_key: key >= 0,
    })
}

/// A signed number of one to ten bytes, seven bits each, the lowest first.
fn varint(input: &mut impl Read) -> io::Result<i64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            let magnitude = i64::try_from(value >> 1).expect("63 bits fit");
            return Ok(if value & 1 == 0 { magnitude } else { !magnitude });
        }
    }
    Err(invalid("a number that is too long"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Unpacks snappy as Kafka's clients write it: chunks with a length each (Java), or one.
struct Snappy {
    packed: Bytes,
    in_chunks: bool,
    unpacked: Cursor<Vec<u8>>,
}

impl Snappy {
    fn new(mut packed: Bytes) -> Self {
        let in_chunks = packed.starts_with(&XERIAL_MAGIC) && packed.len() >= XERIAL_HEADER_LEN;
        if in_chunks {
            packed = packed.slice(XERIAL_HEADER_LEN..);
        }
        Self { packed, in_chunks, unpacked: Cursor::new(Vec::new()) }
    }

    fn next_chunk(&mut self) -> io::Result<Bytes> {
        if !self.in_chunks {
            return Ok(std::mem::take(&mut self.packed));
        }
        let length: [u8; 4] = match self.packed.get(..4) {
            Some(length) => length.try_into().expect("four bytes were taken"),
            None => return Err(invalid("a chunk that is cut short")),
        };
        let end = usize::try_from(i32::from_be_bytes(length))
            .ok()
            .and_then(|length| length.checked_add(4))
            .filter(|end| *end <= self.packed.len())
            .ok_or_else(|| invalid("a chunk that is cut short"))?;
        Ok(self.packed.split_to(end).slice(4..))
    }
}

impl Read for Snappy {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.unpacked.read(out)?;
            if count > 0 || out.is_empty() || self.packed.is_empty() {
                return Ok(count);
            }
            let chunk = self.next_chunk()?;
            let most = chunk.len().saturating_mul(SNAPPY_RATIO_MAX).min(SNAPPY_CHUNK_MAX);
            if snap::raw::decompress_len(&chunk)? > most {
                return Err(invalid("a chunk that claims too much"));
            }
            self.unpacked = Cursor::new(snap::raw::Decoder::new().decompress_vec(&chunk)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// A batch at offset 100, time 1000: messages with and without keys, 10 ms apart.
    fn batch(messages: u32, compression: u8, pack: impl Fn(&[u8]) -> Vec<u8>) -> Bytes {
        let mut body = Vec::new();
        for index in 0..u8::try_from(messages).unwrap() {
            let key: &[u8] = if index % 2 == 0 { &[2, b'k'] } else { &[1] };
            let message = [&[0, index * 20 % 128, index * 2][..], key, &[2, b'v', 0]].concat();
            body.push(u8::try_from(message.len() * 2).unwrap());
            body.extend(message);
        }
        let mut bytes = vec![0; HEADER_LEN];
        bytes[7] = 100;
        bytes[16] = 2;
        bytes[22] = compression;
        bytes[27..35].copy_from_slice(&1000_i64.to_be_bytes());
        bytes[57..61].copy_from_slice(&messages.to_be_bytes());
        bytes.extend(pack(&body));
        let length = i32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        Bytes::from(bytes)
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn snappy(body: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(body).unwrap()
    }

    fn xerial(body: &[u8]) -> Vec<u8> {
        let mut bytes = [&XERIAL_MAGIC[..], &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        for chunk in body.chunks(7) {
            let packed = snappy(chunk);
            bytes.extend(u32::try_from(packed.len()).unwrap().to_be_bytes());
            bytes.extend(packed);
        }
        bytes
    }

    fn lz4(body: &[u8]) -> Vec<u8> {
        let mut encoder = lz4::EncoderBuilder::new().build(Vec::new()).unwrap();
        encoder.write_all(body).unwrap();
        let (bytes, result) = encoder.finish();
        result.unwrap();
        bytes
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(body, 3).unwrap()
    }

    fn all(batch: &Bytes) -> Result<Vec<Message>, Error> {
        let mut messages = Vec::new();
        visit(batch, |message| {
            messages.push(message);
            ControlFlow::<()>::Continue(())
        })?;
        Ok(messages)
    }

    #[test]
    fn every_compression_is_read() {
        type Pack = fn(&[u8]) -> Vec<u8>;
        let packs: [(u8, Pack); 6] =
            [(0, <[u8]>::to_vec), (1, gzip), (2, snappy), (2, xerial), (3, lz4), (4, zstd)];
        for (compression, pack) in packs {
            let batch = batch(5, compression, pack);
            let messages = all(&batch).unwrap();
            assert_eq!(messages.len(), 5, "compression {compression}");
            assert!(messages[0].has_key && !messages[1].has_key);
            assert_eq!(messages[3].offset, Offset(103));
            assert_eq!(messages[3].timestamp_ms, 1030);
            let found = first_at_or_after(&batch, 1015).unwrap();
            assert_eq!(found, Some((Offset(102), 1020)));
            assert_eq!(first_at_or_after(&batch, 1041).unwrap(), None);
            let cut = batch.slice(..batch.len() - 1);
            assert!(all(&cut).is_err());
        }
    }

    #[test]
    fn chunks_that_claim_too_much_are_refused() {
        // Snappy's length of 2^32 - 1, and nothing behind it.
        let lie = batch(1, 2, |_| vec![0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(matches!(all(&lie), Err(Error::Unreadable(_))));
        // As long as would be believed by its ratio, and more than is held: 129 MiB.
        let long = batch(1, 2, |_| [&[0x80, 0x80, 0xc0, 0x40][..], &[0; 5 << 20]].concat());
        let Err(Error::Unreadable(error)) = all(&long) else { panic!("it is refused") };
        assert!(error.to_string().contains("claims too much"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            compression in 0_u8..8,
            count in 0_u32..10,
        ) {
            let batch = batch(count, compression, |_| body.clone());
            let _ = all(&batch);
        }
    }
}
