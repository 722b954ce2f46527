//! `OffsetCommit`: keeps how far a group has read.

use std::collections::HashMap;
use std::sync::Arc;

use holdfast_protocol::group::{Answer, CommitOffset, CommitOffsets, Generation, Request};
use holdfast_protocol::topic::Catalog;
use holdfast_protocol::{Offset, StreamId};
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::Call;
use super::coordinator::{ask, owned};
use crate::context::find_stream;
use crate::errors;

/// First version with the epoch of the message read last.
const LEADER_EPOCH: i16 = 6;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let catalog = call.context().service.catalog();
    let codes = commit(&call, &catalog, &request).await;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let code = match find_stream(&catalog, &topic.name, index) {
                None => Code::UnknownTopicOrPartition.code(),
                Some(stream) => match &codes {
                    Ok(codes) => codes.get(&stream).copied().unwrap_or(0),
                    Err(code) => code.code(),
                },
            };
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code)
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Commits, and gives what came of each stream.
async fn commit<S: Service>(
    call: &Call<S>,
    catalog: &Catalog,
    request: &OffsetCommitRequest,
) -> Result<HashMap<StreamId, i16>, Code> {
    let mut offsets = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            if let Some(stream) = find_stream(catalog, &topic.name, partition.partition_index) {
                offsets.push(cursor(stream, partition, call.version())?);
            }
        }
    }
    let commit = Request::CommitOffsets(CommitOffsets {
        group: request.group_id.to_string(),
        generation: Generation(request.generation_id_or_member_epoch),
        member: request.member_id.to_string(),
        instance: owned(request.group_instance_id.as_ref()),
        offsets,
    });
    let asked = ask(call, &request.group_id, commit, |answer| match answer {
        Answer::CommitOffsets(committed) => Some(committed),
        _ => None,
    });
    let committed = asked.await.map_err(|refusal| refusal.code)?;
    let code = |result: Result<(), _>| result.err().map_or(0, |e| errors::refusal(&e).code());
    let codes = committed.into_iter();
    Ok(codes.map(|(stream, result)| (stream, code(result))).collect())
}

fn cursor(
    stream: StreamId,
    partition: &OffsetCommitRequestPartition,
    version: i16,
) -> Result<CommitOffset, Code> {
    let metadata = partition.committed_metadata.as_ref();
    Ok(CommitOffset {
        stream,
        offset: u64::try_from(partition.committed_offset)
            .map(Offset)
            .map_err(|_| Code::InvalidRequest)?,
        leader_epoch: if version >= LEADER_EPOCH { partition.committed_leader_epoch } else { -1 },
        metadata: owned(metadata).unwrap_or_default(),
    })
}
