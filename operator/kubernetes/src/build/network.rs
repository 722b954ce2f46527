//! Who may reach a broker: clients its Kafka listeners, whoever collects metrics its HTTP port, and
//! its internal port only brokers of the same policy and operators. They also have to prove who
//! they are; this keeps others from even asking, where the cluster's network enforces it.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Plan;
use crate::names;

pub(super) fn policy(plan: &Plan<'_>) -> NetworkPolicy {
    let port = |name: &str| NetworkPolicyPort {
        port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    let mut open = vec![port("kafka"), port("http")];
    if plan.spec.listeners.kafka.external.is_some() {
        open.push(port("external"));
    }
    let select = |labels| LabelSelector { match_labels: Some(labels), match_expressions: None };
    let brokers = NetworkPolicyPeer {
        pod_selector: Some(select(names::selector(&plan.key.name))),
        ..NetworkPolicyPeer::default()
    };
    // The chart names its operators otherwise where one asks it to; what they are stays.
    let operator = ("app.kubernetes.io/component".to_owned(), "operator".to_owned());
    let operators = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(select([operator].into())),
        ip_block: None,
    };
    NetworkPolicy {
        metadata: plan.metadata(plan.key.name.clone()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(select(names::selector(&plan.key.name))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule { ports: Some(open), from: None },
                NetworkPolicyIngressRule {
                    ports: Some(vec![port("peer")]),
                    from: Some(vec![brokers, operators]),
                },
            ]),
            egress: None,
        }),
    }
}
