//! `Produce`.

use holdfast_service::AppendError;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{MetadataRequest, ProduceRequest, ProduceResponse, TopicName};
use uuid::Uuid;

use crate::client::{Client, Door, batch, text};
use crate::memory::Memory;

pub(crate) fn request(
    topic: &str,
    id: Uuid,
    partition: i32,
    records: bytes::Bytes,
) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(text(topic)))
        .with_topic_id(id)
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

fn only(answer: &ProduceResponse) -> &PartitionProduceResponse {
    &answer.responses[0].partition_responses[0]
}

/// Produces one message to partition 0 of `orders`, and gives its offset.
pub(crate) async fn produce(client: &mut Client, value: &str, timestamp: i64) -> i64 {
    let request = request("orders", Uuid::nil(), 0, batch(&[(value, timestamp)]));
    let answer = client.call(9, &request).await;
    assert_eq!(only(&answer).error_code, 0);
    only(&answer).base_offset
}

#[tokio::test]
async fn every_version_appends() {
    let memory = Memory::new().with_topic("orders", 1);
    let id = Uuid::from_bytes(memory.topic("orders").unwrap().id.0);
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    for (version, offset) in (3..=13).zip(0..) {
        for acks in [-1, 1] {
            let request = request("orders", id, 0, batch(&[("a", 1)])).with_acks(acks);
            let answer = client.call(version, &request).await;
            assert_eq!(only(&answer).error_code, 0, "version {version}");
            let expected = offset * 2 + i64::from(acks == 1);
            assert_eq!(only(&answer).base_offset, expected);
        }
    }
}

#[tokio::test]
async fn refusals_have_the_codes_that_clients_know() {
    let memory = Memory::new().with_topic("orders", 1);
    let id = Uuid::from_bytes(memory.topic("orders").unwrap().id.0);
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    let good = batch(&[("a", 1)]);
    let mut old = good.to_vec();
    old[16] = 1;
    let mut transactional = good.to_vec();
    transactional[22] = 0x10;
    let twice = [&good[..], &good[..]].concat();
    for (topic, partition, records, code) in [
        ("nothing", 0, good.to_vec(), Code::UnknownTopicOrPartition),
        ("orders", 1, good.to_vec(), Code::UnknownTopicOrPartition),
        ("orders", -1, good.to_vec(), Code::UnknownTopicOrPartition),
        ("orders", 0, vec![], Code::InvalidRecord),
        ("orders", 0, twice, Code::InvalidRecord),
        ("orders", 0, old, Code::UnsupportedForMessageFormat),
        ("orders", 0, good[..good.len() - 1].to_vec(), Code::CorruptMessage),
        ("orders", 0, transactional, Code::TransactionalIdAuthorizationFailed),
        ("orders", 0, batch(&[(&"x".repeat(2 << 20), 1)]).to_vec(), Code::MessageTooLarge),
    ] {
        let request = request(topic, id, partition, records.into());
        for version in [3, 12] {
            let answer = client.call(version, &request).await;
            assert_eq!(only(&answer).error_code, code.code());
            assert_eq!(only(&answer).error_message.is_some(), version == 12);
        }
    }
    let unknown_id = request("", Uuid::from_u128(1), 0, good.clone());
    let answer = client.call(13, &unknown_id).await;
    assert_eq!(only(&answer).error_code, Code::UnknownTopicId.code());
    let wrong_acks = request("orders", id, 0, good.clone()).with_acks(2);
    let answer = client.call(9, &wrong_acks).await;
    assert_eq!(only(&answer).error_code, Code::InvalidRequiredAcks.code());
    memory.state().refuses_appends = Some(AppendError::NotEnoughReplicas);
    let answer = client.call(9, &request("orders", id, 0, good)).await;
    assert_eq!(only(&answer).error_code, Code::NotEnoughReplicas.code());
}

#[tokio::test]
async fn a_client_at_the_wrong_broker_is_told_who_leads() {
    let memory = Memory::new().with_topic("orders", 1);
    for shard in &mut memory.state().cluster.shards {
        shard.leader = Some(holdfast_protocol::BrokerId(2));
    }
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    let request = request("orders", Uuid::nil(), 0, batch(&[("a", 1)]));
    for version in [9, 10, 12] {
        let answer = client.call(version, &request).await;
        assert_eq!(only(&answer).error_code, Code::NotLeaderOrFollower.code());
        if version >= 10 {
            assert_eq!(only(&answer).current_leader.leader_id.0, 2);
            assert_eq!(only(&answer).current_leader.leader_epoch, 7);
            assert_eq!(&*answer.node_endpoints[0].host, "plain-2");
        }
    }
}

#[tokio::test]
async fn without_acks_there_is_no_answer_and_errors_close() {
    let memory = Memory::new().with_topic("orders", 1);
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    let silent = request("orders", Uuid::nil(), 0, batch(&[("a", 1)])).with_acks(0);
    client.send(9, &silent).await;
    client.send(9, &silent).await;
    let answer = client.call(9, &silent.clone().with_acks(1)).await;
    assert_eq!(only(&answer).base_offset, 2);
    let wrong = request("nothing", Uuid::nil(), 0, batch(&[("a", 1)])).with_acks(0);
    client.send(9, &wrong).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn appends_run_ahead_and_are_answered_in_order() {
    let memory = Memory::new().with_topic("orders", 1);
    memory.state().holds_appends = true;
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    let one = request("orders", Uuid::nil(), 0, batch(&[("a", 1)]));
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(client.send(9, &one).await);
    }
    let mut metadata = MetadataRequest::default();
    metadata.topics = None;
    let last = client.send(9, &metadata).await;
    crate::client::until(|| memory.state().held.len() == 5).await;
    memory.release_appends();
    for (correlation, offset) in sent.into_iter().zip(0..) {
        let (answered, answer) = client.receive::<ProduceRequest>(9).await;
        assert_eq!(answered, correlation);
        assert_eq!(only(&answer).base_offset, offset);
    }
    assert_eq!(client.receive::<MetadataRequest>(9).await.0, last);
}

#[tokio::test]
async fn an_undecided_append_times_out() {
    let memory = Memory::new().with_topic("orders", 1);
    memory.state().holds_appends = true;
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    let request = request("orders", Uuid::nil(), 0, batch(&[("a", 1)])).with_timeout_ms(20);
    let answer = client.call(9, &request).await;
    assert_eq!(only(&answer).error_code, Code::RequestTimedOut.code());
}
