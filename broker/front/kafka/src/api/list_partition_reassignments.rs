//! `ListPartitionReassignments`: there are none, for replicas follow the policy.

use std::sync::Arc;

use holdfast_service::Service;
use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::Call;

/// Partitions that are not being reassigned, and those that are not there, are left out, as
/// Kafka does.
pub(super) async fn handle<S: Service>(
    _call: Arc<Call<S>>,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
