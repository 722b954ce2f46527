//! Record batches: what the broker reads of their outside, and the door of their inside.

use std::io::Write;
use std::ops::ControlFlow;

use bytes::Bytes;
use holdfast_core::batch::{self, Batch, HEADER_LEN, Stamp};
use holdfast_kafka::records;

use super::{KIB, MIB};
use crate::{Target, repair};

/// What looking into a batch may hold: the window of zstd, 16 MiB, and its own buffers; snappy
/// makes up to 32 bytes of one.
const MEMORY_BYTES_MAX: usize = 24 * MIB;

pub(super) const TARGET: Target = Target {
    name: "record-batch",
    run,
    repair: |input| repair::batches(input),
    seeds,
    words: &[&[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0], &[0x28, 0xb5, 0x2f, 0xfd]],
    input_bytes_max: 8 * KIB,
    memory_bytes_max: MEMORY_BYTES_MAX,
};

/// Four messages with keys.
fn messages() -> Vec<u8> {
    let mut messages = Vec::new();
    for index in 0..4_u8 {
        let message = [0, index * 20, index * 2, 2, b'k', 4, b'v', b'w', 0];
        messages.push(18);
        messages.extend(message);
    }
    messages
}

fn with(compression: u8, messages: &[u8]) -> Vec<u8> {
    let stamp = Stamp { id: 7, epoch: 0, first: 5, last: 8 };
    let mut bytes = batch::build(4, 1_000, Some(stamp), messages);
    bytes[22] = compression;
    repair::batches(&mut bytes);
    bytes
}

/// A batch whose messages have keys.
pub(super) fn with_keys() -> Vec<u8> {
    with(0, &messages())
}

fn seeds() -> Vec<Vec<u8>> {
    let plain = messages();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).expect("memory takes it");
    let snappy = snap::raw::Encoder::new().compress_vec(&plain).expect("memory takes it");
    let mut xerial = [&[0x82][..], b"SNAPPY", &[0, 0, 0, 0, 1, 0, 0, 0, 1]].concat();
    xerial.extend(u32::try_from(snappy.len()).unwrap_or(0).to_be_bytes());
    xerial.extend(&snappy);
    let mut lz4 = lz4::EncoderBuilder::new().build(Vec::new()).expect("the options are good");
    lz4.write_all(&plain).expect("memory takes it");
    vec![
        with(0, &plain),
        with(1, &gzip.finish().expect("memory takes it")),
        with(2, &snappy),
        with(2, &xerial),
        with(3, &lz4.finish().0),
        with(4, &zstd::stream::encode_all(&plain[..], 3).expect("memory takes it")),
    ]
}

fn run(input: &[u8]) {
    if let Ok(batch) = Batch::verify(input) {
        let mut stamped = input.to_vec();
        batch::stamp(&mut stamped, holdfast_protocol::Offset(9), holdfast_protocol::Epoch(3));
        assert_eq!(Batch::verify(&stamped), Ok(batch), "offset and epoch change nothing else");
    }
    let input = Bytes::copy_from_slice(input);
    let _ = batch::base_offset(&input);
    if input.len() < HEADER_LEN {
        return;
    }
    let mut next = 0;
    let _ = records::visit(&input, |message| {
        assert_eq!(message.index, next, "messages come in order");
        next += 1;
        ControlFlow::<()>::Continue(())
    });
    let _ = records::first_at_or_after(&input, 1_030);
}
