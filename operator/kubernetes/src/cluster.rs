//! What the brokers of a policy are told, and where they are found.

use std::time::Duration;

use holdfast_api::{ReplicationPolicySpec, Topic};
use holdfast_operator::{BrokerAddress, Settings, wanted};
use holdfast_protocol::{BrokerId, TopicId, command, control};
use holdfast_transport::Tls;
use kube::ResourceExt;

use crate::names::{self, Key, PEER_PORT};

/// The listener for clients in the cluster.
const INTERNAL: &str = "internal";
/// The listener for clients outside of it.
pub(crate) const EXTERNAL: &str = "external";

/// What a policy's embedded operator is made from.
pub(crate) struct Blueprint<'a> {
    pub(crate) identity: &'a str,
    pub(crate) domain: &'a str,
    pub(crate) key: &'a Key,
    pub(crate) spec: &'a ReplicationPolicySpec,
    /// How many brokers there are.
    pub(crate) brokers: u32,
    /// Where clients outside of the cluster find each broker, as far as that is known.
    pub(crate) external: Vec<Option<(String, u16)>>,
    pub(crate) patience: Duration,
}

impl Blueprint<'_> {
    /// The name of a broker's pod in DNS.
    pub(crate) fn host(&self, broker: u32) -> String {
        let Key { namespace, name } = self.key;
        let (pod, headless) = (names::pod(name, broker), names::headless(name));
        format!("{pod}.{headless}.{namespace}.svc.{}", self.domain)
    }

    /// Where clients in the cluster begin.
    pub(crate) fn bootstrap(&self) -> String {
        let Key { namespace, name } = self.key;
        let port = self.spec.listeners.kafka.internal.port;
        format!("{name}.{namespace}.svc.{}:{port}", self.domain)
    }

    /// Where clients outside of the cluster begin.
    pub(crate) fn external_bootstrap(&self) -> Option<String> {
        let known = self.external.iter().flatten();
        let all: Vec<String> = known.map(|(host, port)| format!("{host}:{port}")).collect();
        (!all.is_empty()).then(|| all.join(","))
    }

    fn peer(&self, broker: u32) -> String {
        // Brokers of a test have no names in DNS.
        #[cfg(test)]
        if let Some(peer) = crate::tests::peer(&self.key.name, broker) {
            return peer;
        }
        format!("{}:{PEER_PORT}", self.host(broker))
    }

    /// What the embedded operator is told; `tls` is how it proves who it is.
    pub(crate) fn settings(&self, tls: Tls) -> Settings {
        let brokers = (0..self.brokers)
            .map(|broker| BrokerAddress { id: BrokerId(broker), peer: self.peer(broker) });
        let addresses = (0..self.brokers).map(|broker| self.address(broker));
        Settings {
            name: self.identity.to_owned(),
            cluster_id: names::cluster_id(self.key),
            policy: wanted::policy(self.spec, self.brokers),
            brokers: brokers.collect(),
            cluster: wanted::cluster(self.spec, addresses.collect()),
            patience: self.patience,
            tls: Some(tls),
        }
    }

    fn address(&self, broker: u32) -> control::BrokerAddress {
        let internal = control::Advertised {
            listener: INTERNAL.to_owned(),
            host: self.host(broker),
            port: self.spec.listeners.kafka.internal.port.into(),
        };
        let external = self.external.get(broker as usize).and_then(Option::as_ref);
        let external = external.map(|(host, port)| control::Advertised {
            listener: EXTERNAL.to_owned(),
            host: host.clone(),
            port: (*port).into(),
        });
        control::BrokerAddress {
            broker,
            peer: self.peer(broker),
            kafka: [Some(internal), external].into_iter().flatten().collect(),
        }
    }
}

/// A Topic as it is declared to the brokers; `None` where its uid is none.
pub(crate) fn declaration(topic: &Topic) -> Option<command::Topic> {
    let id = TopicId::try_from(topic.uid()?).ok()?;
    Some(wanted::topic(id, topic.topic_name(), &topic.spec))
}
