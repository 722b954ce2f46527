//! What is wanted of the cluster, and time as the core knows it.

use holdfast_protocol::{FlushMode, UncleanElection};

/// A moment, ms since any fixed origin. The shell reads a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Milliseconds from `earlier` to here; 0 where it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The part of a ReplicationPolicy that elections follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How many brokers there are, with ids from 0.
    pub brokers: u32,
    /// How many of them stay: replicas move off those with an id from here on. At most `brokers`.
    pub staying: u32,
    /// How many of those hold each shard; at most `staying`.
    pub replicas: u32,
    /// Fewest in-sync replicas under which anything is committed; at most `replicas`.
    pub min_in_sync_replicas: u32,
    /// How many shards there are; never changes.
    pub shards: u32,
    /// When a replica counts an entry as its own.
    pub flush: FlushMode,
    /// Silence after which a broker is dead, ms.
    pub detection_timeout_ms: u64,
    /// For how long a broker must have been there before it leads again what it is preferred for,
    /// ms: one that crashes over and over should not take leaderships with it each time.
    pub move_back_after_ms: u64,
    /// What to do when no in-sync replica can lead.
    pub unclean_election: UncleanElection,
}
