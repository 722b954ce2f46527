//! `OffsetDelete`: forgets how far a group has read topics that it reads no more.

use std::collections::HashMap;
use std::sync::Arc;

use holdfast_protocol::StreamId;
use holdfast_protocol::group::{Answer, DropOffsets, DropTopic, Request};
use holdfast_protocol::topic::Catalog;
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::Call;
use super::coordinator::ask;
use crate::context::find_stream;
use crate::errors;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let catalog = call.context().service.catalog();
    let topics = request
        .topics
        .iter()
        .map(|topic| DropTopic { name: topic.name.to_string(), streams: streams(&catalog, topic) });
    let drop = Request::DropOffsets(DropOffsets {
        group: request.group_id.to_string(),
        topics: topics.collect(),
    });
    let asked = ask(&call, &request.group_id, drop, |answer| match answer {
        Answer::DropOffsets(dropped) => Some(dropped),
        _ => None,
    });
    let dropped = match asked.await {
        Ok(dropped) => dropped,
        Err(refusal) => {
            return OffsetDeleteResponse::default().with_error_code(refusal.code.code());
        }
    };
    let code = |result: Result<(), _>| result.err().map_or(0, |e| errors::refusal(&e).code());
    let codes = dropped.into_iter();
    let codes = codes.map(|(stream, result)| (stream, code(result))).collect();
    let topics = request.topics.into_iter();
    OffsetDeleteResponse::default()
        .with_topics(topics.map(|topic| answered(&catalog, topic, &codes)).collect())
}

fn streams(catalog: &Catalog, topic: &OffsetDeleteRequestTopic) -> Vec<StreamId> {
    let partitions = topic.partitions.iter();
    partitions
        .filter_map(|partition| find_stream(catalog, &topic.name, partition.partition_index))
        .collect()
}

fn answered(
    catalog: &Catalog,
    topic: OffsetDeleteRequestTopic,
    codes: &HashMap<StreamId, i16>,
) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        let index = partition.partition_index;
        let code = match find_stream(catalog, &topic.name, index) {
            None => Code::UnknownTopicOrPartition.code(),
            Some(stream) => codes.get(&stream).copied().unwrap_or(0),
        };
        OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code)
    });
    let partitions = partitions.collect();
    OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
}
