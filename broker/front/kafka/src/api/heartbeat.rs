//! `Heartbeat`: a member of a group is alive.

use std::sync::Arc;

use holdfast_protocol::group::{Answer, Generation, Heartbeat, Request};
use holdfast_service::Service;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::Call;
use super::coordinator::{ask, owned};

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: HeartbeatRequest,
) -> HeartbeatResponse {
    let heartbeat = Request::Heartbeat(Heartbeat {
        group: request.group_id.to_string(),
        generation: Generation(request.generation_id),
        member: request.member_id.to_string(),
        instance: owned(request.group_instance_id.as_ref()),
    });
    let asked = ask(&call, &request.group_id, heartbeat, |answer| {
        matches!(answer, Answer::Heartbeat).then_some(())
    });
    let code = asked.await.err().map_or(0, |refusal| refusal.code.code());
    HeartbeatResponse::default().with_error_code(code)
}
