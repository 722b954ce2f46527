//! `DescribeGroups`: the state and the members of groups.

use std::sync::Arc;

use holdfast_protocol::group::{
    self, Answer, Describe, Described, DescribedMember, Description, Request, State,
};
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use super::coordinator::{ask, text};
use crate::{authorized, errors};

/// First version that tells what the client may do.
const OPERATIONS: i16 = 3;
/// First version that tells a group that is not there from a dead one.
const NOT_FOUND: i16 = 6;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let mut answer = DescribeGroupsResponse::default();
    for id in request.groups {
        let mut group = match describe(&call, &id).await {
            Ok(description) => described(id, description),
            Err(code) => refused(id, code, call.version()),
        };
        if call.version() >= OPERATIONS && request.include_authorized_operations {
            group.authorized_operations = authorized::GROUP;
        }
        answer.groups.push(group);
    }
    answer
}

async fn describe<S: Service>(call: &Call<S>, id: &GroupId) -> Result<Description, Code> {
    let groups = vec![id.to_string()];
    let request = Request::Describe(Describe { groups });
    let asked = ask(call, id, request, |answer| match answer {
        Answer::Describe(mut described) => described.pop(),
        _ => None,
    });
    let Described { result, .. } = asked.await.map_err(|refusal| refusal.code)?;
    result.map_err(|error: group::Error| errors::refusal(&error))
}

fn described(id: GroupId, description: Description) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(StrBytes::from_static_str(description.state.name()))
        .with_protocol_type(text(description.protocol_type))
        .with_protocol_data(text(description.protocol))
        .with_members(description.members.into_iter().map(member).collect())
}

fn member(member: DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(text(member.member))
        .with_group_instance_id(member.instance.map(text))
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}

fn refused(id: GroupId, code: Code, version: i16) -> DescribedGroup {
    let mut group = DescribedGroup::default().with_group_id(id);
    let missing = code == Code::GroupIdNotFound;
    if missing {
        group.group_state = StrBytes::from_static_str(State::Dead.name());
    }
    if !missing || version >= NOT_FOUND {
        group.error_code = code.code();
    }
    if missing && version >= NOT_FOUND {
        group.error_message = Some(StrBytes::from_static_str("there is no such group"));
    }
    group
}
