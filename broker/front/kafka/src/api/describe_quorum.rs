//! `DescribeQuorum`: who keeps the metadata. Here that is shard 0, which holds the catalog.
//!
//! It is no quorum: its leader is elected by the operator, and its voters are the shard's
//! replicas. Offsets are positions in its log. Only its leader knows how far the others have
//! come; other brokers tell of their own log alone, and -1 for the rest.

use std::sync::Arc;

use holdfast_protocol::Position;
use holdfast_service::{CatalogReplica, CatalogShard, Service};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::Call;
use crate::context::{Context, wire_id};

/// The name of the metadata, as Kafka's clients ask for it.
const METADATA: &str = "__cluster_metadata";
/// First version with the names of logs, and where the voters are.
const NODES: i16 = 2;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let shard = call.context().service.catalog_shard().await;
    let mut answer = DescribeQuorumResponse::default();
    for asked in request.topics {
        let is_metadata = &*asked.topic_name.0 == METADATA;
        let partitions = asked.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            if is_metadata && index == 0 {
                described(&shard, call.version())
            } else {
                unknown(index, Code::UnknownTopicOrPartition)
            }
        });
        let partitions = partitions.collect();
        let topic = TopicData::default().with_topic_name(asked.topic_name);
        answer.topics.push(topic.with_partitions(partitions));
    }
    if call.version() >= NODES {
        answer.nodes = nodes(call.context(), &shard);
    }
    answer
}

fn unknown(index: i32, code: Code) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(code.code())
        .with_leader_id(BrokerId(-1))
        .with_leader_epoch(-1)
        .with_high_watermark(-1)
}

fn described(shard: &CatalogShard, version: i16) -> PartitionData {
    let Some(leader) = shard.leader else { return unknown(0, Code::LeaderNotAvailable) };
    let voters = shard.replicas.iter().map(|replica| voter(replica, version));
    PartitionData::default()
        .with_leader_id(BrokerId(wire_id(leader.0)))
        .with_leader_epoch(wire_id(shard.epoch.0))
        .with_high_watermark(wire_position(shard.committed))
        .with_current_voters(voters.collect())
}

fn voter(replica: &CatalogReplica, version: i16) -> ReplicaState {
    let mut state = ReplicaState::default()
        .with_replica_id(BrokerId(wire_id(replica.broker.0)))
        .with_log_end_offset(replica.log.map_or(-1, |(_, end)| wire_position(end)));
    if let Some((incarnation, _)) = replica.log.filter(|_| version >= NODES) {
        state.replica_directory_id = Uuid::from_bytes(incarnation.0);
    }
    state
}

/// Where the door's clients reach the voters.
fn nodes<S: Service>(context: &Context<S>, shard: &CatalogShard) -> Vec<Node> {
    let cluster = context.service.cluster();
    let mut endpoints = context.endpoints(&cluster);
    let is_voter =
        |broker: i32| shard.replicas.iter().any(|replica| wire_id(replica.broker.0) == broker);
    endpoints.retain(|endpoint| is_voter(endpoint.broker));
    let node = |endpoint: crate::context::Endpoint| {
        let listener = Listener::default()
            .with_name(StrBytes::from_string(context.options.listener_name.clone()))
            .with_host(endpoint.host)
            .with_port(u16::try_from(endpoint.port).unwrap_or(0));
        Node::default().with_node_id(BrokerId(endpoint.broker)).with_listeners(vec![listener])
    };
    endpoints.into_iter().map(node).collect()
}

/// A position as Kafka has its offsets, in 63 bits.
fn wire_position(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}
