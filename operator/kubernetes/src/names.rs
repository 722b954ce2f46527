//! Names, labels and finalizers of everything that the operator makes.

use std::collections::BTreeMap;
use std::fmt;

use holdfast_protocol::BrokerId;
use kube::{Resource, ResourceExt};

/// Who owns the fields that the operator applies.
pub(crate) const MANAGER: &str = "holdfast-operator";
/// The policy that an object belongs to.
pub(crate) const POLICY_LABEL: &str = "holdfast.dev/policy";
/// Into how many shards the policy of a record is divided.
pub(crate) const SHARDS_ANNOTATION: &str = "holdfast.dev/shards";
/// On a policy, by a person: an authority that was made before this time is replaced.
pub(crate) const ROTATE_ANNOTATION: &str = "holdfast.dev/rotate-authority";
/// On a Shard, by a person: the possible loss of this epoch is dealt with.
pub(crate) const ACKNOWLEDGE_ANNOTATION: &str = "holdfast.dev/acknowledge-loss";
/// Set by Kubernetes on the pods of a StatefulSet.
pub(crate) const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
/// Set by Kubernetes on the pods of a StatefulSet.
pub(crate) const POD_INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";
/// Set by Kubernetes on the pods of a StatefulSet: the revision that they were made from.
pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";
/// Keeps a policy until its brokers are gone in order.
pub(crate) const POLICY_FINALIZER: &str = "holdfast.dev/brokers";
/// Keeps a Topic until its messages are deleted.
pub(crate) const TOPIC_FINALIZER: &str = "holdfast.dev/messages";
/// The container of a broker in its pod.
pub(crate) const CONTAINER: &str = "broker";
/// The volume of a broker, and the beginning of the name of its claim.
pub(crate) const VOLUME: &str = "data";

/// Ports of a broker's pod that no policy chooses.
pub(crate) const PEER_PORT: u16 = 9095;
/// For metrics and probes.
pub(crate) const HTTP_PORT: u16 = 9096;

/// A namespaced object, of whatever kind the context says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }

    /// The policy that an object's label names.
    pub(crate) fn of_label<K: Resource>(object: &K) -> Option<Self> {
        let policy = object.labels().get(POLICY_LABEL)?;
        Some(Self::new(object.namespace()?, policy.clone()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The id by which the brokers of a policy know each other and the operator.
///
/// It is made of the name, so that a policy that is deleted and made again finds the volumes that
/// it kept. What is on a volume is told apart by incarnations, not by this.
pub(crate) fn cluster_id(policy: &Key) -> String {
    policy.to_string()
}

/// The name of the Service through which pods have names of their own.
pub(crate) fn headless(policy: &str) -> String {
    format!("{policy}-brokers")
}

/// The name of a broker's pod, and of its external Service.
pub(crate) fn pod(policy: &str, broker: u32) -> String {
    format!("{policy}-{broker}")
}

/// The broker whose pod this is, by its name.
pub(crate) fn broker_of(policy: &str, pod: &str) -> Option<BrokerId> {
    let index = pod.strip_prefix(policy)?.strip_prefix('-')?;
    let broker: u32 = index.parse().ok()?;
    (index == broker.to_string()).then_some(BrokerId(broker))
}

/// The name of the Secret with the certificates that all brokers mount.
pub(crate) fn tls_secret(policy: &str) -> String {
    format!("{policy}-tls")
}

/// The name of the Secret with the authority's key, for the operator alone.
pub(crate) fn private_secret(policy: &str) -> String {
    format!("{policy}-operator-tls")
}

/// The name of the resource that holds a shard's record.
pub(crate) fn shard(policy: &str, shard: u32) -> String {
    format!("{policy}-{shard}")
}

/// The labels by which the brokers' pods of a policy are selected.
pub(crate) fn selector(policy: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "holdfast"),
        ("app.kubernetes.io/component", "broker"),
        (POLICY_LABEL, policy),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The labels of everything that belongs to a policy.
pub(crate) fn labels(policy: &str) -> BTreeMap<String, String> {
    let mut labels = selector(policy);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    labels.insert("app.kubernetes.io/instance".to_owned(), policy.to_owned());
    labels
}

/// Labels as a selector is written in a query.
pub(crate) fn query(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pods_of_a_policy_are_its_brokers() {
        assert_eq!(broker_of("orders", "orders-2"), Some(BrokerId(2)));
        for pod in ["orders-02", "orders-x", "orders", "orders-eu-2", "order-2", "orders-+2"] {
            assert_eq!(broker_of("orders", pod), None, "{pod}");
        }
    }
}
