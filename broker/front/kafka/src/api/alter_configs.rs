//! `AlterConfigs`: puts a whole configuration in the place of a topic's: what it does not name
//! goes back to its default. Clients should prefer `IncrementalAlterConfigs`.

use std::sync::Arc;

use holdfast_protocol::topic::TopicConfig;
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::Call;
use super::describe_configs::resource;
use super::incremental_alter_configs::{alter_broker, alter_topic};
use crate::config::topic::{Change, change};
use crate::topics::Refusal;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let mut answer = AlterConfigsResponse::default();
    for asked in request.resources {
        let altered = alter(&call, &asked, request.validate_only).await;
        let mut result = AlterConfigsResourceResponse::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name);
        if let Err(refusal) = altered {
            result.error_code = refusal.code.code();
            result.error_message = Some(refusal.text());
        }
        answer.responses.push(result);
    }
    answer
}

async fn alter<S: Service>(
    call: &Call<S>,
    asked: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let name: &str = &asked.resource_name;
    match asked.resource_type {
        resource::TOPIC => {
            let cluster = call.context().service.cluster();
            let altered = |_: &TopicConfig| {
                let mut config = TopicConfig::default();
                for entry in &asked.configs {
                    change(&mut config, &cluster, &entry.name, Change::Set(value(entry)?))
                        .map_err(|error| Refusal::new(Code::InvalidConfig, error.to_string()))?;
                }
                Ok(config)
            };
            alter_topic(call, name, altered, validate_only).await
        }
        resource::BROKER => {
            alter_broker(call, name, asked.configs.iter().map(|entry| &*entry.name))
        }
        other => {
            let message = format!("resources of type {other} have no configuration here");
            Err(Refusal::new(Code::InvalidRequest, message))
        }
    }
}

fn value(entry: &AlterableConfig) -> Result<&str, Refusal> {
    entry.value.as_deref().ok_or_else(|| {
        let message = format!("null value not supported for {}", &*entry.name);
        Refusal::new(Code::InvalidRequest, message)
    })
}
