//! ReplicationPolicy: a set of brokers, and how safe "sent" is on them.

mod listeners;
mod placement;
mod status;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use listeners::{ExternalListener, ExternalType, InternalListener, KafkaListeners, Listeners};
pub use placement::Placement;
pub use status::{BrokerTotals, Endpoints, LastFailover, ReplicationPolicyStatus, ShardTotals};

use crate::{ByteSize, Duration, RetentionTime};

/// Longest name of a ReplicationPolicy, characters: the names of pods and Services are made of
/// it, and those may have 63.
pub const NAME_LENGTH_MAX: usize = 40;

/// What is wanted of a set of brokers.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "ReplicationPolicy",
    doc = "A set of brokers, and how safe a message on them is once the client was told that it is sent. Topics and Queues name the ReplicationPolicy that they live on.",
    namespaced,
    shortname = "rpol",
    category = "holdfast",
    status = "ReplicationPolicyStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.brokers",
        status_replicas_path = ".status.brokers.total",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Brokers", type_ = "integer", json_path = ".spec.brokers", description = "Brokers wanted"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.brokers.ready", description = "Brokers ready"),
    printcolumn(name = "Shards", type_ = "integer", json_path = ".spec.shards", description = "Shards"),
    printcolumn(name = "Leaderless", type_ = "integer", json_path = ".status.shards.leaderless", description = "Shards that nobody leads"),
    printcolumn(name = "Under-Min-ISR", type_ = "integer", json_path = ".status.shards.underMinInSyncReplicas", description = "Shards that take no acks=all writes"),
    printcolumn(name = "Safe-To-Restart", type_ = "boolean", json_path = ".status.safeToRestart", description = "Whether one broker may be stopped without stopping anything"),
    printcolumn(name = "Flush", type_ = "string", json_path = ".spec.flush.mode", priority = 1, description = "Flush mode"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = (
        "size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be at most 40 characters of a-z, 0-9 and -, begin with a letter and not end with -, because pods and Services are named after it: choose such a name"
    )
)]
#[x_kube(
    validation = Rule::new("self.replicas <= self.brokers")
            .message("spec.replicas must not be more than spec.brokers, because each replica is on a broker of its own: lower spec.replicas or raise spec.brokers")
            .field_path(".replicas"),
    validation = Rule::new("self.minInSyncReplicas <= self.replicas")
            .message("spec.minInSyncReplicas must not be more than spec.replicas, or nothing could ever be acknowledged: lower spec.minInSyncReplicas or raise spec.replicas")
            .field_path(".minInSyncReplicas")
)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationPolicySpec {
    /// How many brokers to run, 1 to 64. This is what `kubectl scale` changes. At least as many
    /// as replicas. Replicas move to new brokers, and off those with the highest numbers before
    /// these are stopped.
    #[serde(default = "default_brokers")]
    #[schemars(range(min = 1, max = 64))]
    pub brokers: u32,

    /// How many brokers hold a copy of each message, 1 to 7.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 7))]
    pub replicas: u32,

    /// How many replicas must have a message before it is acknowledged to a client that asked
    /// for all (acks=all, a publisher confirm, SEND_OK), 1 to 7. With fewer in sync such writes
    /// are refused; with 2 of 3 replicas, one broker may be lost without losing a message or
    /// stopping a write.
    #[serde(default = "default_min_in_sync_replicas")]
    #[schemars(range(min = 1, max = 7))]
    pub min_in_sync_replicas: u32,

    /// Into how many shards the data is divided, 1 to 256. A shard is the unit of leadership
    /// and failover, so have at least four for each broker that you may ever grow to. Can't be
    /// changed.
    #[serde(default = "default_shards")]
    #[schemars(range(min = 1, max = 256))]
    #[x_kube(validation = (
        "self == oldSelf",
        "spec.shards can't be changed, because topics are laid out by it: put the old value back, or make a new ReplicationPolicy"
    ))]
    pub shards: u32,

    /// When a replica counts a message as its own.
    #[serde(default)]
    pub flush: Flush,

    /// How a broker's death is noticed, and what happens when no replica is known to be
    /// complete.
    #[serde(default)]
    pub failover: Failover,

    /// The volume of each broker.
    #[serde(default)]
    pub storage: Storage,

    /// Where clients connect.
    #[serde(default)]
    pub listeners: Listeners,

    /// What clients may declare by themselves, besides the Topics and Queues that are resources.
    #[serde(default)]
    pub client_declared: ClientDeclared,

    /// CPU and memory of each broker's container, as in any pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// On which nodes brokers run. Without it, they are spread over nodes and zones as evenly as
    /// can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,

    /// While true, the operator changes nothing about the brokers' pods and volumes. It still
    /// elects leaders, so that clients are served.
    #[serde(default)]
    pub paused: bool,
}

fn default_brokers() -> u32 {
    3
}

fn default_replicas() -> u32 {
    3
}

fn default_min_in_sync_replicas() -> u32 {
    2
}

fn default_shards() -> u32 {
    12
}

impl Default for ReplicationPolicySpec {
    fn default() -> Self {
        Self {
            brokers: default_brokers(),
            replicas: default_replicas(),
            min_in_sync_replicas: default_min_in_sync_replicas(),
            shards: default_shards(),
            flush: Flush::default(),
            failover: Failover::default(),
            storage: Storage::default(),
            listeners: Listeners::default(),
            client_declared: ClientDeclared::default(),
            resources: None,
            placement: None,
            paused: false,
        }
    }
}

impl ReplicationPolicySpec {
    /// What to do when no in-sync replica can lead: as given, or the default of the flush mode.
    #[must_use]
    pub fn unclean_election(&self) -> UncleanElection {
        self.failover.unclean_election.unwrap_or(match self.flush.mode {
            FlushMode::Sync => UncleanElection::Never,
            FlushMode::Async => UncleanElection::AllReported,
        })
    }
}

/// When a replica counts a message as its own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Flush {
    /// Sync: a replica has a message when it is on its disk, so that even a power cut of
    /// all brokers loses nothing that was acknowledged. Async: when the kernel has it, flushed
    /// at the interval; faster, and safe as long as min in-sync replicas don't lose power
    /// together.
    #[serde(default)]
    pub mode: FlushMode,

    /// How often the disk is flushed in Async mode, 1ms to 1m; without effect in Sync mode.
    #[serde(default = "default_interval")]
    #[x_kube(validation = (
        "!self.endsWith('d') && duration(self) >= duration('1ms') && duration(self) <= duration('1m')",
        "spec.flush.interval must be from 1ms to 1m: choose a time in between, such as 100ms"
    ))]
    pub interval: Duration,
}

fn default_interval() -> Duration {
    Duration::from_millis(100)
}

impl Default for Flush {
    fn default() -> Self {
        Self { mode: FlushMode::default(), interval: default_interval() }
    }
}

/// When a replica counts a message as its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FlushMode {
    /// When it is durable.
    #[default]
    Sync,
    /// When it is written; flushed at the policy's interval.
    Async,
}

/// How a broker's death is noticed, and what happens when no replica is known to be complete.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// How long a broker may be silent before its shards get other leaders, 500ms to 10m. A
    /// killed process or a refused connection is acted on at once, without waiting for this.
    #[serde(default = "default_detection_time")]
    #[x_kube(validation = (
        "!self.endsWith('d') && duration(self) >= duration('500ms') && duration(self) <= duration('10m')",
        "spec.failover.detectionTimeout must be from 500ms to 10m: choose a time in between, such as 3s"
    ))]
    pub detection_timeout: Duration,

    /// What to do when no in-sync replica can lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean_election: Option<UncleanElection>,
}

fn default_detection_time() -> Duration {
    Duration::from_secs(3)
}

impl Default for Failover {
    fn default() -> Self {
        Self { detection_timeout: default_detection_time(), unclean_election: None }
    }
}

/// What to do when no in-sync replica can lead. Never: the shard waits for a person, and
/// nothing acknowledged is lost. AllReported: wait until every in-sync replica has said
/// what it still has, and take the most complete; a loss is possible and is reported. The
/// default is Never in Sync mode and AllReported in Async mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UncleanElection {
    /// Wait for a person.
    Never,
    /// Wait until every member has reported what it holds, then take the most complete.
    AllReported,
}

/// The volume of each broker.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// How large the volume of each broker is, such as 10Gi. May grow where the storage class
    /// allows it; never shrinks.
    #[serde(default = "default_size")]
    #[x_kube(validation = (
        "quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",
        "spec.storage.size can't shrink, because volumes can't: put the old value back, or a larger one"
    ))]
    pub size: ByteSize,

    /// Name of the StorageClass; the cluster's default without it. Can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self == oldSelf",
        "spec.storage.class can't be changed, because volumes can't move: put the old value back, or make a new ReplicationPolicy"
    ))]
    pub class: Option<String>,

    /// What becomes of the volumes when brokers are removed or the ReplicationPolicy is deleted.
    /// Retain keeps them; Delete deletes them, with everything on them.
    #[serde(default)]
    pub reclaim: Reclaim,
}

fn default_size() -> ByteSize {
    ByteSize::gib(10)
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: default_size(), class: None, reclaim: Reclaim::default() }
    }
}

/// What becomes of a volume that is no longer used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Reclaim {
    /// It is kept.
    #[default]
    Retain,
    /// It is deleted.
    Delete,
}

/// What clients may declare by themselves.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientDeclared {
    /// Whether clients may make and delete topics. Deny: only Topic resources count.
    /// Create: by asking for it (CreateTopics, an exchange that is declared). AutoCreate: also
    /// by merely using a name that isn't there, as Kafka's auto.create.topics.enable does.
    #[serde(default)]
    pub topics: ClientTopics,

    /// Whether clients may declare and delete queues: Deny or Create.
    #[serde(default)]
    pub queues: ClientQueues,

    /// Partitions of a topic whose client gave no number, 1 to 1024.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 1024))]
    pub partitions: u32,

    /// How long a topic keeps messages whose client did not say, such as 7d, or Unlimited.
    #[serde(default)]
    pub retention: RetentionTime,

    /// How many topics clients may make, 0 to 100000.
    #[serde(default = "default_max_topics")]
    #[schemars(range(max = 100_000))]
    pub max_topics: u32,

    /// How many durable queues clients may declare, 0 to 100000.
    #[serde(default = "default_max_queues")]
    #[schemars(range(max = 100_000))]
    pub max_queues: u32,
}

fn default_partitions() -> u32 {
    1
}

fn default_max_topics() -> u32 {
    1000
}

fn default_max_queues() -> u32 {
    10_000
}

impl Default for ClientDeclared {
    fn default() -> Self {
        Self {
            topics: ClientTopics::default(),
            queues: ClientQueues::default(),
            partitions: default_partitions(),
            retention: RetentionTime::default(),
            max_topics: default_max_topics(),
            max_queues: default_max_queues(),
        }
    }
}

/// Whether clients may make topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientTopics {
    /// They may not.
    Deny,
    /// By asking for it.
    #[default]
    Create,
    /// Also by using a name that isn't there.
    AutoCreate,
}

/// Whether clients may declare queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientQueues {
    /// They may not.
    Deny,
    /// They may.
    #[default]
    Create,
}
