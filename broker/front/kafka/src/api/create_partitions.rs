//! `CreatePartitions`: gives topics more partitions.

use std::sync::Arc;

use holdfast_protocol::topic::{Catalog, Topic};
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::Call;
use super::create_topics::partitions;
use crate::topics::{self, Refusal};

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut answer = CreatePartitionsResponse::default();
    for asked in request.topics {
        let grown = grow(&call, &asked, request.timeout_ms, request.validate_only).await;
        let mut result = CreatePartitionsTopicResult::default().with_name(asked.name);
        if let Err(refusal) = grown {
            result.error_code = refusal.code.code();
            result.error_message = Some(refusal.text());
        }
        answer.results.push(result);
    }
    answer
}

async fn grow<S: Service>(
    call: &Call<S>,
    asked: &CreatePartitionsTopic,
    timeout_ms: i32,
    validate_only: bool,
) -> Result<(), Refusal> {
    let service = &call.context().service;
    let cluster = service.cluster();
    let known = |catalog: &Catalog| catalog.by_name(&asked.name).is_some();
    let catalog = call.context().catalog_with(known).await;
    let topic = catalog
        .by_name(&asked.name)
        .ok_or_else(|| Refusal::new(Code::UnknownTopicOrPartition, "there is no such topic"))?;
    topics::may_change(&cluster, topic)?;
    let count = partitions(asked.count, &cluster)?;
    let have = topic.partitions;
    if count <= have {
        let message = format!("the topic has {have} partitions already; ask for more");
        return Err(Refusal::new(Code::InvalidPartitions, message));
    }
    if let Some(assignments) = &asked.assignments
        && assignments.len() != (count - have) as usize
    {
        let message = "the assignment has to name every new partition, and only those";
        return Err(Refusal::new(Code::InvalidReplicaAssignment, message));
    }
    if validate_only {
        return Ok(());
    }
    let grown = Topic { partitions: count, ..Topic::clone(topic) };
    topics::within(timeout_ms, service.declare_topic(grown)).await?;
    let peer = call.client.peer;
    tracing::info!(topic = topic.name, from = have, to = count, %peer, "a topic has grown");
    Ok(())
}
