//! What hostile frames may make the decoder allocate: bounded, for every API in every version.
//!
//! A file, and so a process, of its own, because the allocator counts for all threads; and one
//! test, because tests run side by side.

#![allow(clippy::unwrap_used)] // in a test a panic is the failure

#[path = "door/samples.rs"]
mod samples;

use bytes::{BufMut, Bytes, BytesMut};
use holdfast_kafka::codec::{APIS, Api, DECODED_BYTES_MAX, Error, decode};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
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
fn take(key: i16, version: i16, body: &Bytes) -> Result<(), Error> {
    fn of<Q: Request>(body: &Bytes, version: i16) -> Result<(), Error> {
        decode::<Q>(body, version).map(|_| ())
    }
    Api::of(key)?.check(version, body)?;
    match ApiKey::try_from(key).unwrap() {
        ApiKey::Produce => of::<ProduceRequest>(body, version),
        ApiKey::Fetch => of::<FetchRequest>(body, version),
        ApiKey::ListOffsets => of::<ListOffsetsRequest>(body, version),
        ApiKey::Metadata => of::<MetadataRequest>(body, version),
        ApiKey::OffsetCommit => of::<OffsetCommitRequest>(body, version),
        ApiKey::OffsetFetch => of::<OffsetFetchRequest>(body, version),
        ApiKey::FindCoordinator => of::<FindCoordinatorRequest>(body, version),
        ApiKey::JoinGroup => of::<JoinGroupRequest>(body, version),
        ApiKey::Heartbeat => of::<HeartbeatRequest>(body, version),
        ApiKey::LeaveGroup => of::<LeaveGroupRequest>(body, version),
        ApiKey::SyncGroup => of::<SyncGroupRequest>(body, version),
        ApiKey::DescribeGroups => of::<DescribeGroupsRequest>(body, version),
        ApiKey::ListGroups => of::<ListGroupsRequest>(body, version),
        ApiKey::ApiVersions => of::<ApiVersionsRequest>(body, version),
        ApiKey::CreateTopics => of::<CreateTopicsRequest>(body, version),
        ApiKey::DeleteTopics => of::<DeleteTopicsRequest>(body, version),
        ApiKey::DeleteRecords => of::<DeleteRecordsRequest>(body, version),
        ApiKey::InitProducerId => of::<InitProducerIdRequest>(body, version),
        ApiKey::OffsetForLeaderEpoch => of::<OffsetForLeaderEpochRequest>(body, version),
        ApiKey::DescribeConfigs => of::<DescribeConfigsRequest>(body, version),
        ApiKey::CreatePartitions => of::<CreatePartitionsRequest>(body, version),
        ApiKey::DeleteGroups => of::<DeleteGroupsRequest>(body, version),
        ApiKey::IncrementalAlterConfigs => of::<IncrementalAlterConfigsRequest>(body, version),
        ApiKey::OffsetDelete => of::<OffsetDeleteRequest>(body, version),
        ApiKey::DescribeCluster => of::<DescribeClusterRequest>(body, version),
        ApiKey::DescribeTopicPartitions => of::<DescribeTopicPartitionsRequest>(body, version),
        other => panic!("{other:?} is not tried here"),
    }
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
        let Sample { key, version, body } = sample;
        let sound = take(*key, *version, body);
        assert_eq!(sound, Ok(()), "key {key} version {version}");
        cut_short(sample);
        numbers_replaced(sample);
        bytes_replaced(sample);
    }
    the_known_attack();
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
        let peak = peak_of(|| assert!(take(sample.key, sample.version, &cut).is_err()));
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
                let _ = take(sample.key, sample.version, &hostile);
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
                let _ = take(sample.key, sample.version, &hostile);
            });
            assert!(peak < SMALL, "key {} version {}: {peak}", sample.key, sample.version);
        }
    }
}

/// A body of 12 bytes that asks the crate's decoder for 25 GB.
fn the_known_attack() {
    let mut body = BytesMut::new();
    body.put_i16(-1);
    body.put_i16(1);
    body.put_i32(1000);
    body.put_i32(i32::MAX);
    let body = body.freeze();
    assert_eq!(body.len(), 12);
    let peak = peak_of(|| assert!(matches!(take(0, 8, &body), Err(Error::Count { .. }))));
    assert!(peak < 1024, "{peak}");
}

/// Long frames full of the smallest elements: what they take is what the check said.
fn largest_lists(samples: &[Sample]) {
    const FRAME: usize = 200 * 1024;
    for sample in samples {
        for at in 0..sample.body.len() {
            for filler in [0, 1, 2] {
                let count = u32::try_from(FRAME - 100).unwrap();
                let mut compact = sample.body[..at].to_vec();
                compact.extend(varint(count));
                compact.resize(FRAME, filler);
                bounded(sample, compact);
                let mut wide = sample.body[..at].to_vec();
                wide.extend(99_000_u32.to_be_bytes());
                wide.resize(FRAME, filler);
                bounded(sample, wide);
                let mut most = sample.body[..at].to_vec();
                most.extend(varint(99_001));
                most.resize(FRAME, filler);
                bounded(sample, most);
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
        let _ = take(sample.key, sample.version, &body);
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
