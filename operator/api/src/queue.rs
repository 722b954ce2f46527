//! Queue: messages that are each delivered to one consumer, and gone when it has settled them.

mod status;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use status::{QueueDepth, QueueStatus};

use crate::{ByteSize, DeletionPolicy, Destination, Duration};

/// What is wanted of a queue.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "Queue",
    doc = "Messages that are each delivered to one consumer, again until one has settled them, and then gone. AMQP clients know it as a queue.",
    namespaced,
    shortname = "qu",
    category = "holdfast",
    status = "QueueStatus",
    derive = "PartialEq",
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy", description = "ReplicationPolicy"),
    printcolumn(name = "Ready-Messages", type_ = "integer", json_path = ".status.depth.ready", description = "Messages waiting for a consumer"),
    printcolumn(name = "Unacked", type_ = "integer", json_path = ".status.depth.unacked", description = "Messages delivered and not settled"),
    printcolumn(name = "Dead-Lettered", type_ = "integer", json_path = ".status.depth.deadLettered", description = "Messages given up"),
    printcolumn(name = "Consumers", type_ = "integer", json_path = ".status.consumers", description = "Consumers connected"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether clients can use it"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("!has(self.spec.deadLetter) || !has(self.spec.deadLetter.queue) || self.spec.deadLetter.queue != (has(self.spec.name) ? self.spec.name : self.metadata.name)")
            .message("spec.deadLetter.queue must not be the queue itself, or its messages would go round for ever: name another queue, or a topic")
            .field_path(".spec.deadLetter.queue")
)]
#[x_kube(
    validation = Rule::new("has(self.name) == has(oldSelf.name) && (!has(self.name) || self.name == oldSelf.name)")
            .message("spec.name can't be changed, because clients know the queue by it: put it back as it was, or make a new Queue")
            .field_path(".name"),
    validation = Rule::new("self.ordering != 'Fifo' || self.priorities == 1")
            .message("spec.priorities must be 1 with spec.ordering Fifo, because a message can't overtake in a queue that keeps order: set it to 1, or set spec.ordering to None")
            .field_path(".priorities"),
    validation = Rule::new("self.overflow != 'DropHead' || has(self.maxLength)")
            .message("spec.overflow DropHead does nothing without spec.maxLength: set spec.maxLength, or spec.overflow to Reject")
            .field_path(".overflow")
)]
#[serde(rename_all = "camelCase")]
pub struct QueueSpec {
    /// Name of the ReplicationPolicy, in the same namespace, whose brokers hold the queue. Can't
    /// be changed.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = (
        "self == oldSelf",
        "spec.policy can't be changed, because the messages are on its brokers: put the old name back, or make a new Queue"
    ))]
    pub policy: String,

    /// Name by which clients know the queue: 1 to 255 printable ASCII characters, no blanks. The
    /// name of the resource without it. Can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[!-~]+$"))]
    #[x_kube(validation = (
        "!self.startsWith('amq.')",
        "spec.name must not begin with amq., which AMQP keeps for brokers: choose another name"
    ))]
    pub name: Option<String>,

    /// Topics whose messages the queue gets, besides those that are published to it by name. At
    /// most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub bindings: Vec<Binding>,

    /// How long a consumer may take over a message before it is delivered again, 1s to 30d.
    #[serde(default = "default_ack_timeout")]
    #[x_kube(validation = (
        "self.endsWith('d') ? self.matches('^0*([1-9]|[12][0-9]|30)d$') : duration(self) >= duration('1s') && duration(self) <= duration('720h')",
        "spec.ackTimeout must be from 1s to 30d: choose a time in between, such as 30m"
    ))]
    pub ack_timeout: Duration,

    /// How often a message is delivered before it is given up, 1 to 1000.
    #[serde(default = "default_max_deliveries")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_deliveries: u32,

    /// How long a message that was refused, or not acknowledged in time, waits before it is
    /// delivered again.
    #[serde(default)]
    pub redelivery: Redelivery,

    /// Where messages go that are given up: past maxDeliveries, rejected without requeue, or
    /// past their messageTTL. Without it they stay in the queue, set aside and counted, until a
    /// person takes them up again or drops them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Destination>,

    /// None: as consumers are free. Fifo: the messages of one message group in order, one at a
    /// time. Can't be changed.
    #[serde(default)]
    #[x_kube(validation = (
        "self == oldSelf",
        "spec.ordering can't be changed, because messages are already laid out by it: put the old value back, or make a new Queue"
    ))]
    pub ordering: Ordering,

    /// How many levels of priority there are, 1 to 32; 1 is none. Can't be changed.
    #[serde(default = "default_priorities")]
    #[schemars(range(min = 1, max = 32))]
    #[x_kube(validation = (
        "self == oldSelf",
        "spec.priorities can't be changed, because messages are already laid out by it: put the old value back, or make a new Queue"
    ))]
    pub priorities: u32,

    /// How much may wait in the queue. Without it, as much as the disks hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<MaxLength>,

    /// What happens when maxLength is reached. Reject: publishers are refused. DropHead: the
    /// oldest messages are given up.
    #[serde(default)]
    pub overflow: Overflow,

    /// How long a message may wait before it is given up, such as 1h, at least 1ms. Without it,
    /// for ever, unless the publisher said otherwise.
    #[serde(default, rename = "messageTTL", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "self.endsWith('d') ? !self.matches('^0+d$') : duration(self) >= duration('1ms')",
        "spec.messageTTL must be at least 1ms: choose a longer time, or remove it to keep messages for ever"
    ))]
    pub message_ttl: Option<Duration>,

    /// Whether only one consumer gets messages, and another only when that one is gone.
    #[serde(default)]
    pub single_active_consumer: bool,

    /// What becomes of the messages when this resource is deleted. Retain keeps them; Delete
    /// deletes them.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// RabbitMQ's default.
fn default_ack_timeout() -> Duration {
    Duration::from_secs(30 * 60)
}

/// The default of RabbitMQ's quorum queues.
fn default_max_deliveries() -> u32 {
    20
}

fn default_priorities() -> u32 {
    1
}

impl Queue {
    /// The name by which clients know the queue.
    #[must_use]
    pub fn queue_name(&self) -> String {
        self.spec.name.clone().unwrap_or_else(|| self.name_any())
    }
}

/// A topic whose messages the queue gets.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Name of the topic, as clients know it.
    #[schemars(length(min = 1, max = 249))]
    pub topic: String,

    /// Which of its messages. All of them without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
}

/// Which messages of a topic a queue gets: those that pass every test given.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(validation = (
    "has(self.routingKey) || has(self.tags) || has(self.headers)",
    "filter must have a routingKey, tags or headers: add one, or remove the filter to get every message"
))]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// AMQP routing key; `*` stands for one word between dots, `#` for any number of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub routing_key: Option<String>,

    /// RocketMQ tags, any of which will do. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    pub tags: Vec<String>,

    /// Headers that a message must have, with their values as text. At most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "minProperties" = 1))]
    pub headers: BTreeMap<String, String>,

    /// Whether All the headers must match, or Any will do.
    #[serde(default)]
    pub headers_match: HeadersMatch,
}

/// How many of a filter's headers must match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HeadersMatch {
    /// All of them.
    #[default]
    All,
    /// One will do.
    Any,
}

/// How long a message waits before it is delivered again.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("self.initialDelay.endsWith('d') || self.maxDelay.endsWith('d') || duration(self.initialDelay) <= duration(self.maxDelay)")
            .message("spec.redelivery.maxDelay must not be shorter than spec.redelivery.initialDelay: raise it, or lower spec.redelivery.initialDelay")
            .field_path(".maxDelay"))]
#[serde(rename_all = "camelCase")]
pub struct Redelivery {
    /// How long before the second delivery, 0s to 24h; 0s is at once.
    #[serde(default)]
    #[x_kube(validation = (
        "!self.endsWith('d')",
        "spec.redelivery.initialDelay must be written without days: write hours or less, such as 24h or 1s"
    ))]
    pub initial_delay: Duration,

    /// How long at most, 0s to 24h.
    #[serde(default = "default_max_delay")]
    #[x_kube(validation = (
        "!self.endsWith('d') && duration(self) <= duration('24h')",
        "spec.redelivery.maxDelay must be from 0s to 24h, written without d: choose a time in between, such as 5m"
    ))]
    pub max_delay: Duration,

    /// By what the wait is multiplied after each delivery, 1 to 10.
    #[serde(default = "default_multiplier")]
    #[schemars(range(min = 1, max = 10))]
    pub multiplier: u32,
}

fn default_max_delay() -> Duration {
    Duration::from_secs(5 * 60)
}

fn default_multiplier() -> u32 {
    2
}

impl Default for Redelivery {
    fn default() -> Self {
        Self {
            initial_delay: Duration::default(),
            max_delay: default_max_delay(),
            multiplier: default_multiplier(),
        }
    }
}

/// In what order messages are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ordering {
    /// As consumers are free.
    #[default]
    None,
    /// Those of one message group in order, one at a time.
    Fifo,
}

/// How much may wait in a queue; whichever is reached first counts.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(validation = (
    "has(self.messages) || has(self.bytes)",
    "spec.maxLength must have messages or bytes: add one, or remove maxLength"
))]
#[serde(rename_all = "camelCase")]
pub struct MaxLength {
    /// How many messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub messages: Option<u64>,

    /// How many bytes, such as 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<ByteSize>,
}

/// What happens when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Overflow {
    /// Publishers are refused.
    #[default]
    Reject,
    /// The oldest messages are given up.
    DropHead,
}
