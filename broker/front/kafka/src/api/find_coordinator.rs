//! `FindCoordinator`: the broker that coordinates a group.

use std::sync::Arc;

use holdfast_service::{ClusterView, Service};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use crate::context::{Endpoint, wire_id};

/// First version that tells why in words.
const MESSAGES: i16 = 1;
/// First version that asks for several.
const SEVERAL: i16 = 4;

/// What is coordinated.
mod key_type {
    pub(super) const GROUP: i8 = 0;
    pub(super) const TRANSACTION: i8 = 1;
}

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let cluster = call.context().service.cluster();
    let find = |key: &StrBytes| find(&call, &cluster, request.key_type, key);
    if call.version() >= SEVERAL {
        let keys = request.coordinator_keys.into_iter();
        let coordinators = keys.map(|key| {
            let found = find(&key);
            coordinator(key, found)
        });
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let mut answer = FindCoordinatorResponse::default();
    match find(&request.key) {
        Ok(endpoint) => {
            answer.node_id = BrokerId(endpoint.broker);
            answer.host = endpoint.host;
            answer.port = endpoint.port;
        }
        Err((code, message)) => {
            answer.error_code = code.code();
            answer.node_id = BrokerId(-1);
            answer.port = -1;
            if call.version() >= MESSAGES {
                answer.error_message = Some(StrBytes::from_static_str(message));
            }
        }
    }
    answer
}

fn find<S: Service>(
    call: &Call<S>,
    cluster: &ClusterView,
    key_type: i8,
    key: &str,
) -> Result<Endpoint, (Code, &'static str)> {
    match key_type {
        key_type::GROUP if key.is_empty() => {
            return Err((Code::InvalidGroupId, "the group id is empty"));
        }
        key_type::GROUP => {}
        // Clients take this for final, and say so, rather than ask for ever.
        key_type::TRANSACTION => {
            let message = "transactions are not served";
            return Err((Code::TransactionalIdAuthorizationFailed, message));
        }
        _ => return Err((Code::InvalidRequest, "this type of key is not known")),
    }
    let context = call.context();
    let shard = cluster.shard(context.service.shard_of_group(key));
    shard
        .and_then(|shard| shard.leader)
        .and_then(|leader| context.endpoint(cluster, wire_id(leader.0)))
        .ok_or((Code::CoordinatorNotAvailable, "the group has no coordinator at present"))
}

fn coordinator(key: StrBytes, found: Result<Endpoint, (Code, &'static str)>) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    match found {
        Ok(endpoint) => coordinator
            .with_node_id(BrokerId(endpoint.broker))
            .with_host(endpoint.host)
            .with_port(endpoint.port),
        Err((code, message)) => coordinator
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(code.code())
            .with_error_message(Some(StrBytes::from_static_str(message))),
    }
}
