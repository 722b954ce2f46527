//! What there is: read from the watches and from the operator of the policy, nothing decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_api::{ReplicationPolicy, Topic};
use holdfast_protocol::ShardRecord;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;

use crate::build::Storage;
use crate::cache;
use crate::context::Context;
use crate::names::{Key, VOLUME};
use crate::operators::View;

/// What there is of one policy.
pub(super) struct Observed {
    pub(super) key: Key,
    pub(super) policy: Arc<ReplicationPolicy>,
    /// Those that name it.
    pub(super) topics: Vec<Arc<Topic>>,
    pub(super) stateful_set: Option<Arc<StatefulSet>>,
    pub(super) disruption: Option<Arc<PodDisruptionBudget>>,
    pub(super) network: Option<Arc<NetworkPolicy>>,
    /// By name.
    pub(super) services: BTreeMap<String, Arc<Service>>,
    /// By broker.
    pub(super) pods: BTreeMap<u32, Arc<Pod>>,
    /// By broker.
    pub(super) claims: BTreeMap<u32, Arc<PersistentVolumeClaim>>,
    /// Its operator, if that runs.
    pub(super) running: Option<View>,
    /// The shard records.
    pub(super) records: Vec<ShardRecord>,
    /// Into how many shards the records say that it is divided.
    pub(super) divided: Option<u32>,
}

impl Observed {
    pub(super) fn new(policy: Arc<ReplicationPolicy>, key: &Key, ctx: &Context) -> Self {
        let cache = &ctx.cache;
        let ours = |service: &Service| Key::of_label(service).as_ref() == Some(key);
        let services = cache.services.state_filter(ours).into_iter();
        Self {
            topics: ctx.topics_of(key),
            stateful_set: cache::get(&cache.stateful_sets, key),
            network: cache::get(&cache.networks, key),
            disruption: cache::get(&cache.disruptions, key),
            services: services.map(|service| (service.name_any(), service)).collect(),
            pods: cache::by_broker(&cache.pods, key, ""),
            claims: cache::by_broker(&cache.claims, key, &format!("{VOLUME}-")),
            running: ctx.operators.view(key),
            records: Vec::new(),
            divided: None,
            key: key.clone(),
            policy,
        }
    }

    /// The records: as the operator knows them, or read where it does not run.
    pub(super) async fn look_at_records(
        &mut self,
        ctx: &Context,
    ) -> Result<(), holdfast_operator::store::Error> {
        let shards = self.policy.spec.shards;
        match &self.running {
            Some(running) => {
                let known = running.snapshot.status.shards.iter();
                self.records = known.filter_map(|shard| shard.record.clone()).collect();
                self.divided = running.store.divided();
            }
            None => {
                let store = ctx.operators.store(&self.key, shards);
                let (records, divided) = store.load().await?;
                self.records = records;
                self.divided = divided;
            }
        }
        Ok(())
    }

    /// Looks at the operator again.
    pub(super) fn look_at_operator(&mut self, ctx: &Context) {
        self.running = ctx.operators.view(&self.key);
    }

    /// The size and class of volumes in the StatefulSet, which can't be changed any more.
    pub(super) fn template_storage(&self) -> Option<Storage> {
        let spec = self.stateful_set.as_ref()?.spec.as_ref()?;
        let claim = spec.volume_claim_templates.as_ref()?.first()?.spec.as_ref()?;
        let requests = claim.resources.as_ref()?.requests.as_ref()?;
        Some(Storage {
            size: requests.get("storage")?.0.clone(),
            class: claim.storage_class_name.clone(),
        })
    }
}

/// Whether a pod says that it is ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    ready.is_some_and(|condition| condition.status == "True")
        && pod.metadata.deletion_timestamp.is_none()
}
