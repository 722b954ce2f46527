//! What tools look at and what they ask to be moved: disks, elections, reassignments, the quorum.

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::{ElectLeadersRequest, ListConfigResourcesRequest};
use uuid::Uuid;

use crate::client::{Client, Door, batch};
use crate::memory::{EPOCH, Memory};
use crate::{produce, samples};

async fn opened() -> (Memory, Door, Client) {
    let memory = Memory::new().with_topic("orders", 2).with_topic("other", 1);
    let door = Door::open(&memory).await;
    let client = door.client().await;
    (memory, door, client)
}

#[tokio::test]
async fn log_dirs_tell_of_the_partitions_asked_for_and_their_sizes() {
    let (_memory, _door, mut client) = opened().await;
    produce::produce(&mut client, "a", 1).await;
    let batch = batch(&[("a", 1)]);
    for version in 1..=4 {
        let answer = client.call(version, &samples::describe_log_dirs(version)).await;
        let [dir] = &answer.results[..] else { panic!("{answer:?}") };
        assert_eq!((dir.error_code, &*dir.log_dir), (0, "/data"));
        let [orders] = &dir.topics[..] else { panic!("{dir:?}") };
        let sizes = orders.partitions.iter().map(|p| (p.partition_index, p.partition_size));
        let written = i64::try_from(batch.len()).unwrap();
        assert_eq!(sizes.collect::<Vec<_>>(), [(0, written), (1, 0)]);
        if version >= 4 {
            assert_eq!((dir.total_bytes, dir.usable_bytes), (1000, -1));
        }
        let mut all = samples::describe_log_dirs(version);
        all.topics = None;
        let answer = client.call(version, &all).await;
        assert_eq!(answer.results[0].topics.len(), 2);
    }
}

#[tokio::test]
async fn elections_are_the_operators() {
    let (memory, _door, mut client) = opened().await;
    let codes = |answer: &kafka_protocol::messages::ElectLeadersResponse| {
        let results = answer.replica_election_results.iter();
        results.flat_map(|r| r.partition_result.iter().map(|p| p.error_code)).collect::<Vec<_>>()
    };
    let unknown = Code::UnknownTopicOrPartition.code();
    for version in 0..=2 {
        let answer = client.call(version, &samples::elect_leaders(version)).await;
        assert_eq!(codes(&answer), [Code::ElectionNotNeeded.code(), unknown]);
        let all = ElectLeadersRequest::default().with_topic_partitions(None);
        assert_eq!(codes(&client.call(version, &all).await), []);
    }
    for shard in &mut memory.state().cluster.shards {
        shard.leader = None;
    }
    let preferred = samples::elect_leaders(2);
    let answer = client.call(2, &preferred).await;
    assert_eq!(codes(&answer), [Code::PreferredLeaderNotAvailable.code(), unknown]);
    let answer = client.call(2, &preferred.clone().with_election_type(1)).await;
    assert_eq!(codes(&answer), [Code::EligibleLeadersNotAvailable.code(), unknown]);
    let all = ElectLeadersRequest::default().with_topic_partitions(None);
    assert_eq!(codes(&client.call(2, &all).await).len(), 3);
    let answer = client.call(2, &preferred.with_election_type(9)).await;
    assert_eq!(answer.error_code, Code::InvalidRequest.code());
}

#[tokio::test]
async fn replicas_stay_where_the_policy_has_them() {
    let (_memory, _door, mut client) = opened().await;
    for version in 0..=1 {
        let request = samples::alter_partition_reassignments(version);
        let answer = client.call(version, &request).await;
        assert_eq!(answer.error_code, 0);
        let partitions = answer.responses[0].partitions.iter();
        let codes: Vec<i16> = partitions.map(|partition| partition.error_code).collect();
        let refusals = [
            Code::NoReassignmentInProgress,
            Code::InvalidReplicaAssignment,
            Code::UnknownTopicOrPartition,
        ];
        assert_eq!(codes[0], 0, "the same replicas in another order");
        assert_eq!(codes[1..], refusals.map(|code| code.code()));
    }
    let answer = client.call(0, &samples::list_partition_reassignments(0)).await;
    assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
}

#[tokio::test]
async fn the_catalogs_shard_stands_for_the_quorum() {
    let (memory, _door, mut client) = opened().await;
    for version in 0..=2 {
        let answer = client.call(version, &samples::describe_quorum(version)).await;
        let metadata = &answer.topics[0].partitions[0];
        assert_eq!((metadata.error_code, metadata.leader_id.0), (0, 1));
        assert_eq!(metadata.leader_epoch, i32::try_from(EPOCH).unwrap());
        assert_eq!(metadata.high_watermark, 10);
        let voters = metadata.current_voters.iter();
        let ends: Vec<_> = voters.map(|v| (v.replica_id.0, v.log_end_offset)).collect();
        assert_eq!(ends, [(1, 10), (2, 20), (3, -1)]);
        let other = &answer.topics[1].partitions[0];
        assert_eq!(other.error_code, Code::UnknownTopicOrPartition.code());
        if version >= 2 {
            let first = &metadata.current_voters[0];
            assert_eq!(first.replica_directory_id, Uuid::from_bytes([7; 16]));
            assert_eq!(&*answer.nodes[2].listeners[0].host, "plain-3");
        }
    }
    memory.state().cluster.shards[0].leader = None;
    let answer = client.call(2, &samples::describe_quorum(2)).await;
    let metadata = &answer.topics[0].partitions[0];
    assert_eq!(metadata.error_code, Code::LeaderNotAvailable.code());
}

#[tokio::test]
async fn topics_and_brokers_have_configurations() {
    let (_memory, _door, mut client) = opened().await;
    let answer = client.call(0, &samples::list_config_resources(0)).await;
    assert_eq!((answer.error_code, answer.config_resources.len()), (0, 0));
    for asked in [samples::list_config_resources(1), ListConfigResourcesRequest::default()] {
        let answer = client.call(1, &asked).await;
        let listed = answer.config_resources.iter();
        let mut listed: Vec<_> = listed.map(|r| (r.resource_type, &*r.resource_name)).collect();
        listed.sort_unstable();
        assert_eq!(listed, [(2, "orders"), (2, "other"), (4, "1"), (4, "2"), (4, "3")]);
    }
    let unknown = ListConfigResourcesRequest::default().with_resource_types(vec![99]);
    let answer = client.call(1, &unknown).await;
    assert_eq!(answer.error_code, Code::UnsupportedVersion.code());
}

#[tokio::test]
async fn a_whole_configuration_takes_the_place_of_another() {
    let (memory, _door, mut client) = opened().await;
    for version in 0..=2 {
        client.call(7, &samples::create_topics(7)).await;
        assert_eq!(memory.topic("made").unwrap().config.retention_ms, Some(5000));
        let mut request = samples::alter_configs(version);
        request.validate_only = true;
        assert_eq!(client.call(version, &request).await.responses[0].error_code, 0);
        assert_eq!(memory.topic("made").unwrap().config.retention_bytes, None);
        request.validate_only = false;
        assert_eq!(client.call(version, &request).await.responses[0].error_code, 0);
        let config = memory.topic("made").unwrap().config.clone();
        assert_eq!((config.retention_bytes, config.retention_ms), (Some(9), Some(604_800_000)));
        request.resources[0].configs[0].value = None;
        let answer = client.call(version, &request).await;
        assert_eq!(answer.responses[0].error_code, Code::InvalidRequest.code());
        client.call(6, &samples::delete_topics(6)).await;
    }
}
