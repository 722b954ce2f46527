//! The configuration of a broker, as far as it is the policy's: to be read, not to be set.

use holdfast_protocol::group::{SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN};
use holdfast_protocol::topic::TopicConfig;
use holdfast_service::ClusterView;

use super::{Entry, Source, Type};

/// Settings of Kafka's brokers that tools and test suites set while they run. Taken, and without
/// effect: none can make a message less safe.
const IGNORED: [&str; 12] = [
    "background.threads",
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "log.cleaner.threads",
    "max.connection.creation.rate",
    "max.connections",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.ticket.renew.jitter",
];

/// Whether a client may set `name`, to no effect.
pub(crate) fn is_ignored(name: &str) -> bool {
    IGNORED.contains(&name)
}

/// Everything that there is to tell, by name.
pub(crate) fn describe(broker: u32, cluster: &ClusterView) -> Vec<Entry> {
    let defaults = TopicConfig::default();
    let or_none = |bound: Option<u64>| bound.map_or("-1".to_owned(), |bound| bound.to_string());
    let replicas = cluster.shards.first().map_or(0, |shard| shard.replicas.len());
    let entry = |name, value: String, kind, source| Entry {
        name,
        value,
        source,
        kind,
        read_only: true,
        fallback: None,
    };
    let of_policy = |name, value, kind| entry(name, value, kind, Source::Broker);
    let default = |name, value, kind| entry(name, value, kind, Source::Default);
    let addresses = cluster.addresses.iter().filter(|address| address.broker.0 == broker);
    let listeners: Vec<String> = addresses
        .map(|address| format!("{}://{}:{}", address.listener, address.host, address.port))
        .collect();
    vec![
        of_policy("advertised.listeners", listeners.join(","), Type::List),
        of_policy(
            "auto.create.topics.enable",
            cluster.topics_are_auto_created.to_string(),
            Type::Boolean,
        ),
        of_policy("broker.id", broker.to_string(), Type::Int),
        of_policy("default.replication.factor", replicas.to_string(), Type::Int),
        default("group.max.session.timeout.ms", SESSION_TIMEOUT_MS_MAX.to_string(), Type::Int),
        default("group.min.session.timeout.ms", SESSION_TIMEOUT_MS_MIN.to_string(), Type::Int),
        default("log.cleanup.policy", "delete".to_owned(), Type::List),
        default("log.retention.bytes", or_none(defaults.retention_bytes), Type::Long),
        default("log.retention.ms", or_none(defaults.retention_ms), Type::Long),
        default("message.max.bytes", defaults.message_bytes_max.to_string(), Type::Int),
        of_policy("min.insync.replicas", cluster.min_in_sync_replicas.to_string(), Type::Int),
        of_policy("node.id", broker.to_string(), Type::Int),
        of_policy("num.partitions", cluster.client_topic_partitions.to_string(), Type::Int),
    ]
}
