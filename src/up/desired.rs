//! What the YAML wants, joined with what the run before kept.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_api::load::{Loaded, validate_update};
use holdfast_api::{ReplicationPolicy, Topic};
use holdfast_operator::{BrokerAddress, Settings, Snapshot, wanted};
use holdfast_protocol::{BrokerId, ShardRecord, TopicId, command, control};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::addresses::Addresses;
use super::ignored::ignored;

/// The name of the listener that clients on this machine use.
pub(crate) const LISTENER: &str = "internal";

/// The version of the format of [`Stored`].
const FORMAT: u32 = 1;

/// What is kept for the next run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stored {
    format: u32,
    cluster_id: String,
    policy: ReplicationPolicy,
    /// By the name that clients use.
    topics: BTreeMap<String, StoredTopic>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredTopic {
    id: TopicId,
    resource: Topic,
}

impl Stored {
    /// The policy of the run before.
    pub(crate) fn policy(&self) -> &ReplicationPolicy {
        &self.policy
    }

    /// Every topic that was ever wanted.
    pub(crate) fn topics(&self) -> Vec<Topic> {
        self.topics.values().map(|topic| topic.resource.clone()).collect()
    }

    /// Whether this version can read it.
    ///
    /// # Errors
    /// Where another version wrote it, and in what format.
    pub(crate) fn check_format(&self) -> Result<(), String> {
        if self.format == FORMAT {
            return Ok(());
        }
        Err(format!("it has format {}, and this version of holdfast reads {FORMAT}", self.format))
    }

    /// Takes the ids that topics turned out to have; returns whether any was news.
    pub(crate) fn learn(&mut self, snapshot: &Snapshot) -> bool {
        let mut news = false;
        for topic in snapshot.topics.iter().filter(|topic| topic.wanted) {
            if let Some(stored) = self.topics.get_mut(&topic.name)
                && stored.id != topic.id
            {
                stored.id = topic.id;
                news = true;
            }
        }
        news
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    pub(crate) policy: ReplicationPolicy,
    pub(crate) cluster_id: String,
    /// How many brokers run: those that are wanted, and those that still hold replicas.
    pub(crate) brokers: u32,
    /// Every topic that was ever wanted; those of this run are declared.
    topics: BTreeMap<String, StoredTopic>,
    wanted: Vec<String>,
    /// What of the YAML has no effect here.
    pub(crate) ignored: Vec<String>,
}

impl Desired {
    /// Joins what is wanted with what was kept.
    ///
    /// # Errors
    /// Every change that can't be made.
    pub(crate) fn new(
        loaded: Loaded,
        stored: Option<Stored>,
        records: &[ShardRecord],
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let ignored = ignored(&loaded);
        let (cluster_id, mut topics) = match stored {
            Some(stored) => (stored.cluster_id, stored.topics),
            None => (Uuid::new_v4().to_string(), BTreeMap::new()),
        };
        let mut names = Vec::new();
        for resource in loaded.topics {
            let name = resource.topic_name();
            let known = topics.get(&name);
            // Held to what the topic was, also where its resource has another name by now.
            if let Some(Err(violations)) = known.map(|t| validate_update(&t.resource, &resource)) {
                problems.extend(violations.iter().map(|v| format!("Topic {name}: {v}")));
            }
            let id = known.map_or_else(|| TopicId(Uuid::new_v4().into_bytes()), |known| known.id);
            topics.insert(name.clone(), StoredTopic { id, resource });
            names.push(name);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let policy = loaded.policy;
        let brokers = wanted::brokers(&policy.spec, records);
        Ok(Self { policy, cluster_id, brokers, topics, wanted: names, ignored })
    }

    /// What is kept for the next run.
    pub(crate) fn to_store(&self) -> Stored {
        Stored {
            format: FORMAT,
            cluster_id: self.cluster_id.clone(),
            policy: self.policy.clone(),
            topics: self.topics.clone(),
        }
    }

    /// The topics to declare.
    pub(crate) fn topics(&self) -> Vec<command::Topic> {
        let wanted = self.wanted.iter().filter_map(|name| self.topics.get_key_value(name));
        wanted.map(|(name, topic)| declaration(name, topic)).collect()
    }

    /// What the operator is told.
    pub(crate) fn settings(&self, addresses: &Addresses, patience: Duration) -> Settings {
        let brokers = (0..self.brokers)
            .map(|id| BrokerAddress { id: BrokerId(id), peer: addresses.peer(id).to_string() });
        Settings {
            name: format!("holdfast up, process {}", std::process::id()),
            cluster_id: self.cluster_id.clone(),
            policy: wanted::policy(&self.policy.spec, self.brokers),
            brokers: brokers.collect(),
            cluster: self.cluster(addresses),
            patience,
            tls: None,
        }
    }

    fn cluster(&self, addresses: &Addresses) -> control::Cluster {
        let spec = &self.policy.spec;
        let broker = |id| {
            let kafka = addresses.kafka(id);
            control::BrokerAddress {
                broker: id,
                peer: addresses.peer(id).to_string(),
                kafka: vec![control::Advertised {
                    listener: LISTENER.to_owned(),
                    host: kafka.ip().to_string(),
                    port: kafka.port().into(),
                }],
            }
        };
        wanted::cluster(spec, (0..self.brokers).map(broker).collect())
    }
}

fn declaration(name: &str, topic: &StoredTopic) -> command::Topic {
    wanted::topic(topic.id, name.to_owned(), &topic.resource.spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_api::load::{Source, load};

    fn loaded(shards: u32, partitions: u32) -> Loaded {
        let text = format!(
            "apiVersion: holdfast.dev/v1alpha1\nkind: ReplicationPolicy\nmetadata: {{name: p}}\n\
             spec: {{shards: {shards}}}\n---\napiVersion: holdfast.dev/v1alpha1\nkind: Topic\n\
             metadata: {{name: orders}}\nspec: {{policy: p, partitions: {partitions}}}\n"
        );
        load(&[Source { name: "test.yaml", text: &text }]).unwrap()
    }

    #[test]
    fn ids_outlive_a_run_and_partitions_grow() {
        let first = Desired::new(loaded(12, 3), None, &[]).unwrap();
        let again = Desired::new(loaded(12, 6), Some(first.to_store()), &[]).unwrap();
        assert_eq!(first.cluster_id, again.cluster_id);
        let (before, after) = (&first.topics()[0], &again.topics()[0]);
        assert_eq!(before.id, after.id);
        assert_eq!((before.partitions, after.partitions), (3, 6));
    }

    #[test]
    fn a_topic_keeps_its_partitions_whatever_its_resource_is_called() {
        let first = Desired::new(loaded(12, 6), None, &[]).unwrap();
        let mut renamed = loaded(12, 3);
        renamed.topics[0].metadata.name = Some("other".to_owned());
        renamed.topics[0].spec.name = Some("orders".to_owned());
        let problems = Desired::new(renamed, Some(first.to_store()), &[]).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains("spec.partitions")), "{problems:?}");
    }
}
