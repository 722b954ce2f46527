//! `JoinGroup`: becomes a member of a group, or goes on being one.

use std::sync::Arc;

use holdfast_protocol::group::{self, Answer, Join, Joined, Protocol, Request};
use holdfast_service::{GroupError, Service};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use super::coordinator::{Refusal, ask, milliseconds, owned, text};

/// First version with a rebalance timeout of its own.
const REBALANCE_TIMEOUT: i16 = 1;
/// First version whose clients come again with the member id that they are given (KIP-394).
const MEMBER_ID: i16 = 4;
/// First version in which there may be no protocol.
const NO_PROTOCOL: i16 = 7;
/// First version whose leaders may be told to make no assignment.
const SKIP_ASSIGNMENT: i16 = 9;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let member = request.member_id.clone();
    let join = join(&call, request);
    let group = join.group.clone();
    let asked = ask(&call, &group, Request::Join(join), |answer| match answer {
        Answer::Join(joined) => Some(joined),
        _ => None,
    });
    match asked.await {
        Ok(answer) => joined(answer, call.version()),
        Err(refusal) => refused(&refusal, member, call.version()),
    }
}

fn join<S: Service>(call: &Call<S>, request: JoinGroupRequest) -> Join {
    let version = call.version();
    let session_timeout_ms = milliseconds(request.session_timeout_ms);
    let protocols = request
        .protocols
        .into_iter()
        .map(|protocol| Protocol { name: protocol.name.to_string(), metadata: protocol.metadata });
    Join {
        group: request.group_id.to_string(),
        member: request.member_id.to_string(),
        client_id: call.client_id(),
        client_host: call.client_host(),
        session_timeout_ms,
        rebalance_timeout_ms: if version >= REBALANCE_TIMEOUT {
            milliseconds(request.rebalance_timeout_ms)
        } else {
            session_timeout_ms
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        reason: owned(request.reason.as_ref()),
        require_known_member_id: version >= MEMBER_ID && request.group_instance_id.is_none(),
        instance: owned(request.group_instance_id.as_ref()),
        supports_skip_assignment: version >= SKIP_ASSIGNMENT,
    }
}

fn joined(joined: Joined, version: i16) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member))
            .with_group_instance_id(member.instance.map(text))
            .with_metadata(member.metadata)
    });
    let mut answer = JoinGroupResponse::default()
        .with_generation_id(joined.generation.0)
        .with_protocol_type(Some(text(joined.protocol_type)))
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member))
        .with_members(members.collect());
    if version >= SKIP_ASSIGNMENT {
        answer.skip_assignment = joined.skip_assignment;
    }
    answer
}

fn refused(refusal: &Refusal, member: StrBytes, version: i16) -> JoinGroupResponse {
    let member = match &refusal.error {
        Some(GroupError::Group(group::Error::MemberIdRequired { member })) => text(member.clone()),
        _ => member,
    };
    JoinGroupResponse::default()
        .with_error_code(refusal.code.code())
        .with_generation_id(-1)
        .with_protocol_name((version < NO_PROTOCOL).then(StrBytes::new))
        .with_member_id(member)
}
