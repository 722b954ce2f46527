//! `DescribeTopicPartitions`: the partitions of topics, some at a time (KIP-966).

use std::sync::Arc;

use holdfast_protocol::topic::{Catalog, Topic, is_valid_name};
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use super::leaders::Leaders;
use crate::authorized;
use crate::context::wire_topic_id;

/// The most partitions in one answer, whatever the client allows.
const PARTITIONS_MAX: usize = 2000;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let context = call.context();
    let known = |catalog: &Catalog| {
        request.topics.iter().all(|topic| catalog.by_name(&topic.name).is_some())
    };
    let catalog = context.catalog_with(known).await;
    let cluster = context.service.cluster();
    let leaders = Leaders::new(context, &cluster);
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut left = limit.clamp(1, PARTITIONS_MAX);
    let all = request.topics.is_empty();
    let asked = request.topics.into_iter().map(|topic| topic.name.0);
    let (mut names, mut first) = (names(&catalog, asked.collect()), 0);
    if let Some(cursor) = request.cursor {
        names.retain(|name| **name >= **cursor.topic_name);
        if names.first().is_some_and(|name| **name == **cursor.topic_name) {
            first = u32::try_from(cursor.partition_index).unwrap_or(0);
        }
    }
    let mut answer = DescribeTopicPartitionsResponse::default();
    for name in names {
        let Some(topic) = catalog.by_name(&name) else {
            if !all {
                answer.topics.push(missing(name));
            }
            continue;
        };
        if left == 0 {
            answer.next_cursor = Some(cursor(topic, 0));
            break;
        }
        let indexes = first..topic.partitions;
        let count = indexes.len().min(left);
        let partitions = indexes.take(count).map(|index| partition(&leaders, topic, index));
        answer.topics.push(described(topic, partitions.collect()));
        left -= count;
        let next = first + u32::try_from(count).unwrap_or(u32::MAX);
        first = 0;
        if next < topic.partitions {
            answer.next_cursor = Some(cursor(topic, next));
            break;
        }
    }
    answer
}

/// The names asked for, or all there are, in order.
fn names(catalog: &Catalog, asked: Vec<StrBytes>) -> Vec<StrBytes> {
    let mut names = asked;
    if names.is_empty() {
        let all = catalog.topics().map(|topic| StrBytes::from_string(topic.name.clone()));
        names = all.collect();
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn cursor(topic: &Topic, index: u32) -> Cursor {
    Cursor::default()
        .with_topic_name(TopicName(StrBytes::from_string(topic.name.clone())))
        .with_partition_index(crate::context::wire_id(index))
}

fn missing(name: StrBytes) -> DescribeTopicPartitionsResponseTopic {
    let code = if is_valid_name(&name) {
        Code::UnknownTopicOrPartition
    } else {
        Code::InvalidTopicException
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(TopicName(name)))
}

fn described(
    topic: &Topic,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
        .with_topic_id(wire_topic_id(topic.id))
        .with_topic_authorized_operations(authorized::TOPIC)
        .with_partitions(partitions)
}

fn partition<S: Service>(
    leaders: &Leaders<'_, S>,
    topic: &Topic,
    index: u32,
) -> DescribeTopicPartitionsResponsePartition {
    let led = leaders.of(topic, index);
    DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(led.error)
        .with_partition_index(led.index)
        .with_leader_id(led.leader)
        .with_leader_epoch(led.epoch)
        .with_replica_nodes(led.replicas)
        .with_isr_nodes(led.isr)
        .with_offline_replicas(led.offline)
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}
