//! `DeleteRecords`: drops the oldest messages of partitions.

use std::sync::Arc;

use holdfast_protocol::Offset;
use holdfast_protocol::topic::Catalog;
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use tokio::time::{Instant, timeout_at};

use super::Call;
use crate::context::{find_stream, wire_offset};
use crate::{errors, topics};

/// Stands for "all that is committed".
const HIGH_WATERMARK: i64 = -1;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let catalog = call.context().service.catalog();
    let deadline = Instant::now() + topics::patience(request.timeout_ms);
    let mut answer = DeleteRecordsResponse::default();
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let deleted = timeout_at(deadline, delete(&call, &catalog, &topic.name, asked)).await;
            let result =
                DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            partitions.push(match deleted.unwrap_or(Err(Code::RequestTimedOut)) {
                Ok(start) => result.with_low_watermark(wire_offset(start)),
                Err(code) => result.with_low_watermark(-1).with_error_code(code.code()),
            });
        }
        let topic =
            DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions);
        answer.topics.push(topic);
    }
    answer
}

async fn delete<S: Service>(
    call: &Call<S>,
    catalog: &Catalog,
    topic: &str,
    asked: &DeleteRecordsPartition,
) -> Result<Offset, Code> {
    let stream =
        find_stream(catalog, topic, asked.partition_index).ok_or(Code::UnknownTopicOrPartition)?;
    let before = match asked.offset {
        HIGH_WATERMARK => None,
        offset => Some(Offset(u64::try_from(offset).map_err(|_| Code::OffsetOutOfRange)?)),
    };
    let service = &call.context().service;
    let deleted = service.delete_records(stream, before).await;
    deleted.map_err(|error| errors::append(&error))
}
