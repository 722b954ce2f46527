//! `IncrementalAlterConfigs`: changes single values of a topic's configuration.

use std::sync::Arc;

use holdfast_protocol::topic::{Catalog, Topic, TopicConfig};
use holdfast_service::{ClusterView, Service};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::Call;
use super::describe_configs::resource;
use crate::config::broker;
use crate::config::topic::{Change, change};
use crate::topics::{self, Refusal};

/// The request has no timeout of its own; clients give up after 30 s or so.
const PATIENCE_MS: i32 = 30_000;

/// What is done with a value, by Kafka's numbers.
mod operation {
    pub(super) const SET: i8 = 0;
    pub(super) const DELETE: i8 = 1;
    pub(super) const APPEND: i8 = 2;
    pub(super) const SUBTRACT: i8 = 3;
}

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut answer = IncrementalAlterConfigsResponse::default();
    for asked in request.resources {
        let altered = match asked.resource_type {
            resource::TOPIC => {
                let cluster = call.context().service.cluster();
                let altered = |config: &TopicConfig| incremented(config, &asked, &cluster);
                alter_topic(&call, &asked.resource_name, altered, request.validate_only).await
            }
            resource::BROKER => {
                let names = asked.configs.iter().map(|config| &*config.name);
                alter_broker(&call, &asked.resource_name, names)
            }
            other => Err(Refusal::new(
                Code::InvalidRequest,
                format!("resources of type {other} have no configuration here"),
            )),
        };
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

fn incremented(
    config: &TopicConfig,
    asked: &AlterConfigsResource,
    cluster: &ClusterView,
) -> Result<TopicConfig, Refusal> {
    let mut config = config.clone();
    for entry in &asked.configs {
        change(&mut config, cluster, &entry.name, operation(entry)?)
            .map_err(|error| Refusal::new(Code::InvalidConfig, error.to_string()))?;
    }
    Ok(config)
}

/// Gives the topic the configuration that `altered` makes of its present one.
pub(super) async fn alter_topic<S: Service>(
    call: &Call<S>,
    name: &str,
    altered: impl Fn(&TopicConfig) -> Result<TopicConfig, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let service = &call.context().service;
    let cluster = service.cluster();
    let known = |catalog: &Catalog| catalog.by_name(name).is_some();
    let catalog = call.context().catalog_with(known).await;
    let found = catalog
        .by_name(name)
        .ok_or_else(|| Refusal::new(Code::UnknownTopicOrPartition, "there is no such topic"))?;
    topics::may_change(&cluster, found)?;
    let topic = Topic { config: altered(&found.config)?, ..Topic::clone(found) };
    if validate_only || topic == **found {
        return Ok(());
    }
    topics::within(PATIENCE_MS, service.declare_topic(topic)).await?;
    let peer = call.client.peer;
    tracing::info!(topic = found.name, %peer, "a client changed a topic's configuration");
    Ok(())
}

fn operation(config: &AlterableConfig) -> Result<Change<'_>, Refusal> {
    let value = config.value.as_deref().ok_or_else(|| {
        let message = format!("null value not supported for {}", &*config.name);
        Refusal::new(Code::InvalidRequest, message)
    });
    match config.config_operation {
        operation::SET => Ok(Change::Set(value?)),
        operation::DELETE => Ok(Change::Reset),
        operation::APPEND => Ok(Change::Append(value?)),
        operation::SUBTRACT => Ok(Change::Subtract(value?)),
        other => {
            let message = format!("there is no operation {other}");
            Err(Refusal::new(Code::InvalidRequest, message))
        }
    }
}

/// Brokers are configured by the policy; what could do no harm is taken, without effect.
pub(super) fn alter_broker<'a, S: Service>(
    call: &Call<S>,
    name: &str,
    mut configs: impl Iterator<Item = &'a str>,
) -> Result<(), Refusal> {
    if !name.is_empty() && name.parse() != Ok(call.context().broker()) {
        let message = format!("this is broker {}; ask {name}", call.context().broker());
        return Err(Refusal::new(Code::InvalidRequest, message));
    }
    match configs.find(|config| !broker::is_ignored(config)) {
        None => Ok(()),
        Some(config) => {
            let message = format!("`{config}` can't be set; see the policy");
            Err(Refusal::new(Code::InvalidConfig, message))
        }
    }
}
