//! The cluster as clients must be told of it.

use holdfast_protocol::{BrokerId, Epoch, ShardId, Version};

/// Where one broker is reached by clients of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerAddress {
    /// The broker.
    pub broker: BrokerId,
    /// Name of the listener, as in the policy; a door answers a client with the addresses of
    /// the listener that it came through.
    pub listener: String,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
}

/// Who leads a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardView {
    /// The leader; `None` while there is none.
    pub leader: Option<BrokerId>,
    /// Its epoch.
    pub epoch: Epoch,
    /// The record that this is of; an older one never takes its place.
    pub version: Version,
    /// The in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// All replicas.
    pub replicas: Vec<BrokerId>,
}

/// Brokers, shards, and what the policy allows clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Id of the cluster, as Kafka clients are told.
    pub cluster_id: String,
    /// Every address of every broker.
    pub addresses: Vec<ListenerAddress>,
    /// By shard id.
    pub shards: Vec<ShardView>,
    /// Fewest in-sync replicas under which anything is committed.
    pub min_in_sync_replicas: u32,
    /// Whether clients may declare topics.
    pub clients_may_declare_topics: bool,
    /// Whether using a name that is not there declares a topic.
    pub topics_are_auto_created: bool,
    /// How many topics clients may declare.
    pub client_topics_max: u32,
    /// How long such a topic keeps messages where the client did not say, ms; `None`: for ever.
    pub client_topic_retention_ms: Option<u64>,
    /// Partitions of a topic that a client declares without a number.
    pub client_topic_partitions: u32,
    /// The most partitions that a client may declare.
    pub client_topic_partitions_max: u32,
}

impl ClusterView {
    /// The shard's leader and membership.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&ShardView> {
        self.shards.get(shard.0 as usize)
    }

    /// The broker that takes declarations of topics: the leader of shard 0.
    #[must_use]
    pub fn controller(&self) -> Option<BrokerId> {
        self.shards.first().and_then(|shard| shard.leader)
    }

    /// The addresses of one listener.
    pub fn listener<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ListenerAddress> + 'a {
        self.addresses.iter().filter(move |address| address.listener == name)
    }
}
