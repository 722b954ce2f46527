//! Topic: a named, partitioned stream of messages with retention.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteSize, DeletionPolicy, Destination, RetentionTime};

/// Longest name of a topic, characters, as in Kafka.
pub const NAME_LENGTH_MAX: usize = 249;

/// What is wanted of a topic.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "Topic",
    doc = "A named, partitioned stream of messages, kept for a time. Kafka clients know it as a topic, AMQP clients as an exchange.",
    namespaced,
    shortname = "tp",
    category = "holdfast",
    status = "TopicStatus",
    derive = "PartialEq",
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy", description = "ReplicationPolicy"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".spec.partitions", description = "Partitions wanted"),
    printcolumn(name = "Retention", type_ = "string", json_path = ".spec.retention.time", description = "How long messages are kept"),
    printcolumn(name = "Cleanup", type_ = "string", json_path = ".spec.cleanup", priority = 1, description = "How old messages go"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.bytes", description = "Bytes held by one replica"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether clients can use it"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = (
        "has(self.spec.name) || size(self.metadata.name) <= 249",
        "metadata.name is longer than the 249 characters that a topic's name may have: set spec.name"
    )
)]
#[x_kube(
    validation = Rule::new("has(self.name) == has(oldSelf.name) && (!has(self.name) || self.name == oldSelf.name)")
            .message("spec.name can't be changed, because clients know the topic by it: put it back as it was, or make a new Topic")
            .field_path(".name"),
    validation = Rule::new("!has(self.alternate) || !has(self.alternate.topic) || !has(self.name) || self.alternate.topic != self.name")
            .message("spec.alternate.topic must not be the topic itself: name another topic, or a queue")
            .field_path(".alternate.topic")
)]
#[serde(rename_all = "camelCase")]
pub struct TopicSpec {
    /// Name of the ReplicationPolicy, in the same namespace, whose brokers hold the topic. Can't
    /// be changed.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = (
        "self == oldSelf",
        "spec.policy can't be changed, because the messages are on its brokers: put the old name back, or make a new Topic"
    ))]
    pub policy: String,

    /// Name by which clients know the topic: 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'. The
    /// name of the resource without it. Can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    #[x_kube(validation = (
        "!(self in ['.', '..'])",
        "spec.name must not be '.' or '..', which Kafka clients refuse: choose another name"
    ))]
    #[x_kube(validation = (
        "!(self in ['__consumer_offsets', '__transaction_state'])",
        "spec.name must not be __consumer_offsets or __transaction_state, which clients take for Kafka's own: choose another name"
    ))]
    pub name: Option<String>,

    /// How many partitions, 1 to 1024. Order holds within a partition, and a consumer group
    /// shares them out among its members. May grow, never shrink; when it grows, keys move.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 1024))]
    #[x_kube(validation = (
        "self >= oldSelf",
        "spec.partitions can only grow, because messages are in them: put the old number back, or a larger one"
    ))]
    pub partitions: u32,

    /// How long and how much is kept.
    #[serde(default)]
    pub retention: Retention,

    /// How old messages go. Delete: when they are past the retention. Compact, when a newer
    /// message has the same key, is refused for now, because compaction is not built yet.
    #[serde(default)]
    #[x_kube(validation = (
        "self != 'Compact'",
        "spec.cleanup must not be Compact, because compaction is not built yet: use Delete"
    ))]
    pub cleanup: Cleanup,

    /// Largest message, or compressed batch of messages, that a client may send, bytes, 1024 to
    /// 104857600 (100 MiB).
    #[serde(default = "default_max_message_bytes")]
    #[schemars(range(min = 1024, max = 104_857_600))]
    pub max_message_bytes: u32,

    /// Where messages go that AMQP clients publish to this topic and that no binding takes.
    /// Without it they are only kept in the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternate: Option<Destination>,

    /// What becomes of the messages when this resource is deleted. Retain keeps them; Delete
    /// deletes them.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn default_partitions() -> u32 {
    1
}

/// Kafka's default for message.max.bytes.
fn default_max_message_bytes() -> u32 {
    1_048_588
}

impl Topic {
    /// The name by which clients know the topic.
    #[must_use]
    pub fn topic_name(&self) -> String {
        self.spec.name.clone().unwrap_or_else(|| self.name_any())
    }
}

/// How long and how much a topic keeps. What is past either goes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// How long messages are kept, such as 7d or 12h, at least 1s; or Unlimited.
    #[serde(default)]
    #[x_kube(validation = (
        "self == 'Unlimited' || (self.endsWith('d') ? !self.matches('^0+d$') : duration(self) >= duration('1s'))",
        "spec.retention.time must be at least 1s: choose a longer time, such as 7d, or Unlimited"
    ))]
    pub time: RetentionTime,

    /// How many bytes are kept in each partition, such as 10Gi. Without it, as many as the time
    /// allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<ByteSize>,
}

/// How old messages go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Cleanup {
    /// When they are past the retention.
    #[default]
    Delete,
    /// When a newer message has the same key.
    Compact,
}

/// What is observed of a topic.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The generation of the resource that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, and what stands in its way; each with the generation that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// How each partition is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub partitions: Vec<PartitionStatus>,

    /// Bytes that one replica of the topic takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,

    /// By consumer group, how many messages it has still to read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lag: BTreeMap<String, u64>,
}

/// How a partition is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// The partition, from 0.
    pub partition: u32,
    /// The shard that it is in.
    pub shard: u32,
    /// Broker that leads it; none where nobody can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u32>,
    /// Epoch of that leader.
    pub epoch: u32,
    /// Brokers whose replicas are in sync.
    #[schemars(length(max = 16))]
    pub isr: Vec<u32>,
    /// Offset of the oldest message kept.
    pub start_offset: u64,
    /// Offset that the next message takes.
    pub end_offset: u64,
}
