//! Bounds and times of the group coordinator.

/// How long a group without members waits for more to come before its first rebalance, ms; every
/// newcomer prolongs the wait by as much, up to the members' rebalance timeout. Kafka's
/// `group.initial.rebalance.delay.ms` is 3000 by default; a shorter one lets a lone consumer
/// start sooner, at the price of a second rebalance where many start more slowly than this.
pub const INITIAL_REBALANCE_DELAY_MS: u64 = 500;

/// How long a newcomer's first join may wait for the rebalance to end, ms. It has no member id
/// to send heartbeats with yet, so its session timeout can't hold (as in Kafka).
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1000;

pub use holdfast_protocol::group::{SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN};

/// The shortest wait for members in a rebalance, ms, whatever they ask for: a wait of none would
/// have a group of absent static members rebalance without pause.
pub const REBALANCE_TIMEOUT_MS_MIN: u64 = 100;

/// How often a group without members is looked at, ms: without cursors as well, it is dropped
/// (Kafka's `offsets.retention.check.interval.ms`).
pub const RETIRE_CHECK_MS: u64 = 10 * 60 * 1000;

/// The most groups of one shard; further ones are refused.
pub const GROUPS_MAX: usize = 50_000;

/// The most members of a group.
pub const GROUP_MEMBERS_MAX: usize = 2_000;

/// The most members of a group that were given an id and have not come back with it yet.
pub const PENDING_MEMBERS_MAX: usize = 2_000;

/// The longest group id, bytes.
pub const GROUP_ID_BYTES_MAX: usize = 1_024;

/// The longest instance id, bytes, as Kafka's clients have it.
pub const INSTANCE_ID_BYTES_MAX: usize = 249;

/// What is kept of a client's id and of its host, bytes; the rest is cut.
pub const CLIENT_TEXT_BYTES_MAX: usize = 256;

/// The longest protocol type or protocol name, bytes.
pub const PROTOCOL_NAME_BYTES_MAX: usize = 256;

/// The most protocols of a member.
pub const PROTOCOLS_MAX: usize = 64;

/// The most metadata of all members of a group together, bytes.
pub const GROUP_METADATA_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most assignments of all members of a group together, bytes.
pub const ASSIGNMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The longest metadata of a cursor, bytes (Kafka's `offset.metadata.max.bytes`).
pub const OFFSET_METADATA_BYTES_MAX: usize = 4_096;

/// The most of one commit, bytes as kept in the log.
pub const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Changes that may wait for the shard's log at once; requests that would make more are refused.
pub const CHANGES_IN_FLIGHT_MAX: usize = 10_000;
