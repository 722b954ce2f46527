//! `OffsetForLeaderEpoch`: where an epoch ended, by which clients notice truncation (KIP-320).

use std::sync::Arc;

use holdfast_protocol::topic::Catalog;
use holdfast_protocol::{Epoch, Offset};
use holdfast_service::{ReadError, Service};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::Call;
use crate::context::{find_stream, wire_id, wire_offset};
use crate::{errors, fencing};

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let catalog = call.context().service.catalog();
    let mut answer = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let partitions = topic.partitions.iter().map(|asked| {
            let end = EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_leader_epoch(-1)
                .with_end_offset(-1);
            match epoch_end(&call, &catalog, &topic.topic, asked) {
                Ok(Some((epoch, offset))) => {
                    end.with_leader_epoch(wire_id(epoch.0)).with_end_offset(wire_offset(offset))
                }
                Ok(None) => end,
                Err(code) => end.with_error_code(code.code()),
            }
        });
        let partitions = partitions.collect();
        let topic = OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic)
            .with_partitions(partitions);
        answer.topics.push(topic);
    }
    answer
}

fn epoch_end<S: Service>(
    call: &Call<S>,
    catalog: &Catalog,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(Epoch, Offset)>, Code> {
    let service = &call.context().service;
    let stream =
        find_stream(catalog, topic, asked.partition).ok_or(Code::UnknownTopicOrPartition)?;
    let code = |error: ReadError| errors::read(&error);
    let bounds = service.offsets(stream).map_err(code)?;
    fencing::check(asked.current_leader_epoch, bounds.epoch)?;
    let Ok(epoch) = u32::try_from(asked.leader_epoch) else {
        return Ok(None);
    };
    service.epoch_end(stream, Epoch(epoch)).map_err(code)
}
