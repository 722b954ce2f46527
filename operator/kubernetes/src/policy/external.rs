//! Where clients outside of the cluster find each broker, as far as Kubernetes has said.

use holdfast_api::policy::ExternalType;
use k8s_openapi::api::core::v1::Service;

use super::observe::Observed;
use crate::cluster::EXTERNAL;
use crate::names;

/// Stands for the number of the broker in an advertised host.
const BROKER: &str = "{broker}";

/// By broker; `None` while its address is not known. Empty without an external listener.
pub(super) fn addresses(observed: &Observed, brokers: u32) -> Vec<Option<(String, u16)>> {
    if observed.policy.spec.listeners.kafka.external.is_none() {
        return Vec::new();
    }
    (0..brokers)
        .map(|broker| address(observed, broker).or_else(|| told(observed, broker)))
        .collect()
}

/// What was told before: a pod that is being replaced is likely to come back where it was.
fn told(observed: &Observed, broker: u32) -> Option<(String, u16)> {
    let cluster = &observed.running.as_ref()?.cluster;
    let known = cluster.brokers.iter().find(|known| known.broker == broker)?;
    let external = known.kafka.iter().find(|listener| listener.listener == EXTERNAL)?;
    Some((external.host.clone(), u16::try_from(external.port).ok()?))
}

fn address(observed: &Observed, broker: u32) -> Option<(String, u16)> {
    let listener = observed.policy.spec.listeners.kafka.external.as_ref()?;
    let service = observed.services.get(&names::pod(&observed.key.name, broker))?;
    let (found_host, found_port) = match listener.kind {
        ExternalType::NodePort => (node(observed, broker), node_port(service)),
        ExternalType::LoadBalancer => (load_balancer(service), Some(listener.port)),
        ExternalType::ClusterIp => (None, Some(listener.port)),
    };
    let numbered = listener.advertised_host.as_ref().is_some_and(|host| host.contains(BROKER));
    let host = match &listener.advertised_host {
        Some(host) => host.replace(BROKER, &broker.to_string()),
        None => found_host?,
    };
    let port = match listener.advertised_port {
        Some(port) if numbered => port,
        Some(first) => u16::try_from(u32::from(first) + broker).ok()?,
        None => found_port?,
    };
    Some((host, port))
}

fn node(observed: &Observed, broker: u32) -> Option<String> {
    observed.pods.get(&broker)?.status.as_ref()?.host_ip.clone()
}

fn node_port(service: &Service) -> Option<u16> {
    let port = service.spec.as_ref()?.ports.as_ref()?.first()?.node_port?;
    u16::try_from(port).ok()
}

fn load_balancer(service: &Service) -> Option<String> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
    ingress.hostname.clone().or_else(|| ingress.ip.clone())
}
