//! The objects of a policy, built from what is wanted alone: no client, no clock. One file a kind.

mod disruption;
mod external;
mod network;
mod pod;
mod services;
mod stateful_set;

use holdfast_api::{ByteSize, ReplicationPolicy, ReplicationPolicySpec};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::names::{self, Key};
use crate::settings::Pull;

/// What the objects of a policy are built from.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) key: &'a Key,
    pub(crate) spec: &'a ReplicationPolicySpec,
    /// The policy, as the owner of what is built.
    pub(crate) owner: OwnerReference,
    /// How many brokers to run, which may be more than the policy still wants.
    pub(crate) brokers: u32,
    /// The image of operator and brokers.
    pub(crate) image: &'a str,
    /// How nodes get it.
    pub(crate) pull: &'a Pull,
    /// The Secret with certificates for connections between brokers.
    pub(crate) tls_secret: Option<&'a str>,
    /// The size and class in the template of the volumes, which can't be changed any more.
    pub(crate) storage: Storage,
}

/// What a volume is asked for with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Storage {
    pub(crate) size: String,
    pub(crate) class: Option<String>,
}

impl Storage {
    pub(crate) fn wanted(spec: &ReplicationPolicySpec) -> Self {
        Self { size: quantity(spec.storage.size), class: spec.storage.class.clone() }
    }
}

/// A size as a quantity.
pub(crate) fn quantity(size: ByteSize) -> String {
    size.to_string()
}

/// All objects of a policy.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    pub(crate) services: Vec<Service>,
    pub(crate) network: NetworkPolicy,
    pub(crate) disruption: Option<PodDisruptionBudget>,
    pub(crate) stateful_set: StatefulSet,
}

/// Builds all objects of a policy.
pub(crate) fn objects(plan: &Plan<'_>) -> Objects {
    let mut services = vec![services::headless(plan), services::client(plan)];
    services.extend(external::services(plan));
    Objects {
        services,
        network: network::policy(plan),
        disruption: disruption::budget(plan),
        stateful_set: stateful_set::stateful_set(plan),
    }
}

impl Plan<'_> {
    /// The metadata of an object with this name.
    fn metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.key.namespace.clone()),
            labels: Some(names::labels(&self.key.name)),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// The policy, as the owner of its objects. It does not block the deletion of the policy: what
/// has to be in order is seen to by the finalizer.
pub(crate) fn owner(policy: &ReplicationPolicy) -> OwnerReference {
    use kube::{Resource, ResourceExt};
    OwnerReference {
        api_version: ReplicationPolicy::api_version(&()).into_owned(),
        kind: ReplicationPolicy::kind(&()).into_owned(),
        name: policy.name_any(),
        uid: policy.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

#[cfg(test)]
mod tests;
