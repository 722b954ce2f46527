//! `DescribeConfigs`: the configuration of topics and brokers.

use std::sync::Arc;

use holdfast_protocol::topic::Catalog;
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::Call;
use crate::config::{Detail, Entry, broker, topic};
use crate::topics::Refusal;

/// First version with types.
const TYPES: i16 = 3;

/// What has a configuration, by Kafka's numbers.
pub(super) mod resource {
    pub(crate) const TOPIC: i8 = 2;
    pub(crate) const BROKER: i8 = 4;
}

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let detail = Detail { synonyms: request.include_synonyms, types: call.version() >= TYPES };
    let mut answer = DescribeConfigsResponse::default();
    for asked in request.resources {
        let described = describe(&call, &asked).await;
        let keys = asked.configuration_keys;
        let wanted = |entry: &Entry| {
            let keys = keys.as_ref();
            keys.is_none_or(|keys| keys.iter().any(|key| **key == *entry.name))
        };
        let mut result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name);
        match described {
            Ok(entries) => {
                let entries = entries.into_iter().filter(wanted);
                result.configs = entries.map(|entry| entry.into_wire(detail)).collect();
            }
            Err(refusal) => {
                result.error_code = refusal.code.code();
                result.error_message = Some(refusal.text());
            }
        }
        answer.results.push(result);
    }
    answer
}

async fn describe<S: Service>(
    call: &Call<S>,
    asked: &DescribeConfigsResource,
) -> Result<Vec<Entry>, Refusal> {
    let service = &call.context().service;
    let cluster = service.cluster();
    let name: &str = &asked.resource_name;
    match asked.resource_type {
        resource::TOPIC => {
            let known = |catalog: &Catalog| catalog.by_name(name).is_some();
            let catalog = call.context().catalog_with(known).await;
            let found = catalog.by_name(name).ok_or_else(|| {
                Refusal::new(Code::UnknownTopicOrPartition, "there is no such topic")
            })?;
            Ok(topic::describe(&found.config, &cluster))
        }
        // The cluster's defaults have no name.
        resource::BROKER if name.is_empty() => Ok(Vec::new()),
        resource::BROKER if name.parse() == Ok(call.context().broker()) => {
            Ok(broker::describe(service.broker().0, &cluster))
        }
        resource::BROKER => {
            let message = format!("this is broker {}; ask broker {name}", service.broker());
            Err(Refusal::new(Code::InvalidRequest, message))
        }
        other => {
            let message = format!("resources of type {other} have no configuration here");
            Err(Refusal::new(Code::InvalidRequest, message))
        }
    }
}
