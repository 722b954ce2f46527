//! Inputs that are several messages: a byte for what it is, two for its length, its bytes.

/// Puts a message behind others.
pub(super) fn put(out: &mut Vec<u8>, what: u8, message: &[u8]) {
    out.push(what);
    out.extend(u16::try_from(message.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend(message);
}

/// The messages in `input`; the last one may be cut short.
pub(super) fn messages(mut input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let ([what, low, high], rest) = input.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (message, rest) = rest.split_at(length.min(rest.len()));
        input = rest;
        Some((*what, message))
    })
}
