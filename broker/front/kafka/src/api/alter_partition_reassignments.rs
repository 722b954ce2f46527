//! `AlterPartitionReassignments`: where replicas go is the policy's.
//!
//! A partition's replicas are its shard's, so that no partition moves alone. What names the
//! brokers that have them already is granted, for nothing has to be done; their order has no
//! meaning here. Everything else is refused.

use std::sync::Arc;

use holdfast_protocol::topic::{Catalog, Topic};
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};

use super::Call;
use super::leaders::Leaders;
use crate::topics::Refusal;

/// First version in which a client may say whether the number of replicas may change.
const MAY_CHANGE_COUNT: i16 = 1;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let context = call.context();
    let known = |catalog: &Catalog| {
        request.topics.iter().all(|asked| catalog.by_name(&asked.name).is_some())
    };
    let catalog = context.catalog_with(known).await;
    let cluster = context.service.cluster();
    let leaders = Leaders::new(context, &cluster);
    let mut answer = AlterPartitionReassignmentsResponse::default();
    if call.version() >= MAY_CHANGE_COUNT {
        answer.allow_replication_factor_change = request.allow_replication_factor_change;
    }
    for asked in request.topics {
        let topic = catalog.by_name(&asked.name).map(AsRef::as_ref);
        let partitions = asked.partitions.iter().map(|partition| {
            let mut result = ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index);
            if let Err(refusal) = reassign(&leaders, topic, partition) {
                result.error_code = refusal.code.code();
                result.error_message = Some(refusal.text());
            }
            result
        });
        let partitions = partitions.collect();
        let result = ReassignableTopicResponse::default().with_name(asked.name);
        answer.responses.push(result.with_partitions(partitions));
    }
    answer
}

fn reassign<S: Service>(
    leaders: &Leaders<'_, S>,
    topic: Option<&Topic>,
    asked: &ReassignablePartition,
) -> Result<(), Refusal> {
    let index = u32::try_from(asked.partition_index).ok();
    let found = topic.zip(index).filter(|(topic, index)| *index < topic.partitions);
    let (topic, index) = found.ok_or_else(|| {
        Refusal::new(Code::UnknownTopicOrPartition, "there is no such topic or partition")
    })?;
    let Some(replicas) = &asked.replicas else {
        let message = "replicas follow the policy, so none are being reassigned";
        return Err(Refusal::new(Code::NoReassignmentInProgress, message));
    };
    let mut wanted: Vec<i32> = replicas.iter().map(|broker| broker.0).collect();
    let mut present: Vec<i32> =
        leaders.of(topic, index).replicas.iter().map(|broker| broker.0).collect();
    wanted.sort_unstable();
    present.sort_unstable();
    if wanted == present {
        return Ok(());
    }
    let message = format!(
        "replicas follow the policy: those of this partition's shard are on brokers {present:?}"
    );
    Err(Refusal::new(Code::InvalidReplicaAssignment, message))
}
