//! `ListConfigResources`: what has a configuration here: topics and brokers.

use std::sync::Arc;

use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use super::describe_configs::resource;

/// Kinds that Kafka lists and of which there are none here, by its numbers.
mod none {
    pub(super) const BROKER_LOGGER: i8 = 8;
    pub(super) const CLIENT_METRICS: i8 = 16;
    pub(super) const GROUP: i8 = 32;
}

/// First version that lists more than the configurations of telemetry.
const KINDS: i16 = 1;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let mut answer = ListConfigResourcesResponse::default();
    if call.version() < KINDS {
        return answer;
    }
    let mut kinds = request.resource_types;
    if kinds.is_empty() {
        kinds = vec![resource::TOPIC, resource::BROKER];
    }
    kinds.sort_unstable();
    kinds.dedup();
    let context = call.context();
    for kind in kinds {
        match kind {
            resource::TOPIC => {
                let catalog = context.service.catalog();
                let names = catalog.topics().map(|topic| topic.name.clone());
                answer.config_resources.extend(names.map(|name| listed(kind, name)));
            }
            resource::BROKER => {
                let cluster = context.service.cluster();
                let brokers = context.endpoints(&cluster).into_iter();
                let names = brokers.map(|endpoint| endpoint.broker.to_string());
                answer.config_resources.extend(names.map(|name| listed(kind, name)));
            }
            none::BROKER_LOGGER | none::CLIENT_METRICS | none::GROUP => {}
            _ => {
                // As Kafka refuses a kind that it does not know.
                let code = Code::UnsupportedVersion.code();
                return ListConfigResourcesResponse::default().with_error_code(code);
            }
        }
    }
    answer
}

fn listed(kind: i8, name: String) -> ConfigResource {
    ConfigResource::default()
        .with_resource_type(kind)
        .with_resource_name(StrBytes::from_string(name))
}
