//! The Service that names the pods, and the one that clients begin at.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Plan;
use crate::names::{self, HTTP_PORT, PEER_PORT};

pub(super) fn port(name: &str, port: u16, target: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: port.into(),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(target.to_owned())),
        ..ServicePort::default()
    }
}

/// Gives every pod a name in DNS, also while it is not ready: brokers and operator find each
/// other by it.
pub(super) fn headless(plan: &Plan<'_>) -> Service {
    let kafka = plan.spec.listeners.kafka.internal.port;
    Service {
        metadata: plan.metadata(names::headless(&plan.key.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector(&plan.key.name)),
            ports: Some(vec![
                port("kafka", kafka, "kafka"),
                port("peer", PEER_PORT, "peer"),
                port("http", HTTP_PORT, "http"),
            ]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Where clients in the cluster begin: any broker that is ready.
pub(super) fn client(plan: &Plan<'_>) -> Service {
    Service {
        metadata: plan.metadata(plan.key.name.clone()),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(names::selector(&plan.key.name)),
            ports: Some(vec![port("kafka", plan.spec.listeners.kafka.internal.port, "kafka")]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
