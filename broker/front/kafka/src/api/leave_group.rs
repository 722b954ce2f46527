//! `LeaveGroup`: takes members out of a group.

use std::sync::Arc;

use holdfast_protocol::group::{Answer, Leave, Leaver, Left, Request};
use holdfast_service::Service;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::Call;
use super::coordinator::{ask, owned, text};
use crate::errors;

/// First version that takes out several members.
const SEVERAL: i16 = 3;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let several = call.version() >= SEVERAL;
    let members = if several {
        let members = request.members.iter().map(|member| Leaver {
            member: member.member_id.to_string(),
            instance: owned(member.group_instance_id.as_ref()),
            reason: owned(member.reason.as_ref()),
        });
        members.collect()
    } else {
        vec![Leaver { member: request.member_id.to_string(), ..Leaver::default() }]
    };
    let group = request.group_id.to_string();
    let leave = Request::Leave(Leave { group, members });
    let asked = ask(&call, &request.group_id, leave, |answer| match answer {
        Answer::Leave(left) => Some(left),
        _ => None,
    });
    match asked.await {
        Ok(left) if several => {
            LeaveGroupResponse::default().with_members(left.into_iter().map(member).collect())
        }
        Ok(left) => {
            let code = left.first().map_or(0, code);
            LeaveGroupResponse::default().with_error_code(code)
        }
        Err(refusal) => LeaveGroupResponse::default().with_error_code(refusal.code.code()),
    }
}

fn code(left: &Left) -> i16 {
    let error = left.result.as_ref().err();
    error.map_or(0, |error| errors::refusal(error).code())
}

fn member(left: Left) -> MemberResponse {
    MemberResponse::default()
        .with_error_code(code(&left))
        .with_member_id(text(left.member))
        .with_group_instance_id(left.instance.map(text))
}
