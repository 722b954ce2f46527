//! `ApiVersions` and `Metadata`.

use bytes::Buf;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::Decodable;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::client::{Door, text};
use crate::memory::Memory;

#[tokio::test]
async fn versions_are_told_in_every_version() {
    let memory = Memory::new();
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    for version in 0..=4 {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = text("tests");
            request.client_software_version = text("1");
        }
        let answer = client.call(version, &request).await;
        assert_eq!(answer.error_code, 0);
        let of = |key: ApiKey| {
            let mut served = answer.api_keys.iter();
            let served = served.find(|served| served.api_key == key as i16)?;
            Some((served.min_version, served.max_version))
        };
        assert_eq!(of(ApiKey::Produce), Some((3, 13)));
        assert_eq!(of(ApiKey::Fetch), Some((4, 18)));
        for absent in [
            ApiKey::AddPartitionsToTxn,
            ApiKey::GetTelemetrySubscriptions,
            ApiKey::PushTelemetry,
            ApiKey::ConsumerGroupHeartbeat,
            ApiKey::SaslHandshake,
        ] {
            assert_eq!(of(absent), None);
        }
    }
}

#[tokio::test]
async fn a_client_from_the_future_is_told_the_versions_in_version_0() {
    let memory = Memory::new();
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    // Key 18, version 9, correlation 77, and a body that nobody here can read.
    let frame = [0, 0, 0, 10, 0, 18, 0, 9, 0, 0, 0, 77, 0xff, 0xff];
    client.socket.write_all(&frame).await.unwrap();
    let mut answer = client.receive_bytes().await.unwrap();
    assert_eq!(answer.get_i32(), 77);
    let answer = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    assert_eq!(answer.error_code, Code::UnsupportedVersion.code());
    let own = answer.api_keys.iter().find(|api| api.api_key == 18).unwrap();
    assert_eq!((own.min_version, own.max_version), (0, 4));
    // The connection goes on.
    let answer = client.call(0, &ApiVersionsRequest::default()).await;
    assert_eq!(answer.error_code, 0);
}

fn asking(names: &[&str]) -> MetadataRequest {
    let topics = names
        .iter()
        .map(|name| MetadataRequestTopic::default().with_name(Some(TopicName(text(name)))));
    MetadataRequest::default().with_topics(Some(topics.collect()))
}

#[tokio::test]
async fn every_version_tells_brokers_and_leaders() {
    let memory = Memory::new().with_topic("orders", 2);
    let mut options = holdfast_kafka::Options::new("outside");
    options.requests_in_flight_max = 1;
    let door = Door::open_with(&memory, options).await;
    let mut client = door.client().await;
    for version in 0..=13 {
        let answer = client.call(version, &asking(&["orders"])).await;
        assert_eq!(answer.brokers.len(), 3);
        assert_eq!(&*answer.brokers[0].host, "outside-1");
        assert_eq!(answer.brokers[0].port, 30000);
        let topic = &answer.topics[0];
        assert_eq!(topic.error_code, 0);
        assert_eq!(topic.partitions.len(), 2);
        assert_eq!(topic.partitions[0].leader_id.0, 1);
        assert_eq!(topic.partitions[0].replica_nodes.len(), 3);
        if version >= 1 {
            assert_eq!(answer.controller_id.0, 1);
        }
        if version >= 10 {
            assert_eq!(topic.topic_id.into_bytes(), memory.topic("orders").unwrap().id.0);
        }
    }
    let all = MetadataRequest::default().with_topics(Some(vec![]));
    assert_eq!(client.call(0, &all).await.topics.len(), 1);
    assert_eq!(client.call(1, &all).await.topics.len(), 0);
    let all = MetadataRequest::default().with_topics(None);
    assert_eq!(client.call(12, &all).await.topics.len(), 1);
    let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(Uuid::from_u128(5));
    let by_id = MetadataRequest::default().with_topics(Some(vec![by_id]));
    let answer = client.call(12, &by_id).await;
    assert_eq!(answer.topics[0].error_code, Code::UnknownTopicId.code());
}

#[tokio::test]
async fn topics_are_made_when_both_sides_allow_it() {
    let memory = Memory::new();
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    let mut request = asking(&["new"]);
    request.allow_auto_topic_creation = false;
    let answer = client.call(12, &request).await;
    assert_eq!(answer.topics[0].error_code, Code::UnknownTopicOrPartition.code());
    request.allow_auto_topic_creation = true;
    let answer = client.call(12, &request).await;
    assert_eq!(answer.topics[0].error_code, 0);
    assert_eq!(answer.topics[0].partitions.len(), 3);
    let answer = client.call(12, &asking(&["no/such"])).await;
    assert_eq!(answer.topics[0].error_code, Code::InvalidTopicException.code());
    memory.state().cluster.topics_are_auto_created = false;
    let answer = client.call(12, &asking(&["other"])).await;
    assert_eq!(answer.topics[0].error_code, Code::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn a_partition_without_a_reachable_leader_says_so() {
    let memory = Memory::new().with_topic("orders", 1);
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    for leader in [None, Some(holdfast_protocol::BrokerId(8))] {
        for shard in &mut memory.state().cluster.shards {
            shard.leader = leader;
        }
        let answer = client.call(12, &asking(&["orders"])).await;
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(partition.error_code, Code::LeaderNotAvailable.code());
        assert_eq!(partition.leader_id.0, -1);
        assert_eq!(answer.controller_id.0, 1);
    }
}
