//! The objects as YAML, to be read.

use holdfast_api::{ReplicationPolicy, ReplicationPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;

use super::{Objects, Plan, Storage, objects, owner};
use crate::names::Key;
use crate::settings::{Pull, PullPolicy};

fn build(spec: serde_json::Value, tls: Option<&str>, pull: &Pull) -> Objects {
    let spec: ReplicationPolicySpec = serde_json::from_value(spec).unwrap();
    let mut policy = ReplicationPolicy::new("orders", spec);
    policy.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    let owner: OwnerReference = owner(&policy);
    objects(&Plan {
        key: &Key::new("shop", "orders"),
        spec: &policy.spec,
        owner,
        brokers: policy.spec.brokers,
        image: "registry.example.com/holdfast:1",
        pull,
        tls_secret: tls,
        storage: Storage::wanted(&policy.spec),
    })
}

#[test]
fn three_brokers() {
    let built = build(json!({}), None, &Pull::default());
    insta::assert_yaml_snapshot!("stateful_set", built.stateful_set);
    insta::assert_yaml_snapshot!("services", built.services);
    insta::assert_yaml_snapshot!("network", built.network);
    insta::assert_yaml_snapshot!("disruption", built.disruption);
}

#[test]
fn one_broker_has_no_budget() {
    let spec = json!({"brokers": 1, "replicas": 1, "minInSyncReplicas": 1});
    let built = build(spec, None, &Pull::default());
    assert_eq!(built.disruption, None);
    assert_eq!(built.services.len(), 2);
}

#[test]
fn everything_that_a_policy_may_ask_for() {
    let built = build(
        json!({
            "brokers": 3,
            "storage": {"size": "20Gi", "class": "fast", "reclaim": "Delete"},
            "listeners": {"kafka": {
                "internal": {"port": 9192},
                "external": {"type": "NodePort", "nodePort": 31000, "annotations": {"a": "b"}},
            }},
            "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}},
            "placement": {
                "nodeSelector": {"disk": "nvme"},
                "tolerations": [{"key": "queue", "operator": "Exists"}],
                "priorityClassName": "high",
                "topologySpreadConstraints": [{
                    "maxSkew": 2,
                    "topologyKey": "rack",
                    "whenUnsatisfiable": "DoNotSchedule",
                }],
            },
        }),
        Some("orders-tls"),
        &Pull {
            policy: Some(PullPolicy::Always),
            secrets: ["registry", "mirror", "registry"].map(|name| name.parse().unwrap()).into(),
        },
    );
    insta::assert_yaml_snapshot!("everything_stateful_set", built.stateful_set);
    insta::assert_yaml_snapshot!("everything_external", built.services[3]);
}
