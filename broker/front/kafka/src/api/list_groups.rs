//! `ListGroups`: the groups that this broker coordinates.

use std::sync::Arc;

use holdfast_protocol::ShardId;
use holdfast_protocol::group::{Answer, List, Listed, Request, State};
use holdfast_service::{GroupError, Service};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use super::coordinator::text;
use crate::errors;

/// The type of all groups here, as Kafka's clients know it.
const CLASSIC: &str = "classic";

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let mut answer = ListGroupsResponse::default();
    let is_classic = |asked: &StrBytes| asked.eq_ignore_ascii_case(CLASSIC);
    if !request.types_filter.is_empty() && !request.types_filter.iter().any(is_classic) {
        return answer;
    }
    let states = (!request.states_filter.is_empty()).then(|| {
        let states = request.states_filter.iter();
        states.filter_map(|name| State::from_name(name)).collect()
    });
    let service = &call.context().service;
    // The broker knows what it leads; what clients are told of leaders may be a moment behind.
    for shard in shards(service) {
        let list = Request::List(List { states: states.clone() });
        match service.group(shard, list).await {
            Ok(Answer::List(groups)) => answer.groups.extend(groups.into_iter().map(listed)),
            Ok(_) | Err(GroupError::NotCoordinator) => {}
            Err(error) => answer.error_code = errors::group(&error).code(),
        }
    }
    answer
}

fn shards<S: Service>(service: &S) -> impl Iterator<Item = ShardId> + use<S> {
    let count = service.cluster().shards.len();
    (0..u32::try_from(count).unwrap_or(u32::MAX)).map(ShardId)
}

fn listed(group: Listed) -> ListedGroup {
    ListedGroup::default()
        .with_group_id(GroupId(text(group.group)))
        .with_protocol_type(text(group.protocol_type))
        .with_group_state(StrBytes::from_static_str(group.state.name()))
        .with_group_type(StrBytes::from_static_str(CLASSIC))
}
