//! Kafka frames as a client writes and reads them.

use bytes::{Buf, Bytes, BytesMut};
use holdfast_protocol::{Offset, StreamId};
use holdfast_service::{AppendError, Appended};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// The versions that are spoken: the last that name topics by name.
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;
/// Bytes that a reader asks for.
const READ_BYTES: i32 = 64 * 1024;
/// Bytes that one asks for who waits, so that the answer fits into a connection.
const AWAITED_BYTES: i32 = 16 * 1024;
/// How long a producer lets a broker wait for commitment, ms.
const PATIENCE_MS: i32 = 30_000;

/// What a piece of a stream is, as a reader is told.
pub(crate) struct Piece {
    pub(crate) start: Offset,
    pub(crate) batches: Vec<Bytes>,
}

/// A request as its client writes it.
pub(super) fn frame<Q: Request>(version: i16, correlation: i32, request: &Q) -> Option<Bytes> {
    let mut body = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("simulated")));
    header.encode(&mut body, Q::header_version(version)).ok()?;
    request.encode(&mut body, version).ok()?;
    let mut frame = BytesMut::with_capacity(body.len() + 4);
    frame.extend_from_slice(&u32::try_from(body.len()).ok()?.to_be_bytes());
    frame.extend_from_slice(&body);
    Some(frame.freeze())
}

/// An answer as its client reads it; `None` where it can't.
pub(super) fn answer<Q: Request>(version: i16, mut frame: Bytes) -> Option<Q::Response> {
    ResponseHeader::decode(&mut frame, Q::Response::header_version(version)).ok()?;
    let answer = Q::Response::decode(&mut frame, version).ok()?;
    (!frame.has_remaining()).then_some(answer)
}

/// The correlation id of an answer.
pub(crate) fn correlation(frame: &Bytes) -> Option<i32> {
    Some(i32::from_be_bytes(frame.get(..4)?.try_into().ok()?))
}

/// The partition of a stream, as on the wire.
pub(super) fn index(stream: StreamId) -> i32 {
    i32::try_from(stream.partition).unwrap_or(i32::MAX)
}

/// A topic's name, as on the wire.
pub(super) fn named(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Appends one batch, for all in-sync replicas to have.
pub(crate) fn produce(id: i32, topic: &str, stream: StreamId, batch: Bytes) -> Option<Bytes> {
    let data = PartitionProduceData::default().with_index(index(stream)).with_records(Some(batch));
    let topic = TopicProduceData::default().with_name(named(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(PATIENCE_MS)
        .with_topic_data(vec![topic]);
    frame(PRODUCE, id, &request)
}

/// What came of it; `None` where the answer can't be read.
pub(crate) fn produced(frame: Bytes) -> Option<Result<Appended, AppendError>> {
    let answer = answer::<ProduceRequest>(PRODUCE, frame)?;
    let answer: ProduceResponse = answer;
    let partition = answer.responses.first()?.partition_responses.first()?;
    let offset = |at: i64| u64::try_from(at).map(Offset);
    let outcome = match Code::try_from_code(partition.error_code) {
        None => Ok(Appended {
            base_offset: offset(partition.base_offset).ok()?,
            start_offset: offset(partition.log_start_offset).ok()?,
        }),
        Some(Code::OutOfOrderSequenceNumber) => {
            Err(AppendError::OutOfOrderSequence { found: -1, expected: -1 })
        }
        Some(_) => Err(AppendError::LeadershipLost),
    };
    Some(outcome)
}

/// Reads a piece of a stream from an offset on; where there is nothing, it waits for so long, ms.
pub(crate) fn fetch(
    id: i32,
    topic: &str,
    (stream, from): (StreamId, Offset),
    wait_ms: u64,
) -> Option<Bytes> {
    let bytes = if wait_ms == 0 { READ_BYTES } else { AWAITED_BYTES };
    let partition = FetchPartition::default()
        .with_partition(index(stream))
        .with_current_leader_epoch(-1)
        .with_fetch_offset(i64::try_from(from.0).ok()?)
        .with_partition_max_bytes(bytes);
    let topic = FetchTopic::default().with_topic(named(topic)).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(i32::try_from(wait_ms).ok()?)
        .with_min_bytes(i32::from(wait_ms > 0))
        .with_max_bytes(bytes)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    frame(FETCH, id, &request)
}

/// What was read: `Some(None)` where it was refused, `None` where the answer can't be read.
pub(crate) fn fetched(frame: Bytes) -> Option<Option<Piece>> {
    let answer: FetchResponse = answer::<FetchRequest>(FETCH, frame)?;
    let partition = answer.responses.first()?.partitions.first()?;
    if partition.error_code != 0 {
        return Some(None);
    }
    let mut records = partition.records.clone().unwrap_or_default();
    let mut batches = Vec::new();
    while records.has_remaining() {
        let length = i32::from_be_bytes(records.get(8..12)?.try_into().ok()?);
        let length = usize::try_from(length).ok()? + 12;
        if length > records.len() {
            return None;
        }
        batches.push(records.split_to(length));
    }
    let start = Offset(u64::try_from(partition.log_start_offset).ok()?);
    Some(Some(Piece { start, batches }))
}
