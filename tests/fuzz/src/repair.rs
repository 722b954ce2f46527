//! Making checksums right again, so that a mutated input gets past them.

/// Recomputes the checksum of every Kafka record batch that lies in `bytes`.
pub(crate) fn batches(bytes: &mut [u8]) {
    let mut at = 0;
    while at + 61 <= bytes.len() {
        let length = u32::from_be_bytes(array(bytes, at + 8)) as usize;
        let end = at.saturating_add(12).saturating_add(length);
        if bytes[at + 16] == 2 && length >= 49 && end <= bytes.len() {
            let crc = crc32c::crc32c(&bytes[at + 21..end]);
            bytes[at + 17..at + 21].copy_from_slice(&crc.to_be_bytes());
            at = end;
        } else {
            at += 1;
        }
    }
}

/// Makes what follows the last whole frame of a Kafka connection one frame, and what is in the
/// frames whole batches.
pub(crate) fn kafka(bytes: &mut [u8]) {
    let mut at = 0;
    while at + 4 <= bytes.len() {
        let length = u32::from_be_bytes(array(bytes, at)) as usize;
        let left = bytes.len() - at - 4;
        if length > left {
            let left = u32::try_from(left).unwrap_or(0);
            bytes[at..at + 4].copy_from_slice(&left.to_be_bytes());
            break;
        }
        at += 4 + length;
    }
    batches(bytes);
}

/// Recomputes the checksum of every entry of a shard's log from `bytes[at..]` on.
pub(crate) fn entries(bytes: &mut [u8], mut at: usize) {
    while at + 64 <= bytes.len() {
        let length = u32::from_le_bytes(array(bytes, at)) as usize;
        let Some(end) = at.checked_add(length).filter(|end| length >= 64 && *end <= bytes.len())
        else {
            return;
        };
        let crc = crc32c::crc32c(&bytes[at + 8..end]);
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
}

/// Recomputes the checksums in a segment file that begins at `bytes[at]`.
pub(crate) fn segment(bytes: &mut [u8], at: usize) {
    if bytes.len() < at + 64 {
        return;
    }
    let crc = crc32c::crc32c(&bytes[at..at + 60]);
    bytes[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
    batches(&mut bytes[at + 64..]);
    entries(bytes, at + 64);
}

/// Recomputes the checksums of the frames from `bytes[at..]` on; the last one is made as long as
/// there are bytes.
pub(crate) fn frames(bytes: &mut [u8], mut at: usize) {
    while at + 24 <= bytes.len() {
        let left = bytes.len() - at - 24;
        let length = u64::from_le_bytes(array(bytes, at + 16));
        let length = usize::try_from(length).ok().filter(|length| *length <= left).unwrap_or(left);
        bytes[at + 16..at + 24].copy_from_slice(&(length as u64).to_le_bytes());
        let end = at + 24 + length;
        let mut crc = crc32c::crc32c(&bytes[at..at + 12]);
        crc = crc32c::crc32c_append(crc, &bytes[at + 16..end]);
        bytes[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
}

/// Nothing has to be right.
pub(crate) fn nothing(_: &mut Vec<u8>) {}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
