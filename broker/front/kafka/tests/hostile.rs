//! What hostile frames may make the decoder allocate: bounded, for every API in every version.
//!
//! A file, and so a process, of its own, because the allocator counts for all threads; and one
//! test, because tests run side by side.

#![allow(clippy::unwrap_used)] // in a test a panic is the failure

#[allow(dead_code)] // the door's tests use what is not used here
#[path = "door/samples.rs"]
mod samples;

use bytes::{BufMut, Bytes, BytesMut};
use holdfast_kafka::codec::{APIS, Api, DECODED_BYTES_MAX, Error};
use peak_alloc::PeakAlloc;
use samples::Sample;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What decoding a small frame may take beyond its own size, bytes.
const SMALL: usize = 256 * 1024;

/// Numbers that a hostile client may put anywhere.
const HOSTILE: [&[u8]; 7] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x40, 0, 0, 0],
    &[0x00, 0xff, 0xff, 0xff],
    &[0x7f, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x08],
];

/// Checks and decodes a body as the door does.
fn take(sample: &Sample, body: &Bytes) -> Result<(), Error> {
    Api::of(sample.key)?.check(sample.version, body)?;
    (sample.decode)(body, sample.version)
}

/// The most that was allocated at once while `work` ran, bytes.
fn peak_of(work: impl FnOnce()) -> usize {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    work();
    ALLOCATOR.peak_usage().saturating_sub(before)
}

#[test]
fn no_frame_allocates_more_than_the_bound() {
    let samples = samples::all();
    every_version_is_here(&samples);
    for sample in &samples {
        let Sample { key, version, body, .. } = sample;
        let sound = take(sample, body);
        assert_eq!(sound, Ok(()), "key {key} version {version}");
        cut_short(sample);
        numbers_replaced(sample);
        bytes_replaced(sample);
    }
    the_known_attack(&samples);
    largest_lists(&samples);
}

fn every_version_is_here(samples: &[Sample]) {
    for api in &APIS {
        for version in api.version_min..=api.version_max {
            let key = api.key as i16;
            let mut of = samples.iter().filter(|sample| sample.key == key);
            assert!(of.any(|sample| sample.version == version), "{key} {version}");
        }
    }
}

/// Every cut is refused, or leaves out nothing but the end of a tagged section.
fn cut_short(sample: &Sample) {
    for length in 0..sample.body.len() {
        let cut = sample.body.slice(..length);
        let peak = peak_of(|| assert!(take(sample, &cut).is_err()));
        assert!(peak < SMALL, "key {} version {}: {peak}", sample.key, sample.version);
    }
}

/// A hostile number at every place.
fn numbers_replaced(sample: &Sample) {
    for number in HOSTILE {
        for at in 0..sample.body.len() {
            let mut hostile = sample.body.to_vec();
            let end = hostile.len().min(at + number.len());
            hostile.splice(at..end, number.iter().copied());
            let hostile = Bytes::from(hostile);
            let peak = peak_of(|| {
                let _ = take(sample, &hostile);
            });
            assert!(peak < SMALL, "key {} version {}: {peak}", sample.key, sample.version);
        }
    }
}

/// The values at which lengths and counts turn, at every byte.
fn bytes_replaced(sample: &Sample) {
    for at in 0..sample.body.len() {
        for value in [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff] {
            let mut hostile = BytesMut::from(&sample.body[..]);
            hostile[at] = value;
            let hostile = hostile.freeze();
            let peak = peak_of(|| {
                let _ = take(sample, &hostile);
            });
            assert!(peak < SMALL, "key {} version {}: {peak}", sample.key, sample.version);
        }
    }
}

/// A body of 12 bytes that asks the crate's decoder for 25 GB.
fn the_known_attack(samples: &[Sample]) {
    let of = |sample: &&Sample| sample.key == 0 && sample.version == 8;
    let produce = samples.iter().find(of).unwrap();
    let mut body = BytesMut::new();
    body.put_i16(-1);
    body.put_i16(1);
    body.put_i32(1000);
    body.put_i32(i32::MAX);
    let body = body.freeze();
    assert_eq!(body.len(), 12);
    let peak = peak_of(|| assert!(matches!(take(produce, &body), Err(Error::Count { .. }))));
    assert!(peak < 1024, "{peak}");
}

/// Long frames full of the smallest elements: what they take is what the check said.
fn largest_lists(samples: &[Sample]) {
    const FRAME: usize = 200 * 1024;
    let counts = [
        varint(u32::try_from(FRAME - 100).unwrap()),
        varint(99_001),
        99_000_u32.to_be_bytes().to_vec(),
    ];
    for sample in samples {
        for at in 0..sample.body.len() {
            for (filler, count) in [0, 1].iter().flat_map(|f| counts.iter().map(move |c| (f, c))) {
                let mut body = vec![*filler; FRAME];
                body[..at].copy_from_slice(&sample.body[..at]);
                body[at..at + count.len()].copy_from_slice(count);
                bounded(sample, body);
            }
        }
    }
}

fn bounded(sample: &Sample, body: Vec<u8>) {
    let body = Bytes::from(body);
    let Ok(promised) = Api::of(sample.key).unwrap().check(sample.version, &body) else {
        return;
    };
    assert!(promised <= DECODED_BYTES_MAX);
    let peak = peak_of(|| {
        let _ = take(sample, &body);
    });
    let Sample { key, version, .. } = sample;
    assert!(peak <= promised + SMALL, "key {key} version {version}: {peak} of {promised}");
}

fn varint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}
