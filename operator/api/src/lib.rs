//! The custom resources of holdfast.dev, their schema, defaults and rules.
//!
//! One file a kind: [`policy`], [`topic`], [`queue`] and [`shard`]. The Rust types are the
//! source; [`crd`] turns them into CustomResourceDefinitions, and [`load`] holds YAML that never
//! meets an API server to the very same schema, defaults and CEL rules.
//!
//! Invariant: every rule that a schema can hold is in the schema, so that an API server and
//! `holdfast up` refuse the same things with the same words. What a cluster needs beyond one
//! object (does the policy of a topic exist?) is checked by [`load`] here and reported by the
//! operator in a condition there.

#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct, with its visibility, into a function"
)]
#![expect(
    clippy::duplicated_attributes,
    reason = "every printcolumn names its type, and many types are the same"
)]

pub mod bytes;
pub mod crd;
pub mod destination;
pub mod load;
pub mod policy;
pub mod queue;
pub mod reference;
pub mod shard;
pub mod time;
pub mod topic;

pub use bytes::ByteSize;
pub use destination::Destination;
pub use policy::{ReplicationPolicy, ReplicationPolicySpec, ReplicationPolicyStatus};
pub use queue::{Queue, QueueSpec, QueueStatus};
pub use shard::{Shard, ShardSpec, ShardStatus};
pub use time::{Duration, RetentionTime};
pub use topic::{Topic, TopicSpec, TopicStatus};

/// What the operator does with the data of a Topic or Queue whose resource is deleted.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
pub enum DeletionPolicy {
    /// Keep it; a resource declared again under the same name takes it up again.
    #[default]
    Retain,
    /// Delete it, for good.
    Delete,
}

/// API group of every kind.
pub const GROUP: &str = "holdfast.dev";
/// Version of every kind.
pub const VERSION: &str = "v1alpha1";
