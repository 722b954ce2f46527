//! What is observed of a queue.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What is observed of a queue.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// The generation of the resource that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, and what stands in its way; each with the generation that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The shard that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,

    /// Broker that leads it; none where nobody can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u32>,

    /// Brokers whose replicas are in sync.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub isr: Vec<u32>,

    /// How many messages are in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<QueueDepth>,

    /// Consumers connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<u32>,
}

/// How many messages are in a queue, by what they wait for.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct QueueDepth {
    /// For a consumer.
    pub ready: u64,
    /// For a consumer to settle them.
    pub unacked: u64,
    /// For their time to come.
    pub delayed: u64,
    /// For a person: given up, and set aside in this queue.
    pub dead_lettered: u64,
}
