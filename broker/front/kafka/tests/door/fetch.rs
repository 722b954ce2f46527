//! `Fetch`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use kafka_protocol::records::RecordBatchDecoder;
use uuid::Uuid;

use crate::client::{Client, Door, PATIENCE, text};
use crate::memory::{EPOCH, Memory};
use crate::produce::produce;

fn request(memory: &Memory, offset: i64) -> FetchRequest {
    let id = memory.topic("orders").map_or(Uuid::nil(), |topic| Uuid::from_bytes(topic.id.0));
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(text("orders")))
        .with_topic_id(id)
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic])
}

fn only(answer: &FetchResponse) -> &PartitionData {
    &answer.responses[0].partitions[0]
}

fn values(answer: &FetchResponse) -> Vec<String> {
    let mut records = only(answer).records.clone().unwrap_or_default();
    if records.is_empty() {
        return Vec::new();
    }
    let sets = RecordBatchDecoder::decode_all(&mut records).unwrap();
    let records = sets.into_iter().flat_map(|set| set.records);
    let value = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    records.map(|record| value(record.value.unwrap())).collect()
}

async fn opened() -> (Memory, Door, Client) {
    let memory = Memory::new().with_topic("orders", 1);
    let door = Door::open(&memory).await;
    let client = door.client().await;
    (memory, door, client)
}

#[tokio::test]
async fn every_version_reads() {
    let (memory, _door, mut client) = opened().await;
    for value in ["a", "b", "c"] {
        produce(&mut client, value, 1).await;
    }
    for version in 4..=18 {
        let answer = client.call(version, &request(&memory, 1)).await;
        assert_eq!(only(&answer).error_code, 0, "version {version}");
        assert_eq!(values(&answer), ["b", "c"]);
        assert_eq!(only(&answer).high_watermark, 3);
        assert_eq!(only(&answer).last_stable_offset, 3);
        assert_eq!(answer.session_id, 0);
    }
}

#[tokio::test]
async fn errors_have_the_codes_that_clients_know() {
    let (memory, _door, mut client) = opened().await;
    produce(&mut client, "a", 1).await;
    let with = |change: fn(&mut FetchPartition)| {
        let mut request = request(&memory, 0);
        change(&mut request.topics[0].partitions[0]);
        request
    };
    for (request, code) in [
        (with(|p| p.fetch_offset = 2), Code::OffsetOutOfRange),
        (with(|p| p.fetch_offset = -5), Code::OffsetOutOfRange),
        (with(|p| p.partition = 9), Code::UnknownTopicOrPartition),
        (with(|p| p.current_leader_epoch = 6), Code::FencedLeaderEpoch),
        (with(|p| p.current_leader_epoch = 8), Code::UnknownLeaderEpoch),
    ] {
        let answer = client.call(12, &request).await;
        assert_eq!(only(&answer).error_code, code.code());
    }
    let mut unknown = request(&memory, 0);
    unknown.topics[0].topic_id = Uuid::from_u128(1);
    let answer = client.call(13, &unknown).await;
    assert_eq!(only(&answer).error_code, Code::UnknownTopicId.code());
    let mut session = request(&memory, 0);
    session.session_id = 5;
    let answer = client.call(12, &session).await;
    assert_eq!(answer.error_code, Code::FetchSessionIdNotFound.code());
    for shard in &mut memory.state().cluster.shards {
        shard.leader = Some(holdfast_protocol::BrokerId(3));
    }
    for version in [4, 11, 12, 16, 18] {
        let answer = client.call(version, &request(&memory, 0)).await;
        assert_eq!(only(&answer).error_code, Code::NotLeaderOrFollower.code());
        if version >= 12 {
            assert_eq!(only(&answer).current_leader.leader_id.0, 3);
            assert_eq!(only(&answer).current_leader.leader_epoch, EPOCH as i32);
        }
        if version >= 16 {
            assert_eq!(&*answer.node_endpoints[0].host, "plain-3");
            assert_eq!(answer.node_endpoints[0].port, 9092);
        }
    }
}

#[tokio::test]
async fn a_long_poll_wakes_on_data_and_ends_in_time() {
    let (memory, door, mut client) = opened().await;
    let mut producer = door.client().await;
    let mut long = request(&memory, 0);
    long.max_wait_ms = 60_000;
    let begun = Instant::now();
    client.send(12, &long).await;
    produce(&mut producer, "a", 1).await;
    let (_, answer) = client.receive::<FetchRequest>(12).await;
    assert_eq!(values(&answer), ["a"]);
    assert!(begun.elapsed() < PATIENCE);
    let mut short = request(&memory, 1);
    short.max_wait_ms = 50;
    let begun = Instant::now();
    let answer = client.call(12, &short).await;
    assert_eq!(values(&answer), [""; 0]);
    assert!(begun.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_fetch_waits_for_min_bytes() {
    let (memory, door, mut client) = opened().await;
    let mut producer = door.client().await;
    let mut long = request(&memory, 0);
    long.max_wait_ms = 60_000;
    long.min_bytes = 150;
    client.send(12, &long).await;
    for value in ["a", "b", "c"] {
        produce(&mut producer, value, 1).await;
    }
    let (_, answer) = client.receive::<FetchRequest>(12).await;
    assert!(only(&answer).records.as_ref().unwrap().len() >= 150);
    assert_eq!(values(&answer), ["a", "b", "c"]);
}

#[tokio::test]
async fn limits_hold_but_for_the_first_batch() {
    let (memory, _door, mut client) = opened().await;
    for _ in 0..3 {
        produce(&mut client, &"x".repeat(1000), 1).await;
    }
    let mut tiny = request(&memory, 0);
    tiny.max_bytes = 1;
    assert_eq!(values(&client.call(12, &tiny).await).len(), 1);
    let mut two = request(&memory, 0);
    two.topics[0].partitions[0].partition_max_bytes = 2200;
    assert_eq!(values(&client.call(12, &two).await).len(), 2);
}
