//! `SyncGroup`: the leader of a group hands out the assignment, everyone gets theirs.

use std::sync::Arc;

use holdfast_protocol::group::{Answer, Generation, Request, Sync};
use holdfast_service::Service;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::Call;
use super::coordinator::{ask, owned, text};

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let assignments = request.assignments.into_iter();
    let sync = Request::Sync(Sync {
        group: request.group_id.to_string(),
        generation: Generation(request.generation_id),
        member: request.member_id.to_string(),
        instance: owned(request.group_instance_id.as_ref()),
        protocol_type: owned(request.protocol_type.as_ref()),
        protocol: owned(request.protocol_name.as_ref()),
        assignments: assignments
            .map(|assignment| (assignment.member_id.to_string(), assignment.assignment))
            .collect(),
    });
    let asked = ask(&call, &request.group_id, sync, |answer| match answer {
        Answer::Sync(synced) => Some(synced),
        _ => None,
    });
    match asked.await {
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(Some(text(synced.protocol_type)))
            .with_protocol_name(Some(text(synced.protocol)))
            .with_assignment(synced.assignment),
        Err(refusal) => SyncGroupResponse::default().with_error_code(refusal.code.code()),
    }
}
