//! Topics, configuration and the cluster, as administrators see them.

use holdfast_protocol::topic::Cleanup;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeTopicPartitionsRequest, TopicName, TransactionalId,
};
use uuid::Uuid;

use crate::client::{Client, Door, batch, text};
use crate::memory::Memory;
use crate::{produce, samples};

async fn opened() -> (Memory, Door, Client) {
    let memory = Memory::new().with_topic("orders", 1);
    let door = Door::open(&memory).await;
    let client = door.client().await;
    (memory, door, client)
}

#[tokio::test]
async fn every_sample_is_answered() {
    let (_memory, door, mut client) = opened().await;
    for sample in samples::all() {
        use tokio::io::AsyncWriteExt;
        client.socket.write_all(&sample.frame).await.unwrap();
        let answer = client.receive_bytes().await;
        let answer = answer.unwrap_or_else(|| panic!("key {} is closed on", sample.key));
        assert_eq!((sample.read_answer)(answer, sample.version), samples::CORRELATION);
    }
    door.shutdown.cancel();
    door.served.await.unwrap().unwrap();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn topics_live_and_die_in_every_version() {
    let (memory, _door, mut client) = opened().await;
    for version in 2..=7 {
        let mut request = samples::create_topics(version);
        request.validate_only = true;
        let answer = client.call(version, &request).await;
        assert_eq!(answer.topics[0].error_code, 0, "version {version}");
        assert!(memory.topic("made").is_none());
        request.validate_only = false;
        let answer = client.call(version, &request).await;
        assert_eq!(answer.topics[0].error_code, 0);
        let made = memory.topic("made").unwrap();
        assert_eq!((made.partitions, made.config.retention_ms), (1, Some(5000)));
        if version >= 5 {
            assert_eq!(answer.topics[0].num_partitions, 1);
            assert_eq!(answer.topics[0].replication_factor, 3);
        }
        let answer = client.call(version, &request).await;
        assert_eq!(answer.topics[0].error_code, Code::TopicAlreadyExists.code());
        let grow = samples::create_partitions(version.min(3));
        let answer = client.call(version.min(3), &grow).await;
        assert_eq!(answer.results[0].error_code, 0);
        assert_eq!(memory.topic("made").unwrap().partitions, 2);
        let answer = client.call(version.min(3), &grow).await;
        assert_eq!(answer.results[0].error_code, Code::InvalidPartitions.code());
        let alter = samples::incremental_alter_configs(version % 2);
        let answer = client.call(version % 2, &alter).await;
        assert_eq!(answer.responses[0].error_code, 0);
        assert_eq!(memory.topic("made").unwrap().config.retention_ms, Some(7000));
        let version = version - 1;
        let answer = client.call(version, &samples::delete_topics(version)).await;
        assert_eq!(answer.responses[0].error_code, 0);
        let answer = client.call(version, &samples::delete_topics(version)).await;
        assert_eq!(answer.responses[0].error_code, Code::UnknownTopicOrPartition.code());
    }
}

#[tokio::test]
async fn what_yaml_declares_clients_leave_alone() {
    let (memory, _door, mut client) = opened().await;
    let forbidden = Code::PolicyViolation.code();
    let mut delete = samples::delete_topics(6);
    delete.topics[0].name = Some(TopicName(text("orders")));
    assert_eq!(client.call(6, &delete).await.responses[0].error_code, forbidden);
    let mut grow = samples::create_partitions(3);
    grow.topics[0].name = TopicName(text("orders"));
    assert_eq!(client.call(3, &grow).await.results[0].error_code, forbidden);
    let mut alter = samples::incremental_alter_configs(1);
    alter.resources[0].resource_name = text("orders");
    assert_eq!(client.call(1, &alter).await.responses[0].error_code, forbidden);
    memory.state().cluster.clients_may_declare_topics = false;
    let answer = client.call(7, &samples::create_topics(7)).await;
    assert_eq!(answer.topics[0].error_code, forbidden);
}

#[tokio::test]
async fn topics_that_can_not_be_are_refused() {
    let (_memory, _door, mut client) = opened().await;
    let topic = |name: &str, partitions, replicas, configs: &[(&str, &str)]| {
        let config = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(configs.iter().map(config).collect())
    };
    let topics = [
        (topic("no/name", 1, 1, &[]), Code::InvalidTopicException),
        (topic("orders", 1, 1, &[]), Code::TopicAlreadyExists),
        (topic("a", 0, 1, &[]), Code::InvalidPartitions),
        (topic("b", 101, 1, &[]), Code::InvalidPartitions),
        (topic("c", 1, 4, &[]), Code::InvalidReplicationFactor),
        (topic("d", 1, 0, &[]), Code::InvalidReplicationFactor),
        (topic("e", 1, 1, &[("dummy.doesntexist", "x")]), Code::InvalidConfig),
        (topic("f", 1, 1, &[("min.insync.replicas", "3")]), Code::InvalidConfig),
        (topic("g", 1, 1, &[]), Code::InvalidRequest),
        (topic("g", 1, 1, &[]), Code::InvalidRequest),
    ];
    let request = CreateTopicsRequest::default()
        .with_timeout_ms(10_000)
        .with_topics(topics.iter().map(|(topic, _)| topic.clone()).collect());
    let answer = client.call(7, &request).await;
    for (result, (_, code)) in answer.topics.iter().zip(&topics) {
        assert_eq!(result.error_code, code.code(), "{}", &**result.name);
    }
}

#[tokio::test]
async fn configurations_are_described() {
    let (_memory, _door, mut client) = opened().await;
    for version in 1..=4 {
        let answer = client.call(version, &samples::describe_configs(version)).await;
        let of_topic = &answer.results[0].configs;
        assert_eq!(of_topic.len(), 2);
        let retention = of_topic.iter().find(|c| &*c.name == "retention.ms").unwrap();
        assert_eq!(retention.value.as_deref(), Some("604800000"));
        assert_eq!(retention.config_source, 5);
        assert_eq!(&*retention.synonyms[0].name, "log.retention.ms");
        let of_broker = &answer.results[1].configs;
        let listeners = of_broker.iter().find(|c| &*c.name == "advertised.listeners").unwrap();
        let value = listeners.value.as_deref();
        assert_eq!(value, Some("plain://plain-1:9092,outside://outside-1:30000"));
    }
    let mut unknown = samples::describe_configs(4);
    unknown.resources[0].resource_name = text("nothing");
    unknown.resources[1].resource_name = text("2");
    let answer = client.call(4, &unknown).await;
    assert_eq!(answer.results[0].error_code, Code::UnknownTopicOrPartition.code());
    assert_eq!(answer.results[1].error_code, Code::InvalidRequest.code());
}

#[tokio::test]
async fn records_are_deleted() {
    let (_memory, _door, mut client) = opened().await;
    for _ in 0..4 {
        produce::produce(&mut client, "a", 1).await;
    }
    for (version, offset, start, code) in [
        (0, 1, 1, 0),
        (1, 9, -1, Code::OffsetOutOfRange.code()),
        (1, -2, -1, Code::OffsetOutOfRange.code()),
        (2, -1, 4, 0),
    ] {
        let mut request = samples::delete_records(version).with_timeout_ms(0);
        request.topics[0].partitions[0].offset = offset;
        let answer = client.call(version, &request).await;
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.low_watermark, partition.error_code), (start, code));
    }
}

#[tokio::test]
async fn producers_get_ids_and_transactions_fail_clean() {
    let (_memory, _door, mut client) = opened().await;
    let mut last = 0;
    for version in 0..=5 {
        let answer = client.call(version, &samples::init_producer_id(version)).await;
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        assert!(answer.producer_id.0 > last);
        last = answer.producer_id.0;
        let transactional = samples::init_producer_id(version)
            .with_transactional_id(Some(TransactionalId(text("pay"))));
        let answer = client.call(version, &transactional).await;
        assert_eq!(answer.error_code, Code::TransactionalIdAuthorizationFailed.code());
    }
}

#[tokio::test]
async fn the_end_of_an_epoch_is_told() {
    let (_memory, _door, mut client) = opened().await;
    produce::produce(&mut client, "a", 1).await;
    for version in 2..=4 {
        for (believed, asked, epoch, end, code) in [
            (-1, 7, 7, 1, 0),
            (7, 3, -1, -1, 0),
            (6, 7, -1, -1, Code::FencedLeaderEpoch.code()),
            (8, 7, -1, -1, Code::UnknownLeaderEpoch.code()),
        ] {
            let mut request = samples::offset_for_leader_epoch(version);
            request.topics[0].partitions[0].current_leader_epoch = believed;
            request.topics[0].partitions[0].leader_epoch = asked;
            let answer = client.call(version, &request).await;
            let found = &answer.topics[0].partitions[0];
            assert_eq!(
                (found.leader_epoch, found.end_offset, found.error_code),
                (epoch, end, code)
            );
        }
    }
}

#[tokio::test]
async fn the_cluster_is_described() {
    let (_memory, _door, mut client) = opened().await;
    for version in 0..=2 {
        let answer = client.call(version, &samples::describe_cluster(version)).await;
        assert_eq!((&*answer.cluster_id, answer.brokers.len()), ("memory", 3));
        assert!(answer.cluster_authorized_operations > 0);
        if version >= 1 {
            let controllers = samples::describe_cluster(version).with_endpoint_type(2);
            let answer = client.call(version, &controllers).await;
            assert_eq!(answer.error_code, Code::MismatchedEndpointType.code());
        }
    }
}

#[tokio::test]
async fn partitions_are_described_page_by_page() {
    let memory = Memory::new().with_topic("a", 3).with_topic("b", 2).with_topic("c", 1);
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    let mut request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(2);
    let mut seen = Vec::new();
    loop {
        let answer = client.call(0, &request).await;
        for topic in &answer.topics {
            let name = topic.name.as_ref().unwrap().to_string();
            let indexes = topic.partitions.iter().map(|p| p.partition_index);
            seen.extend(indexes.map(|index| (name.clone(), index)));
        }
        let Some(next) = answer.next_cursor else { break };
        use kafka_protocol::messages::describe_topic_partitions_request::Cursor;
        let cursor = Cursor::default()
            .with_topic_name(next.topic_name)
            .with_partition_index(next.partition_index);
        request.cursor = Some(cursor);
    }
    let expected = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("c", 0)];
    assert!(seen.iter().map(|(name, index)| (&**name, *index)).eq(expected));
}

#[tokio::test]
async fn a_compacted_topic_takes_no_message_without_a_key() {
    let (memory, _door, mut client) = opened().await;
    let topic = memory.topic("orders").unwrap();
    let mut compacted = (*topic).clone();
    compacted.config.cleanup = Cleanup::Compact;
    memory.state().catalog.insert(compacted);
    let request = produce::request("orders", Uuid::nil(), 0, batch(&[("a", 1), ("b", 1)]));
    for version in [3, 8, 12] {
        let answer = client.call(version, &request).await;
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, Code::InvalidRecord.code());
        let faults: Vec<i32> = partition.record_errors.iter().map(|e| e.batch_index).collect();
        let message = partition.error_message.clone();
        assert_eq!(faults, if version >= 8 { vec![0, 1] } else { vec![] }, "{message:?}");
    }
}
