//! Shard: the consensus record of one shard. Read by people, written by the operator alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::policy::FlushMode;

/// The consensus record of a shard.
///
/// It is the spec and not the status, as a Lease keeps its holder in its spec: it is the only
/// copy, and a write of it is a decision.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "Shard",
    doc = "The consensus record of one shard of a ReplicationPolicy: who leads it, in which epoch, and whose replicas are in sync. Written by the operator alone; to edit it by hand can lose messages.",
    namespaced,
    shortname = "hfsh",
    category = "holdfast",
    status = "ShardStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Policy",
        type_ = "string",
        json_path = ".spec.policy",
        description = "ReplicationPolicy"
    ),
    printcolumn(
        name = "Shard",
        type_ = "integer",
        json_path = ".spec.shard",
        description = "Number of the shard"
    ),
    printcolumn(
        name = "Leader",
        type_ = "integer",
        json_path = ".spec.leader.broker",
        description = "Broker that leads"
    ),
    printcolumn(
        name = "Epoch",
        type_ = "integer",
        json_path = ".spec.epoch",
        description = "Epoch of the leader"
    ),
    printcolumn(
        name = "ISR",
        type_ = "string",
        json_path = ".status.inSync",
        description = "Brokers in sync"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "string",
        json_path = ".spec.replicas",
        priority = 1,
        description = "Brokers with a replica"
    ),
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.state",
        description = "How it is"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self.generation > oldSelf.generation || (self.generation == oldSelf.generation && self.revision >= oldSelf.revision)")
            .message("spec.generation and spec.revision must not go back: write with the next revision of the record that was read")
            .field_path(".revision"),
    validation = Rule::new("self.epoch >= oldSelf.epoch")
            .message("spec.epoch must not go back: write an epoch at least as high as the recorded one")
            .field_path(".epoch"),
    validation = Rule::new("!has(self.leader) || self.epoch > oldSelf.epoch || self.generation > oldSelf.generation || (has(oldSelf.leader) && self.leader == oldSelf.leader)")
            .message("spec.leader may only change together with spec.epoch, so that an epoch has one leader: raise spec.epoch by one")
            .field_path(".leader"),
    validation = Rule::new("!has(self.leader) || self.isr.exists(member, member.broker == self.leader.broker && member.incarnation == self.leader.incarnation)")
            .message("spec.leader must be in spec.isr, with the same incarnation: elect a member, or add it to spec.isr in the same write")
            .field_path(".leader"),
    validation = Rule::new("self.isr.all(member, member.broker in self.replicas)")
            .message("spec.isr must only name brokers of spec.replicas: remove the others from it")
            .field_path(".isr"),
    validation = Rule::new("self.isr.all(member, self.isr.exists_one(other, other.broker == member.broker))")
            .message("spec.isr must name a broker only once: remove the stale incarnation")
            .field_path(".isr")
)]
#[serde(rename_all = "camelCase")]
pub struct ShardSpec {
    /// Name of the ReplicationPolicy, in the same namespace.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = (
        "self == oldSelf",
        "spec.policy can't be changed, because a shard is of one policy: put the old name back"
    ))]
    pub policy: String,

    /// Number of the shard, from 0. Shard 0 also holds the catalog of topics and queues.
    #[schemars(range(max = 255))]
    #[x_kube(validation = (
        "self == oldSelf",
        "spec.shard can't be changed, because its log is under that number: put the old number back"
    ))]
    pub shard: u32,

    /// Grows by one when records are adopted again after etcd was restored from a backup.
    #[schemars(range(max = 2_147_483_647))]
    pub generation: u32,

    /// Grows by one with every write of this record. Brokers ignore a record that is older than
    /// the newest they have seen.
    #[schemars(range(max = 9_007_199_254_740_991_i64))]
    pub revision: u64,

    /// Drawn by the operator that wrote this record. After etcd was restored from a backup,
    /// revisions are given out again, to another writer. 0 where an older release wrote it.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 9_007_199_254_740_991_i64))]
    pub writer: u64,

    /// The records that this one follows, itself included, as runs of one writer, oldest first. A
    /// broker takes only what follows the newest record that it has taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub ancestors: Vec<Run>,

    /// Branches of the record that were left after etcd was restored from a backup: nothing was
    /// acknowledged under them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub left: Vec<Left>,

    /// Epoch of the leader; grows with every election, to the next number whose remainder by 64 is
    /// the leader's. 0: there was none yet.
    #[schemars(range(max = 2_147_483_647))]
    pub epoch: u32,

    /// Epoch of the newest unclean election, after which acknowledged messages may be missing;
    /// absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub unclean_epoch: Option<u32>,

    /// What that election may have lost, as positions of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possible_loss: Option<PossibleLoss>,

    /// Who leads; absent while nobody can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Member>,

    /// The in-sync replicas: every one of them has everything that was acknowledged.
    #[schemars(length(max = 16))]
    pub isr: Vec<Member>,

    /// Brokers that hold a replica, or are to.
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub replicas: Vec<u32>,

    /// How many in-sync replicas an acknowledgement needs.
    #[schemars(range(min = 1, max = 7))]
    pub min_in_sync_replicas: u32,

    /// When a replica counts a message as its own.
    pub flush: FlushMode,

    /// The newest start of each broker, by its number, so that a volume that was put back to an
    /// older state is noticed. Only in shard 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["broker"]))]
    pub starts: Vec<Start>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Successive records of one writer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The generation of all of them.
    #[schemars(range(max = 2_147_483_647))]
    pub generation: u32,

    /// The revision of the oldest.
    #[schemars(range(max = 9_007_199_254_740_991_i64))]
    pub from: u64,

    /// The revision of the newest.
    #[schemars(range(max = 9_007_199_254_740_991_i64))]
    pub to: u64,

    /// Who wrote them; 0 where an older release did.
    #[schemars(range(max = 9_007_199_254_740_991_i64))]
    pub writer: u64,
}

/// A branch of the record that was left.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// The generation of its first record.
    #[schemars(range(max = 2_147_483_647))]
    pub generation: u32,

    /// The revision of its first record.
    #[schemars(range(max = 9_007_199_254_740_991_i64))]
    pub revision: u64,

    /// Who wrote its first record; 0 where an older release did.
    #[schemars(range(max = 9_007_199_254_740_991_i64))]
    pub writer: u64,

    /// The generation that began in its place.
    #[schemars(range(max = 2_147_483_647))]
    pub by: u32,
}

/// Positions that an unclean election may have lost.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PossibleLoss {
    /// The end of the elected log: nothing before it is lost.
    #[schemars(range(max = 9_007_199_254_740_991_i64))]
    pub from: u64,

    /// One past the last position that was known to be committed; what was committed after that
    /// was told may be lost too. Equal to from where nothing is known to be lost.
    #[schemars(range(max = 9_007_199_254_740_991_i64))]
    pub to: u64,
}

/// A start of a broker on its volume.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// The broker.
    #[schemars(range(max = 1_048_576))]
    pub broker: u32,

    /// How often its volume had been opened.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub counter: u64,

    /// A number that was drawn at the start.
    #[schemars(range(max = 9_007_199_254_740_991_i64))]
    pub process: u64,
}

/// A replica named together with the incarnation of its log.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The broker that holds the replica.
    #[schemars(range(max = 1_048_576))]
    pub broker: u32,

    /// The log that is meant, a UUID; another log under the same broker does not count.
    #[schemars(
        length(min = 36, max = 36),
        regex(pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    )]
    pub incarnation: String,
}

/// A summary for `kubectl get shards`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// The generation of the resource that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What is wrong with the shard, if anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// Healthy, UnderReplicated, UnderMinInSyncReplicas, Electing, Leaderless or Frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,

    /// The brokers in sync, comma-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_sync: Option<String>,

    /// One past the last position that is committed, as the leader last said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<u64>,
}
