//! `DescribeLogDirs`: what this broker's replicas take on its disk.
//!
//! The messages of a topic lie among others in the logs of shards; a partition's size is that of
//! its entries. Nothing moves between directories, for there is one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use holdfast_protocol::StreamId;
use holdfast_protocol::topic::Topic;
use holdfast_service::{ClusterView, Service};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use crate::codec::log_dirs;
use crate::context::wire_id;
use crate::reply::Reply;

/// First version that tells the size of the disk.
const SPACE: i16 = 4;

pub(super) async fn answer<S: Service>(call: Arc<Call<S>>) -> Reply {
    match call.decode_as(call.version().min(log_dirs::KNOWN)) {
        Ok(request) => {
            let body = describe(&call, &request);
            let (api, header) = (call.request.api, &call.request.header);
            call.sent(log_dirs::encode(api, header, &body).map(Reply::Answer))
        }
        Err(error) => Reply::Close(format!("malformed request: {error}")),
    }
}

fn describe<S: Service>(
    call: &Call<S>,
    request: &DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let service = &call.context().service;
    let (catalog, cluster) = (service.catalog(), service.cluster());
    let disk = service.disk();
    let sizes = disk.streams.iter().map(|size| (size.stream, size.bytes)).collect();
    let held = Held { service, cluster: &cluster, sizes };
    let asked = request.topics.as_deref();
    let topics = catalog.topics().filter_map(|topic| held.topic(topic, asked));
    let mut topics: Vec<DescribeLogDirsTopic> = topics.collect();
    topics.sort_by(|one, other| one.name.cmp(&other.name));
    let mut result = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_string(disk.path))
        .with_topics(topics);
    if call.version() >= SPACE {
        result.total_bytes = wire_bytes(disk.total_bytes);
        result.usable_bytes = wire_bytes(disk.usable_bytes);
    }
    DescribeLogDirsResponse::default().with_results(vec![result])
}

/// The partitions that this broker holds.
struct Held<'a, S> {
    service: &'a S,
    cluster: &'a ClusterView,
    /// Those that have messages.
    sizes: HashMap<StreamId, u64>,
}

impl<S: Service> Held<'_, S> {
    fn topic(
        &self,
        topic: &Topic,
        asked: Option<&[DescribableLogDirTopic]>,
    ) -> Option<DescribeLogDirsTopic> {
        let asked = asked.map(|topics| {
            let named = topics.iter().filter(|asked| **asked.topic == *topic.name);
            named.flat_map(|asked| asked.partitions.iter().copied()).collect::<HashSet<i32>>()
        });
        let partitions: Vec<DescribeLogDirsPartition> = (0..topic.partitions)
            .filter(|index| asked.as_ref().is_none_or(|asked| asked.contains(&wire_id(*index))))
            .filter_map(|index| self.partition(topic.stream(index)?))
            .collect();
        let name = || TopicName(StrBytes::from_string(topic.name.clone()));
        let described = || DescribeLogDirsTopic::default().with_name(name());
        (!partitions.is_empty()).then(|| described().with_partitions(partitions))
    }

    fn partition(&self, stream: StreamId) -> Option<DescribeLogDirsPartition> {
        let shard = self.cluster.shard(self.service.shard_of(stream))?;
        let bytes = self.sizes.get(&stream).copied().unwrap_or(0);
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(wire_id(stream.partition))
            .with_partition_size(wire_bytes(Some(bytes)));
        shard.replicas.contains(&self.service.broker()).then_some(described)
    }
}

/// A size as Kafka has it: -1 where it is not known.
fn wire_bytes(bytes: Option<u64>) -> i64 {
    bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}
