//! One request of every API in every version, with something in every array.

use bytes::{BufMut, Bytes, BytesMut};
use holdfast_kafka::codec::{Error, decode};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use uuid::Uuid;

/// A request, and how to read what it is answered with.
pub(crate) struct Sample {
    pub(crate) key: i16,
    pub(crate) version: i16,
    /// Without header.
    pub(crate) body: Bytes,
    /// With header and length.
    pub(crate) frame: Bytes,
    /// Decodes a body, as the door does.
    pub(crate) decode: fn(&Bytes, i16) -> Result<(), Error>,
    /// Reads an answer to its last byte; gives its correlation id.
    pub(crate) read_answer: fn(Bytes, i16) -> i32,
}

/// The correlation id of every sample's frame.
pub(crate) const CORRELATION: i32 = 77;

fn decode_request<Q: Request>(body: &Bytes, version: i16) -> Result<(), Error> {
    decode::<Q>(body, version).map(|_| ())
}

fn read_answer<Q: Request>(mut answer: Bytes, version: i16) -> i32 {
    let header_version = Q::Response::header_version(version);
    let header = ResponseHeader::decode(&mut answer, header_version).unwrap();
    Q::Response::decode(&mut answer, version).unwrap();
    assert!(answer.is_empty(), "key {} version {version}: {} bytes too many", Q::KEY, answer.len());
    header.correlation_id
}

/// A whole frame, length included.
pub(crate) fn frame<Q: Request>(version: i16, correlation: i32, request: &Q) -> Bytes {
    let mut body = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(text("tests")))
        .encode(&mut body, Q::header_version(version))
        .unwrap();
    request.encode(&mut body, version).unwrap();
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(body.len()).unwrap());
    frame.put_slice(&body);
    frame.freeze()
}

pub(crate) fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic() -> TopicName {
    TopicName(text("orders"))
}

fn group() -> GroupId {
    GroupId(text("readers"))
}

const ID: Uuid = Uuid::from_u128(7);

/// Every sample, by API and version.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = Add(&mut samples);
    add.each(3..=13, produce);
    add.each(4..=18, fetch);
    add.each(1..=10, list_offsets);
    add.each(0..=13, metadata);
    add.each(2..=9, offset_commit);
    add.each(1..=9, offset_fetch);
    add.each(0..=6, find_coordinator);
    add.each(0..=9, join_group);
    add.each(0..=4, heartbeat);
    add.each(0..=5, leave_group);
    add.each(0..=5, sync_group);
    add.each(0..=6, describe_groups);
    add.each(0..=5, list_groups);
    add.each(0..=4, api_versions);
    add.each(2..=7, create_topics);
    add.each(1..=6, delete_topics);
    add.each(0..=2, delete_records);
    add.each(0..=5, init_producer_id);
    add.each(2..=4, offset_for_leader_epoch);
    add.each(1..=4, describe_configs);
    add.each(0..=3, create_partitions);
    add.each(0..=2, delete_groups);
    add.each(0..=1, incremental_alter_configs);
    add.each(0..=0, offset_delete);
    add.each(0..=2, alter_configs);
    add.each(1..=4, describe_log_dirs);
    add.log_dirs_5();
    add.each(0..=2, elect_leaders);
    add.each(0..=1, alter_partition_reassignments);
    add.each(0..=0, list_partition_reassignments);
    add.each(0..=2, describe_quorum);
    add.each(0..=1, list_config_resources);
    add.each(0..=2, describe_cluster);
    add.each(0..=0, describe_topic_partitions);
    samples
}

struct Add<'a>(&'a mut Vec<Sample>);

impl Add<'_> {
    /// Version 5, which the crate does not know: the request is that of version 4.
    fn log_dirs_5(&mut self) {
        let request = describe_log_dirs(4);
        let mut body = BytesMut::new();
        request.encode(&mut body, 4).unwrap();
        let mut frame = BytesMut::from(&frame(4, CORRELATION, &request)[..]);
        frame[6..8].copy_from_slice(&5_i16.to_be_bytes());
        self.0.push(Sample {
            key: 35,
            version: 5,
            body: body.freeze(),
            frame: frame.freeze(),
            decode: |body, _| decode_request::<DescribeLogDirsRequest>(body, 4),
            read_answer: |answer, _| {
                // One directory: its new field, and two counts of tagged fields.
                let mut answer = answer.to_vec();
                assert_eq!(answer.split_off(answer.len() - 3), [0, 0, 0]);
                answer.extend([0, 0]);
                read_answer::<DescribeLogDirsRequest>(answer.into(), 4)
            },
        });
    }

    fn each<Q: Request>(&mut self, versions: std::ops::RangeInclusive<i16>, of: fn(i16) -> Q) {
        for version in versions {
            let request = of(version);
            let mut body = BytesMut::new();
            request.encode(&mut body, version).unwrap();
            self.0.push(Sample {
                key: Q::KEY,
                version,
                body: body.freeze(),
                frame: frame(version, CORRELATION, &request),
                decode: decode_request::<Q>,
                read_answer: read_answer::<Q>,
            });
        }
    }
}

pub(crate) fn produce(version: i16) -> ProduceRequest {
    use produce_request::{PartitionProduceData, TopicProduceData};
    let data = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(Bytes::from_static(&[9; 70])));
    let mut data_of = TopicProduceData::default().with_partition_data(vec![data]);
    if version < 13 {
        data_of.name = topic();
    } else {
        data_of.topic_id = ID;
    }
    ProduceRequest::default().with_acks(1).with_timeout_ms(1000).with_topic_data(vec![data_of])
}

pub(crate) fn fetch(version: i16) -> FetchRequest {
    use fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
    let mut partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1000);
    if version >= 17 {
        partition.replica_directory_id = ID;
    }
    if version >= 18 {
        partition.high_watermark = 5;
    }
    let mut asked = FetchTopic::default().with_partitions(vec![partition]);
    let mut forgotten = ForgottenTopic::default();
    if version < 13 {
        asked.topic = topic();
    } else {
        asked.topic_id = ID;
    }
    let mut request = FetchRequest::default().with_max_wait_ms(0).with_topics(vec![asked]);
    if version >= 7 {
        forgotten.partitions = vec![1, 2];
        if version < 13 {
            forgotten.topic = topic();
        } else {
            forgotten.topic_id = ID;
        }
        request.forgotten_topics_data = vec![forgotten];
    }
    if version >= 11 {
        request.rack_id = text("rack");
    }
    if version >= 12 {
        request.cluster_id = Some(text("memory"));
    }
    if version >= 15 {
        let state = ReplicaState::default().with_replica_epoch(3);
        request.replica_state = state.with_replica_id(BrokerId(-1));
    }
    request
}

pub(crate) fn list_offsets(_version: i16) -> ListOffsetsRequest {
    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let asked = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_topics(vec![asked])
}

pub(crate) fn metadata(_version: i16) -> MetadataRequest {
    let asked = metadata_request::MetadataRequestTopic::default().with_name(Some(topic()));
    MetadataRequest::default().with_topics(Some(vec![asked]))
}

pub(crate) fn offset_commit(version: i16) -> OffsetCommitRequest {
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(3)
        .with_committed_metadata(Some(text("words")));
    let asked =
        OffsetCommitRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
    let mut request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(2)
        .with_member_id(text("member"))
        .with_topics(vec![asked]);
    if version >= 7 {
        request.group_instance_id = Some(text("instance"));
    }
    request
}

pub(crate) fn offset_fetch(version: i16) -> OffsetFetchRequest {
    use offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    };
    if version < 8 {
        let asked = OffsetFetchRequestTopic::default()
            .with_name(topic())
            .with_partition_indexes(vec![0, 1]);
        return OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![asked]));
    }
    let asked =
        OffsetFetchRequestTopics::default().with_name(topic()).with_partition_indexes(vec![0, 1]);
    let asked =
        OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![asked]));
    OffsetFetchRequest::default().with_groups(vec![asked])
}

pub(crate) fn find_coordinator(version: i16) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default();
    if version < 4 {
        request.with_key(group().0)
    } else {
        request.with_coordinator_keys(vec![group().0, text("others")])
    }
}

pub(crate) fn join_group(version: i16) -> JoinGroupRequest {
    let protocol = join_group_request::JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"subscription"));
    let mut request = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    if version >= 1 {
        request.rebalance_timeout_ms = 20_000;
    }
    if version >= 8 {
        request.reason = Some(text("because"));
    }
    request
}

pub(crate) fn heartbeat(version: i16) -> HeartbeatRequest {
    let mut request = HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(3)
        .with_member_id(text("member"));
    if version >= 3 {
        request.group_instance_id = Some(text("instance"));
    }
    request
}

pub(crate) fn leave_group(version: i16) -> LeaveGroupRequest {
    let request = LeaveGroupRequest::default().with_group_id(group());
    if version < 3 {
        return request.with_member_id(text("member"));
    }
    let mut member = leave_group_request::MemberIdentity::default()
        .with_member_id(text("member"))
        .with_group_instance_id(Some(text("instance")));
    if version >= 5 {
        member.reason = Some(text("because"));
    }
    request.with_members(vec![member])
}

pub(crate) fn sync_group(version: i16) -> SyncGroupRequest {
    let assignment = sync_group_request::SyncGroupRequestAssignment::default()
        .with_member_id(text("member"))
        .with_assignment(Bytes::from_static(b"assignment"));
    let mut request = SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(3)
        .with_member_id(text("member"))
        .with_assignments(vec![assignment]);
    if version >= 5 {
        request.protocol_type = Some(text("consumer"));
        request.protocol_name = Some(text("range"));
    }
    request
}

pub(crate) fn describe_groups(version: i16) -> DescribeGroupsRequest {
    DescribeGroupsRequest::default()
        .with_groups(vec![group()])
        .with_include_authorized_operations(version >= 3)
}

pub(crate) fn list_groups(version: i16) -> ListGroupsRequest {
    let mut request = ListGroupsRequest::default();
    if version >= 4 {
        request.states_filter = vec![text("Stable")];
    }
    if version >= 5 {
        request.types_filter = vec![text("classic")];
    }
    request
}

pub(crate) fn api_versions(version: i16) -> ApiVersionsRequest {
    let mut request = ApiVersionsRequest::default();
    if version >= 3 {
        request.client_software_name = text("tests");
        request.client_software_version = text("1");
    }
    request
}

pub(crate) fn create_topics(_version: i16) -> CreateTopicsRequest {
    use create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
    let assignment = CreatableReplicaAssignment::default()
        .with_partition_index(0)
        .with_broker_ids(vec![BrokerId(1), BrokerId(2)]);
    let config = CreatableTopicConfig::default()
        .with_name(text("retention.ms"))
        .with_value(Some(text("5000")));
    let asked = CreatableTopic::default()
        .with_name(TopicName(text("made")))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assignment])
        .with_configs(vec![config]);
    CreateTopicsRequest::default().with_timeout_ms(10_000).with_topics(vec![asked])
}

pub(crate) fn delete_topics(version: i16) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
    if version < 6 {
        return request.with_topic_names(vec![TopicName(text("made"))]);
    }
    let asked =
        delete_topics_request::DeleteTopicState::default().with_name(Some(TopicName(text("made"))));
    request.with_topics(vec![asked])
}

pub(crate) fn delete_records(_version: i16) -> DeleteRecordsRequest {
    use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let partition = DeleteRecordsPartition::default().with_offset(-1);
    let asked = DeleteRecordsTopic::default().with_name(topic()).with_partitions(vec![partition]);
    DeleteRecordsRequest::default().with_timeout_ms(10_000).with_topics(vec![asked])
}

pub(crate) fn init_producer_id(_version: i16) -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None)
}

pub(crate) fn offset_for_leader_epoch(version: i16) -> OffsetForLeaderEpochRequest {
    use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let partition =
        OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(7);
    let asked =
        OffsetForLeaderTopic::default().with_topic(topic()).with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![asked]);
    if version < 3 { request } else { request.with_replica_id(BrokerId(-1)) }
}

pub(crate) fn describe_configs(_version: i16) -> DescribeConfigsRequest {
    use describe_configs_request::DescribeConfigsResource;
    let of_topic = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(topic().0)
        .with_configuration_keys(Some(vec![text("retention.ms"), text("cleanup.policy")]));
    let of_broker = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(text("1"))
        .with_configuration_keys(None);
    DescribeConfigsRequest::default()
        .with_include_synonyms(true)
        .with_resources(vec![of_topic, of_broker])
}

pub(crate) fn create_partitions(_version: i16) -> CreatePartitionsRequest {
    use create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
    let assignment = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1)]);
    let asked = CreatePartitionsTopic::default()
        .with_name(TopicName(text("made")))
        .with_count(2)
        .with_assignments(Some(vec![assignment]));
    CreatePartitionsRequest::default().with_timeout_ms(10_000).with_topics(vec![asked])
}

pub(crate) fn delete_groups(_version: i16) -> DeleteGroupsRequest {
    DeleteGroupsRequest::default().with_groups_names(vec![group()])
}

pub(crate) fn incremental_alter_configs(_version: i16) -> IncrementalAlterConfigsRequest {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config =
        AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("7000")));
    let asked = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("made"))
        .with_configs(vec![config]);
    IncrementalAlterConfigsRequest::default().with_resources(vec![asked])
}

pub(crate) fn alter_configs(_version: i16) -> AlterConfigsRequest {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config =
        AlterableConfig::default().with_name(text("retention.bytes")).with_value(Some(text("9")));
    let asked = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("made"))
        .with_configs(vec![config]);
    AlterConfigsRequest::default().with_resources(vec![asked])
}

pub(crate) fn describe_log_dirs(_version: i16) -> DescribeLogDirsRequest {
    use describe_log_dirs_request::DescribableLogDirTopic;
    let asked = DescribableLogDirTopic::default().with_topic(topic()).with_partitions(vec![0, 1]);
    DescribeLogDirsRequest::default().with_topics(Some(vec![asked]))
}

pub(crate) fn elect_leaders(_version: i16) -> ElectLeadersRequest {
    use elect_leaders_request::TopicPartitions;
    let asked = TopicPartitions::default().with_topic(topic()).with_partitions(vec![0, 9]);
    ElectLeadersRequest::default().with_timeout_ms(10_000).with_topic_partitions(Some(vec![asked]))
}

pub(crate) fn alter_partition_reassignments(_version: i16) -> AlterPartitionReassignmentsRequest {
    use alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
    let same = vec![BrokerId(3), BrokerId(1), BrokerId(2)];
    let asked = |index, replicas| {
        ReassignablePartition::default().with_partition_index(index).with_replicas(replicas)
    };
    let partitions = vec![
        asked(0, Some(same.clone())),
        asked(0, None),
        asked(0, Some(vec![BrokerId(1), BrokerId(2)])),
        asked(9, Some(same)),
    ];
    let asked = ReassignableTopic::default().with_name(topic()).with_partitions(partitions);
    AlterPartitionReassignmentsRequest::default().with_timeout_ms(10_000).with_topics(vec![asked])
}

pub(crate) fn list_partition_reassignments(_version: i16) -> ListPartitionReassignmentsRequest {
    use list_partition_reassignments_request::ListPartitionReassignmentsTopics;
    let asked = ListPartitionReassignmentsTopics::default()
        .with_name(topic())
        .with_partition_indexes(vec![0]);
    ListPartitionReassignmentsRequest::default()
        .with_timeout_ms(10_000)
        .with_topics(Some(vec![asked]))
}

pub(crate) fn describe_quorum(_version: i16) -> DescribeQuorumRequest {
    use describe_quorum_request::{PartitionData, TopicData};
    let asked = |name: &'static str| {
        TopicData::default()
            .with_topic_name(TopicName(text(name)))
            .with_partitions(vec![PartitionData::default()])
    };
    DescribeQuorumRequest::default().with_topics(vec![asked("__cluster_metadata"), asked("orders")])
}

pub(crate) fn list_config_resources(version: i16) -> ListConfigResourcesRequest {
    let request = ListConfigResourcesRequest::default();
    if version < 1 { request } else { request.with_resource_types(vec![4, 2, 2, 32]) }
}

pub(crate) fn offset_delete(_version: i16) -> OffsetDeleteRequest {
    use offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let asked = OffsetDeleteRequestTopic::default()
        .with_name(topic())
        .with_partitions(vec![OffsetDeleteRequestPartition::default()]);
    OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![asked])
}

pub(crate) fn describe_cluster(_version: i16) -> DescribeClusterRequest {
    DescribeClusterRequest::default().with_include_cluster_authorized_operations(true)
}

pub(crate) fn describe_topic_partitions(_version: i16) -> DescribeTopicPartitionsRequest {
    use describe_topic_partitions_request::{Cursor, TopicRequest};
    let cursor = Cursor::default().with_topic_name(topic());
    DescribeTopicPartitionsRequest::default()
        .with_topics(vec![TopicRequest::default().with_name(topic())])
        .with_response_partition_limit(100)
        .with_cursor(Some(cursor))
}
