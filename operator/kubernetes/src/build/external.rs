//! A Service for every broker, for clients outside of the cluster.

use holdfast_api::policy::{ExternalListener, ExternalType};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::Plan;
use super::services::port;
use crate::names::{self, POD_NAME_LABEL};

pub(super) fn services(plan: &Plan<'_>) -> Vec<Service> {
    let Some(listener) = &plan.spec.listeners.kafka.external else {
        return Vec::new();
    };
    (0..plan.brokers).map(|broker| service(plan, listener, broker)).collect()
}

fn service(plan: &Plan<'_>, listener: &ExternalListener, broker: u32) -> Service {
    let name = names::pod(&plan.key.name, broker);
    let mut metadata = plan.metadata(name.clone());
    if !listener.annotations.is_empty() {
        metadata.annotations = Some(listener.annotations.clone());
    }
    let mut external = port("external", listener.port, "external");
    external.node_port = listener
        .node_port
        .filter(|_| listener.kind == ExternalType::NodePort)
        .and_then(|first| i32::try_from(u32::from(first) + broker).ok());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(word(listener.kind).to_owned()),
            // A client that was sent to this broker should get it as soon as it listens.
            publish_not_ready_addresses: Some(true),
            selector: Some([(POD_NAME_LABEL.to_owned(), name)].into()),
            ports: Some(vec![external]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn word(kind: ExternalType) -> &'static str {
    match kind {
        ExternalType::NodePort => "NodePort",
        ExternalType::LoadBalancer => "LoadBalancer",
        ExternalType::ClusterIp => "ClusterIP",
    }
}
