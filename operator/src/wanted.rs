//! What the resources want, in the words of the core and of the brokers: the same on Kubernetes and
//! on one machine.

use holdfast_api::policy::{ClientTopics, FlushMode, ReplicationPolicySpec, UncleanElection};
use holdfast_api::topic::{Cleanup, TopicSpec};
use holdfast_operator_core::{Policy, Status};
use holdfast_protocol::{ShardRecord, TopicId, command, control};

/// The most partitions that a client may declare, as for a Topic.
const CLIENT_PARTITIONS_MAX: u32 = 1024;
/// A follower that was not at its leader's end for longer leaves the in-sync replicas.
const REPLICA_LAG_MS_MAX: u64 = 10_000;
/// A broker that has returned leads again after so long. Clients that were refused by it while it was
/// away wait for up to 10 s before they try it again (librdkafka's `reconnect.backoff.max.ms`): if
/// it led sooner, they would wait that long for it.
const MOVE_BACK_AFTER_MS: u64 = 12_000;

/// What elections among `brokers` brokers follow, as [`brokers`] counts them.
#[must_use]
pub fn policy(spec: &ReplicationPolicySpec, brokers: u32) -> Policy {
    Policy {
        brokers,
        staying: spec.brokers,
        replicas: spec.replicas,
        min_in_sync_replicas: spec.min_in_sync_replicas,
        shards: spec.shards,
        flush: match spec.flush.mode {
            FlushMode::Sync => holdfast_protocol::FlushMode::Sync,
            FlushMode::Async => holdfast_protocol::FlushMode::Async,
        },
        detection_timeout_ms: spec.failover.detection_timeout.as_millis(),
        move_back_after_ms: MOVE_BACK_AFTER_MS,
        unclean_election: match spec.unclean_election() {
            UncleanElection::Never => holdfast_protocol::UncleanElection::Never,
            UncleanElection::AllReported => holdfast_protocol::UncleanElection::AllReported,
        },
    }
}

/// How many brokers run, by what is wanted and what the records say.
#[must_use]
pub fn brokers(spec: &ReplicationPolicySpec, records: &[ShardRecord]) -> u32 {
    let replicas = records.iter().flat_map(|record| &record.replicas);
    let members = records.iter().flat_map(|record| &record.isr).map(|member| &member.broker);
    let held = replicas.chain(members).map(|broker| broker.0.saturating_add(1)).max();
    spec.brokers.max(held.unwrap_or(0))
}

/// The same where `now` run and an operator tells this. Nobody is stopped before it is certain that
/// nobody needs them.
#[must_use]
pub fn brokers_now(
    spec: &ReplicationPolicySpec,
    records: &[ShardRecord],
    now: u32,
    status: Option<&Status>,
) -> u32 {
    let wanted = brokers(spec, records);
    if records.is_empty() && status.is_none_or(|status| status.brokers_named == 0) {
        return wanted;
    }
    match status {
        Some(status) if status.is_certain => wanted,
        Some(status) => wanted.max(status.brokers_named).max(now),
        None => wanted.max(now),
    }
}

/// What the brokers at these addresses are told.
#[must_use]
pub fn cluster(
    spec: &ReplicationPolicySpec,
    brokers: Vec<control::BrokerAddress>,
) -> control::Cluster {
    let clients = &spec.client_declared;
    control::Cluster {
        brokers,
        shards: spec.shards,
        flush_interval_ms: spec.flush.interval.as_millis(),
        replica_lag_ms_max: REPLICA_LAG_MS_MAX,
        clients_may_declare_topics: match clients.topics {
            ClientTopics::Deny => false,
            ClientTopics::Create | ClientTopics::AutoCreate => true,
        },
        client_topic_partitions: clients.partitions,
        client_topic_partitions_max: CLIENT_PARTITIONS_MAX,
        topics_are_auto_created: clients.topics == ClientTopics::AutoCreate,
        client_topic_retention_ms: clients.retention.as_millis(),
        client_topics_max: clients.max_topics,
    }
}

/// A Topic as it is declared to the brokers.
#[must_use]
pub fn topic(id: TopicId, name: String, spec: &TopicSpec) -> command::Topic {
    let cleanup = match spec.cleanup {
        Cleanup::Delete => command::Cleanup::Delete,
        Cleanup::Compact => command::Cleanup::Compact,
    };
    command::Topic {
        id: id.0.to_vec().into(),
        name,
        partitions: spec.partitions,
        config: Some(command::TopicConfig {
            retention_ms: spec.retention.time.as_millis(),
            retention_bytes: spec.retention.bytes.map(holdfast_api::ByteSize::bytes),
            cleanup: cleanup.into(),
            message_bytes_max: spec.max_message_bytes,
        }),
        declared_by: command::Declarer::Yaml.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::{BrokerId, Epoch, FlushMode as Flush, ShardId, Version};

    #[test]
    fn no_broker_goes_from_under_a_replica() {
        let record = ShardRecord {
            shard: ShardId(0),
            version: Version::default(),
            epoch: Epoch(1),
            leader: None,
            isr: Vec::new(),
            replicas: [0, 1, 4].map(BrokerId).to_vec(),
            min_in_sync_replicas: 2,
            flush: Flush::Sync,
            unclean_epoch: None,
            loss: None,
            starts: Vec::new(),
            lineage: Box::default(),
        };
        let spec = |brokers| ReplicationPolicySpec { brokers, ..ReplicationPolicySpec::default() };
        for (wanted, runs) in [(5, 5), (7, 7), (3, 5)] {
            assert_eq!(brokers(&spec(wanted), std::slice::from_ref(&record)), runs, "{wanted}");
        }
        assert_eq!(brokers(&spec(3), &[]), 3);
        let now = |records: &[ShardRecord]| brokers_now(&spec(3), records, 7, None);
        assert_eq!(now(&[record]), 7, "nobody has told anything yet");
        assert_eq!(now(&[]), 3, "nothing is held yet");
        assert_eq!(policy(&spec(3), 5).staying, 3);
    }
}
