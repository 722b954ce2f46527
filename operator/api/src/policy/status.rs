//! What is observed of a ReplicationPolicy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What is observed of a ReplicationPolicy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationPolicyStatus {
    /// The generation of the resource that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, and what stands in its way; each with the generation that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// Label selector of the brokers' pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// How the brokers are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokers: Option<BrokerTotals>,

    /// How the shards are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardTotals>,

    /// Where clients connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,

    /// The latest change of a shard's leader that was not planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failover: Option<LastFailover>,

    /// Whether any one broker may be stopped now without losing or stopping anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe_to_restart: Option<bool>,
}

/// How the brokers of a policy are.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BrokerTotals {
    /// Brokers that exist.
    pub total: u32,
    /// Brokers that serve clients.
    pub ready: u32,
    /// Restarts of the brokers' containers, of all pods that are there.
    pub restarts: u64,
}

/// How the shards of a policy are.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ShardTotals {
    /// Shards in all.
    pub total: u32,
    /// Shards that nobody leads: they serve nothing.
    pub leaderless: u32,
    /// Shards with a replica that is not in sync.
    pub under_replicated: u32,
    /// Shards with fewer in-sync replicas than minInSyncReplicas: they refuse acks=all writes.
    pub under_min_in_sync_replicas: u32,
}

/// Where clients of each protocol connect: comma-separated `host:port`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Bootstrap servers for Kafka clients in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<String>,
    /// Bootstrap servers for Kafka clients outside of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_external: Option<String>,
}

/// A change of a shard's leader that was not planned.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LastFailover {
    /// When the last of the new leaders served.
    pub time: Time,
    /// Broker that led before.
    pub from: u32,
    /// Broker that leads since, or the first of several; none where nobody could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    /// Why, such as `connection refused`, `silent` or `process gone`.
    pub reason: String,
    /// From when the loss was noticed until the last of the new leaders served, ms.
    pub duration_ms: u64,
}
