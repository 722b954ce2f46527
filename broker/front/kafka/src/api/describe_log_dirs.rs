//! `DescribeLogDirs`: what this broker's replicas take on its disk.
//!
//! The messages of a topic lie among others in the logs of shards; a partition's size is that of
//! its entries. Nothing moves between directories, for there is one.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_protocol::topic::Topic;
use holdfast_service::Service;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use crate::codec::log_dirs;
use crate::connection::Reply;
use crate::context::wire_id;

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
    let catalog = service.catalog();
    let disk = service.disk();
    let mut topics: BTreeMap<&str, DescribeLogDirsTopic> = BTreeMap::new();
    for size in &disk.streams {
        // A topic that was deleted a moment ago is not told of.
        let Some(topic) = catalog.by_id(size.stream.topic) else { continue };
        let index = wire_id(size.stream.partition);
        if !is_asked(request.topics.as_deref(), topic, index) {
            continue;
        }
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(index)
            .with_partition_size(wire_bytes(Some(size.bytes)));
        let named = || TopicName(StrBytes::from_string(topic.name.clone()));
        let described = topics
            .entry(&topic.name)
            .or_insert_with(|| DescribeLogDirsTopic::default().with_name(named()));
        described.partitions.push(partition);
    }
    for topic in topics.values_mut() {
        topic.partitions.sort_by_key(|partition| partition.partition_index);
    }
    let mut result = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_string(disk.path))
        .with_topics(topics.into_values().collect());
    if call.version() >= SPACE {
        result.total_bytes = wire_bytes(disk.total_bytes);
        result.usable_bytes = wire_bytes(disk.usable_bytes);
    }
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn is_asked(asked: Option<&[DescribableLogDirTopic]>, topic: &Topic, index: i32) -> bool {
    asked.is_none_or(|topics| {
        let mut named = topics.iter().filter(|asked| **asked.topic == *topic.name);
        named.any(|asked| asked.partitions.contains(&index))
    })
}

/// A size as Kafka has it: -1 where it is not known.
fn wire_bytes(bytes: Option<u64>) -> i64 {
    bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}
