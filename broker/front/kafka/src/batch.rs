//! How a `RecordBatch` v2 lies in bytes: only its frame. Its checksum, counts and sequence
//! numbers are verified behind the door.

use bytes::Bytes;

/// Length of the header of a batch, bytes.
pub(crate) const HEADER_LEN: usize = 61;

/// Length of what precedes the field `batch_length`, and that field, bytes.
const LENGTH_END: usize = 12;

const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Why records are not one batch that may be produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// No records.
    #[error("there are no records")]
    Empty,
    /// The length and the bytes do not agree, or there is no whole header.
    #[error("the batch's length is not that of its bytes")]
    Length,
    /// More than one batch.
    #[error("there is more than one batch; send one for each partition")]
    Several,
    /// A format before version 2.
    #[error("the message format v{0} is not taken; use v2 (Kafka 0.11 and later)")]
    Magic(i8),
    /// Of a transaction.
    #[error("transactions are not served")]
    Transactional,
    /// A control batch, which only brokers write.
    #[error("clients can't write control batches")]
    Control,
}

/// Checks that `records` are one whole batch that a client may produce.
pub(crate) fn check(records: &[u8]) -> Result<(), Error> {
    if records.is_empty() {
        return Err(Error::Empty);
    }
    let magic = *records.get(16).ok_or(Error::Length)?;
    if magic != 2 {
        return Err(Error::Magic(i8::from_be_bytes([magic])));
    }
    let length = batch_length(records).ok_or(Error::Length)?;
    if length > records.len() {
        return Err(Error::Length);
    }
    if length < records.len() {
        return Err(Error::Several);
    }
    let attributes = i16::from_be_bytes([records[21], records[22]]);
    if attributes & CONTROL != 0 {
        return Err(Error::Control);
    }
    if attributes & TRANSACTIONAL != 0 {
        return Err(Error::Transactional);
    }
    Ok(())
}

/// The length of the batch at the start of `bytes`, its header included; `None` where there is
/// no whole header.
pub(crate) fn batch_length(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < HEADER_LEN {
        return None;
    }
    let length = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    let length = usize::try_from(length).ok()?.checked_add(LENGTH_END)?;
    (length >= HEADER_LEN).then_some(length)
}

/// One past the last offset of whole batches that lie in `pieces`, one after the other; `None`
/// where there are none, or they are not whole.
pub(crate) fn end_offset(pieces: &[Bytes]) -> Option<u64> {
    let mut end = None;
    let mut ahead = 0;
    let mut index = 0;
    while index < pieces.len() {
        let piece = &pieces[index];
        if ahead >= piece.len() {
            ahead -= piece.len();
            index += 1;
            continue;
        }
        let header = header_at(&pieces[index..], ahead)?;
        let base = u64::from_be_bytes(header[..8].try_into().ok()?);
        let last = u32::from_be_bytes(header[23..27].try_into().ok()?);
        end = Some(base.checked_add(u64::from(last))?.checked_add(1)?);
        ahead += batch_length(&header)?;
    }
    end
}

/// The header that begins `at` bytes into the first of `pieces`, and may go on in the others.
fn header_at(pieces: &[Bytes], at: usize) -> Option<[u8; HEADER_LEN]> {
    let mut header = [0; HEADER_LEN];
    let mut have = 0;
    let mut skip = at;
    for piece in pieces {
        let part = &piece[skip..];
        skip = 0;
        let count = part.len().min(HEADER_LEN - have);
        header[have..have + count].copy_from_slice(&part[..count]);
        have += count;
        if have == HEADER_LEN {
            return Some(header);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base: u64, count: u32, body: usize) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN + body];
        let length = i32::try_from(HEADER_LEN + body - LENGTH_END).unwrap();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        bytes
    }

    #[test]
    fn only_one_whole_batch_of_a_client_passes() {
        let good = batch(0, 3, 10);
        assert_eq!(check(&good), Ok(()));
        assert_eq!(check(b""), Err(Error::Empty));
        assert_eq!(check(&good[..16]), Err(Error::Length));
        assert_eq!(check(&good[..60]), Err(Error::Length));
        assert_eq!(check(&[good.clone(), good.clone()].concat()), Err(Error::Several));
        for (at, byte, error) in [
            (16, 1, Error::Magic(1)),
            (22, 0x10, Error::Transactional),
            (22, 0x20, Error::Control),
            (8, 0x80, Error::Length),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(check(&bad), Err(error));
        }
    }

    #[test]
    fn the_end_is_found_across_pieces() {
        let bytes = Bytes::from([batch(5, 3, 10), batch(8, 1, 200)].concat());
        for cut in 0..=bytes.len() {
            let pieces = [bytes.slice(..cut), bytes.slice(cut..)];
            assert_eq!(end_offset(&pieces), Some(9));
        }
        assert_eq!(end_offset(&[]), None);
        assert_eq!(end_offset(&[bytes.slice(..30)]), None);
    }
}
