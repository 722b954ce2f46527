//! What reconcilers share while this operator is active.

use std::sync::Arc;

use holdfast_api::policy::ReplicationPolicyStatus;
use holdfast_api::queue::QueueStatus;
use holdfast_api::topic::TopicStatus;
use holdfast_api::{Queue, ReplicationPolicy, Topic};
use holdfast_protocol::ShardId;
use kube::{Client, ResourceExt};

use crate::apply::Applier;
use crate::backoff::Backoff;
use crate::cache::{self, Cache};
use crate::events::Recorder;
use crate::metrics::Metrics;
use crate::names::{self, Key};
use crate::operators::Operators;
use crate::policy::{OperatorTls, ShardStatuses};
use crate::settings::Settings;
use crate::status::StatusWriter;
use crate::topic::Pace;

/// What reconcilers share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) cache: Cache,
    pub(crate) operators: Operators,
    pub(crate) recorder: Recorder,
    pub(crate) applier: Applier,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) backoff: Backoff,
    pub(crate) shards: ShardStatuses,
    pub(crate) pace: Pace,
    pub(crate) tls: OperatorTls,
    pub(crate) policy_status: StatusWriter<ReplicationPolicy, ReplicationPolicyStatus>,
    pub(crate) topic_status: StatusWriter<Topic, TopicStatus>,
    pub(crate) queue_status: StatusWriter<Queue, QueueStatus>,
}

impl Context {
    /// The Topics that name a policy, those being deleted too.
    pub(crate) fn topics_of(&self, policy: &Key) -> Vec<Arc<Topic>> {
        let mut topics = self.cache.topics.state_filter(|topic| {
            topic.spec.policy == policy.name
                && topic.namespace().as_deref() == Some(policy.namespace.as_str())
        });
        topics.sort_by_key(|topic| topic.name_any());
        topics
    }

    /// What a person wrote on a Shard about its loss.
    pub(crate) fn acknowledgement(&self, policy: &Key, shard: ShardId) -> Option<String> {
        let key = Key::new(policy.namespace.clone(), names::shard(&policy.name, shard.0));
        cache::acknowledgement(&*cache::get(&self.cache.shards, &key)?).cloned()
    }

    /// Forgets what was remembered of a policy that is gone.
    pub(crate) fn forget_policy(&self, policy: &Key) {
        self.shards.forget(policy);
        self.tls.forget(policy);
        self.metrics.forget_policy(policy);
        let prefix = format!("{}-", policy.name);
        self.applier.forget(|key| {
            key.namespace == policy.namespace
                && (key.name == policy.name || key.name.starts_with(&prefix))
        });
    }

    /// Forgets what was remembered of resources that are gone.
    pub(crate) fn sweep(&self) {
        let cache = &self.cache;
        self.policy_status.retain(|key| cache::get(&cache.policies, key).is_some());
        self.topic_status.retain(|key| cache::get(&cache.topics, key).is_some());
        self.queue_status.retain(|key| cache::get(&cache.queues, key).is_some());
        self.pace.retain(|key| cache::get(&cache.topics, key).is_some());
    }
}
