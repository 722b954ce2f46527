//! `DeleteTopics`: deletes topics with all their messages, for ever.

use std::sync::Arc;

use holdfast_protocol::TopicId;
use holdfast_protocol::topic::{Catalog, Topic};
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use crate::context::wire_topic_id;
use crate::topics::{self, Refusal};

/// First version that tells why in words.
const MESSAGES: i16 = 5;
/// First version that names topics by id as well.
const TOPIC_IDS: i16 = 6;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let by_name = |name| DeleteTopicState::default().with_name(Some(name));
    let names = request.topic_names.into_iter().map(by_name);
    let mut answer = DeleteTopicsResponse::default();
    for asked in request.topics.into_iter().chain(names) {
        let mut result = DeletableTopicResult::default().with_name(asked.name.clone());
        if call.version() >= TOPIC_IDS {
            result.topic_id = asked.topic_id;
        }
        match delete(&call, &asked, request.timeout_ms).await {
            Ok(topic) => {
                result.name = Some(TopicName(StrBytes::from_string(topic.name.clone())));
                if call.version() >= TOPIC_IDS {
                    result.topic_id = wire_topic_id(topic.id);
                }
            }
            Err(refusal) => {
                result.error_code = refusal.code.code();
                if call.version() >= MESSAGES {
                    result.error_message = Some(refusal.text());
                }
            }
        }
        answer.responses.push(result);
    }
    answer
}

async fn delete<S: Service>(
    call: &Call<S>,
    asked: &DeleteTopicState,
    timeout_ms: i32,
) -> Result<Arc<Topic>, Refusal> {
    let service = &call.context().service;
    let id = TopicId(asked.topic_id.into_bytes());
    let known = |catalog: &Catalog| match &asked.name {
        Some(name) => catalog.by_name(name).is_some(),
        None => catalog.by_id(id).is_some(),
    };
    let catalog = call.context().catalog_with(known).await;
    let topic = match &asked.name {
        Some(name) => catalog
            .by_name(name)
            .ok_or_else(|| Refusal::new(Code::UnknownTopicOrPartition, "there is no such topic")),
        None => catalog
            .by_id(id)
            .ok_or_else(|| Refusal::new(Code::UnknownTopicId, "there is no topic with this id")),
    }?;
    topics::may_change(&service.cluster(), topic)?;
    topics::within(timeout_ms, service.delete_topic(topic.id)).await?;
    let peer = call.client.peer;
    tracing::info!(topic = topic.name, id = %topic.id, %peer, "a client deleted a topic");
    Ok(Arc::clone(topic))
}
