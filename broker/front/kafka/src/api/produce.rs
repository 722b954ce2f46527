//! `Produce`: appends batches. They are handed to the broker in the order in which they came;
//! the outcome is awaited when the answer's turn comes.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use holdfast_protocol::topic::{Catalog, Cleanup, Topic};
use holdfast_service::{Append, AppendError, Appended, Durability, Pending, Service};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::Call;
use crate::batch;
use crate::codec::Error;
use crate::context::{LeaderHint, find_topic, wire_id, wire_offset};
use crate::reply::Reply;
use crate::{errors, records};

/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// First version that tells why in words.
const MESSAGES: i16 = 8;
/// First version that tells who leads instead (KIP-951).
const LEADERS: i16 = 10;

/// The most messages of a batch that are told to be at fault.
const FAULTS_MAX: usize = 10_000;

struct TopicOutcome {
    name: TopicName,
    id: Uuid,
    partitions: Vec<(i32, Outcome)>,
}

/// What became of one batch so far.
enum Outcome {
    Pending(Pending<Appended>),
    Refused(Refusal),
}

struct Refusal {
    code: Code,
    message: Option<String>,
    leader: Option<LeaderHint>,
    /// The messages that are at fault, by their place in the batch.
    faults: Vec<u32>,
}

impl Refusal {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()), leader: None, faults: Vec::new() }
    }
}

/// Hands the batches over, waiting while the broker is busy.
pub(super) async fn begin<S: Service>(
    call: Arc<Call<S>>,
) -> Result<BoxFuture<'static, Reply>, Error> {
    let request: ProduceRequest = call.decode()?;
    let durability = match request.acks {
        0 => Some(Durability::None),
        1 => Some(Durability::Leader),
        -1 => Some(Durability::Committed),
        _ => None,
    };
    let patience = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = Instant::now() + patience;
    let transactional = request.transactional_id.is_some();
    let catalog = call.context().service.catalog();
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let mut submit =
            Submit { call: &call, topic: find(&call, &catalog, &topic), durability, transactional };
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let index = data.index;
            partitions.push((index, submit.partition(data).await));
        }
        topics.push(TopicOutcome { name: topic.name, id: topic.topic_id, partitions });
    }
    Ok(if durability == Some(Durability::None) {
        futures::future::ready(unanswered(&topics)).boxed()
    } else {
        answer(call, topics, deadline).boxed()
    })
}

fn find<'a, S: Service>(
    call: &Call<S>,
    catalog: &'a Catalog,
    topic: &TopicProduceData,
) -> Option<&'a Arc<Topic>> {
    let by_id = call.version() >= TOPIC_IDS;
    find_topic(catalog, by_id, &topic.name, topic.topic_id)
}

struct Submit<'a, S> {
    call: &'a Call<S>,
    topic: Option<&'a Arc<Topic>>,
    durability: Option<Durability>,
    transactional: bool,
}

impl<S: Service> Submit<'_, S> {
    async fn partition(&mut self, data: PartitionProduceData) -> Outcome {
        let append = match self.append(data) {
            Ok(append) => append,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        if self.topic.is_some_and(|topic| topic.config.cleanup != Cleanup::Delete)
            && let Err(refusal) = keyed(append.batch.clone()).await
        {
            return Outcome::Refused(refusal);
        }
        let stream = append.stream;
        match self.call.context().service.submit(append).await {
            Ok(pending) => Outcome::Pending(pending),
            Err(error) => {
                let mut refusal = Refusal::new(errors::append(&error), error.to_string());
                if error == AppendError::NotLeader {
                    let context = self.call.context();
                    refusal.leader = context.leader_hint(&context.service.cluster(), stream);
                }
                Outcome::Refused(refusal)
            }
        }
    }

    fn append(&self, data: PartitionProduceData) -> Result<Append, Refusal> {
        let durability = self.durability.ok_or_else(|| {
            Refusal::new(Code::InvalidRequiredAcks, "acks can be 0, 1 or -1 (all)")
        })?;
        if self.transactional {
            return Err(Refusal::new(
                Code::TransactionalIdAuthorizationFailed,
                "transactions are not served",
            ));
        }
        let topic = self.topic.ok_or_else(|| {
            let by_id = self.call.version() >= TOPIC_IDS;
            if by_id {
                Refusal::new(Code::UnknownTopicId, "there is no topic with this id")
            } else {
                Refusal::new(Code::UnknownTopicOrPartition, "there is no such topic")
            }
        })?;
        let stream =
            u32::try_from(data.index).ok().and_then(|index| topic.stream(index)).ok_or_else(
                || Refusal::new(Code::UnknownTopicOrPartition, "there is no such partition"),
            )?;
        let batch = data.records.unwrap_or_default();
        batch::check(&batch).map_err(|error| Refusal::new(batch_code(error), error.to_string()))?;
        let max = topic.config.message_bytes_max;
        if batch.len() > max as usize {
            let bytes = batch.len();
            let error = AppendError::TooLarge { bytes, max };
            return Err(Refusal::new(errors::append(&error), error.to_string()));
        }
        Ok(Append { stream, batch, durability, batch_bytes_max: max })
    }
}

/// A compacted topic keeps the newest message of each key, so that each needs one.
async fn keyed(batch: Bytes) -> Result<(), Refusal> {
    let turn = records::turn().await;
    let looked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let mut faults = Vec::new();
        let looked = records::visit(&batch, |message| {
            if !message.has_key {
                faults.push(message.index);
            }
            let enough = faults.len() >= FAULTS_MAX;
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        looked.map(|_| faults)
    });
    match looked.await {
        Ok(Ok(faults)) if faults.is_empty() => Ok(()),
        Ok(Ok(faults)) => {
            let message = format!("the topic is compacted: {} messages lack a key", faults.len());
            Err(Refusal { faults, ..Refusal::new(Code::InvalidRecord, message) })
        }
        Ok(Err(error)) => Err(Refusal::new(Code::InvalidRecord, error.to_string())),
        Err(error) => {
            tracing::error!(%error, "a batch could not be looked into");
            Err(Refusal::new(Code::UnknownServerError, "the batch could not be looked into"))
        }
    }
}

fn batch_code(error: batch::Error) -> Code {
    match error {
        batch::Error::Empty | batch::Error::Several | batch::Error::Control => Code::InvalidRecord,
        batch::Error::Length => Code::CorruptMessage,
        batch::Error::Magic(_) => Code::UnsupportedForMessageFormat,
        batch::Error::Transactional => Code::TransactionalIdAuthorizationFailed,
    }
}

/// With acks=0 an error can only be told by closing the connection.
fn unanswered(topics: &[TopicOutcome]) -> Reply {
    let mut outcomes = topics.iter().flat_map(|topic| &topic.partitions);
    let refused = outcomes.find_map(|(index, outcome)| match outcome {
        Outcome::Refused(refusal) => Some((index, refusal)),
        Outcome::Pending(_) => None,
    });
    match refused {
        None => Reply::Nothing,
        Some((index, refusal)) => Reply::Close(format!(
            "a batch for partition {index} sent with acks=0 is refused: {:?}",
            refusal.code
        )),
    }
}

async fn answer<S: Service>(
    call: Arc<Call<S>>,
    topics: Vec<TopicOutcome>,
    deadline: Instant,
) -> Reply {
    let version = call.version();
    let mut hints = Vec::new();
    let mut body = ProduceResponse::default();
    for topic in topics {
        let mut answered = TopicProduceResponse::default();
        answered.name = topic.name;
        answered.topic_id = topic.id;
        for (index, outcome) in topic.partitions {
            let partition = match settled(outcome, deadline).await {
                Ok(appended) => stored(appended),
                Err(refusal) => {
                    hints.extend(refusal.leader);
                    refused(refusal, version)
                }
            };
            answered.partition_responses.push(partition.with_index(index));
        }
        body.responses.push(answered);
    }
    if version >= LEADERS && !hints.is_empty() {
        let context = call.context();
        let endpoints = context.hinted_endpoints(&context.service.cluster(), hints.into_iter());
        body.node_endpoints = endpoints
            .into_iter()
            .map(|endpoint| {
                NodeEndpoint::default()
                    .with_node_id(BrokerId(endpoint.broker))
                    .with_host(endpoint.host)
                    .with_port(endpoint.port)
            })
            .collect();
    }
    call.answer(&body)
}

async fn settled(outcome: Outcome, deadline: Instant) -> Result<Appended, Refusal> {
    let pending = match outcome {
        Outcome::Pending(pending) => pending,
        Outcome::Refused(refusal) => return Err(refusal),
    };
    match timeout_at(deadline, pending.outcome()).await {
        Ok(Ok(appended)) => Ok(appended),
        Ok(Err(error)) => Err(Refusal::new(errors::append(&error), error.to_string())),
        Err(_) => Err(Refusal::new(
            Code::RequestTimedOut,
            "the batch was not committed in time; its fate is unknown",
        )),
    }
}

fn stored(appended: Appended) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_base_offset(wire_offset(appended.base_offset))
        .with_log_append_time_ms(-1)
        .with_log_start_offset(wire_offset(appended.start_offset))
}

fn refused(refusal: Refusal, version: i16) -> PartitionProduceResponse {
    let mut partition = PartitionProduceResponse::default()
        .with_error_code(refusal.code.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1);
    if version >= MESSAGES {
        let fault = |index: &u32| {
            BatchIndexAndErrorMessage::default()
                .with_batch_index(wire_id(*index))
                .with_batch_index_error_message(Some(StrBytes::from_static_str("no key")))
        };
        partition.record_errors = refusal.faults.iter().map(fault).collect();
        partition.error_message = refusal.message.map(StrBytes::from_string);
    }
    if let Some(leader) = refusal.leader.filter(|_| version >= LEADERS) {
        partition.current_leader = LeaderIdAndEpoch::default()
            .with_leader_id(BrokerId(leader.broker))
            .with_leader_epoch(leader.epoch);
    }
    partition
}
