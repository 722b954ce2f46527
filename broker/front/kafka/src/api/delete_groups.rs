//! `DeleteGroups`: deletes groups that have no members, with their offsets.

use std::sync::Arc;

use holdfast_protocol::group::{Answer, DeleteGroups, Request};
use holdfast_service::Service;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::Call;
use super::coordinator::ask;
use crate::errors;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut answer = DeleteGroupsResponse::default();
    for id in request.groups_names {
        let groups = vec![id.to_string()];
        let delete = Request::DeleteGroups(DeleteGroups { groups });
        let asked = ask(&call, &id, delete, |answer| match answer {
            Answer::DeleteGroups(mut deleted) => deleted.pop(),
            _ => None,
        });
        let code = match asked.await {
            Ok((_, Ok(()))) => 0,
            Ok((_, Err(error))) => errors::refusal(&error).code(),
            Err(refusal) => refusal.code.code(),
        };
        let result = DeletableGroupResult::default().with_group_id(id).with_error_code(code);
        answer.results.push(result);
    }
    answer
}
