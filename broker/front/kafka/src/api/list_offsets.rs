//! `ListOffsets`: the first and last offset of a partition, or the offset for a timestamp.

use std::sync::Arc;

use holdfast_protocol::StreamId;
use holdfast_protocol::topic::Topic;
use holdfast_service::{ReadError, Service, StreamOffsets};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::Call;
use crate::context::{wire_id, wire_offset};
use crate::{errors, fencing};

/// First version whose clients know `OFFSET_NOT_AVAILABLE`.
const OFFSET_NOT_AVAILABLE: i16 = 5;
/// First version with leader epochs.
const LEADER_EPOCHS: i16 = 4;

/// What stands in the place of a timestamp for the bounds of a partition.
mod special {
    pub(super) const LATEST: i64 = -1;
    pub(super) const EARLIEST: i64 = -2;
    pub(super) const MAX_TIMESTAMP: i64 = -3;
    pub(super) const EARLIEST_LOCAL: i64 = -4;
    pub(super) const LATEST_TIERED: i64 = -5;
}

/// What is found: an offset, and the timestamp of the message there. -1 each for none.
#[derive(Clone, Copy)]
struct Found {
    offset: i64,
    timestamp: i64,
}

const NOTHING: Found = Found { offset: -1, timestamp: -1 };

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let catalog = call.context().service.catalog();
    let mut answer = ListOffsetsResponse::default();
    for asked in request.topics {
        let topic = catalog.by_name(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in asked.partitions {
            partitions.push(answer_partition(&call, topic, &partition).await);
        }
        let topic =
            ListOffsetsTopicResponse::default().with_name(asked.name).with_partitions(partitions);
        answer.topics.push(topic);
    }
    answer
}

async fn answer_partition<S: Service>(
    call: &Call<S>,
    topic: Option<&Arc<Topic>>,
    asked: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let mut answer = ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_offset(-1)
        .with_timestamp(-1);
    match find_offset(call, topic, asked).await {
        Ok((found, bounds)) => {
            answer.offset = found.offset;
            answer.timestamp = found.timestamp;
            if call.version() >= LEADER_EPOCHS && found.offset >= 0 {
                answer.leader_epoch = wire_id(bounds.epoch.0);
            }
        }
        Err(code) => answer.error_code = code.code(),
    }
    answer
}

async fn find_offset<S: Service>(
    call: &Call<S>,
    topic: Option<&Arc<Topic>>,
    asked: &ListOffsetsPartition,
) -> Result<(Found, StreamOffsets), Code> {
    let stream = u32::try_from(asked.partition_index)
        .ok()
        .and_then(|index| topic?.stream(index))
        .ok_or(Code::UnknownTopicOrPartition)?;
    let code = |error: ReadError| match error {
        ReadError::NotReady if call.version() >= OFFSET_NOT_AVAILABLE => Code::OffsetNotAvailable,
        other => errors::read(&other),
    };
    let service = &call.context().service;
    let bounds = service.offsets(stream).map_err(code)?;
    fencing::check(asked.current_leader_epoch, bounds.epoch)?;
    let at = |offset| Found { offset: wire_offset(offset), timestamp: -1 };
    let found = match asked.timestamp {
        special::LATEST => at(bounds.end),
        special::EARLIEST | special::EARLIEST_LOCAL => at(bounds.start),
        special::MAX_TIMESTAMP => max_timestamp(service, stream).await.map_err(code)?,
        // No tier has any messages.
        special::LATEST_TIERED => NOTHING,
        timestamp if timestamp < 0 => return Err(Code::UnsupportedVersion),
        timestamp => at_or_after(service, stream, timestamp).await.map_err(code)?,
    };
    Ok((found, bounds))
}

async fn at_or_after<S: Service>(
    service: &S,
    stream: StreamId,
    timestamp: i64,
) -> Result<Found, ReadError> {
    let found = service.offset_for_timestamp(stream, timestamp).await?;
    Ok(found
        .map_or(NOTHING, |(offset, timestamp)| Found { offset: wire_offset(offset), timestamp }))
}

/// The message with the largest timestamp: looked for in steps that double until there is no
/// later one, and then by halves.
async fn max_timestamp<S: Service>(service: &S, stream: StreamId) -> Result<Found, ReadError> {
    let mut best = at_or_after(service, stream, 0).await?;
    let mut none_from = None;
    let mut step = 1_i64;
    while best.offset >= 0 {
        let probe = match none_from {
            None => best.timestamp.saturating_add(step),
            Some(none_from) if none_from - best.timestamp <= 1 => break,
            Some(none_from) => best.timestamp + (none_from - best.timestamp) / 2,
        };
        let later = at_or_after(service, stream, probe).await?;
        if later.offset >= 0 && later.timestamp > best.timestamp {
            best = later;
            step = step.saturating_mul(2);
        } else {
            none_from = Some(probe);
        }
    }
    Ok(best)
}
