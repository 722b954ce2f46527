//! What the API server has, as watches tell it: one watch a kind, read by all reconcilers.

use futures::{StreamExt, pin_mut};
use holdfast_api::{Queue, ReplicationPolicy, Shard, Topic};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::names::{self, ACKNOWLEDGE_ANNOTATION, Key, MANAGER};
use crate::operators::Trigger;

/// Everything that is watched.
pub(crate) struct Cache {
    pub(crate) policies: Store<ReplicationPolicy>,
    pub(crate) topics: Store<Topic>,
    pub(crate) queues: Store<Queue>,
    pub(crate) stateful_sets: Store<StatefulSet>,
    pub(crate) services: Store<Service>,
    pub(crate) disruptions: Store<PodDisruptionBudget>,
    pub(crate) networks: Store<NetworkPolicy>,
    pub(crate) pods: Store<Pod>,
    pub(crate) claims: Store<PersistentVolumeClaim>,
    pub(crate) secrets: Store<Secret>,
    /// Only what people wrote on them: the records are in the store that wrote them.
    pub(crate) shards: Store<PartialObjectMeta<Shard>>,
}

/// A pod that was deleted, by the policy that it is of and its name.
pub(crate) struct PodGone {
    pub(crate) policy: Key,
    pub(crate) pod: String,
}

/// Where changes go.
#[derive(Clone)]
pub(crate) struct Changes {
    pub(crate) triggers: mpsc::Sender<Trigger>,
    pub(crate) pods_gone: mpsc::Sender<PodGone>,
}

impl Cache {
    /// Begins all watches; they run in `tasks`.
    pub(crate) fn watch(
        client: &Client,
        namespace: Option<&str>,
        changes: &Changes,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let watching = Watching { client, namespace, changes };
        let everything = watcher::Config::default();
        let made = format!("app.kubernetes.io/managed-by={MANAGER}");
        let ours = watcher::Config::default().labels(&made);
        Self {
            policies: watching.begin(everything.clone(), of_policy, tasks),
            topics: watching.begin(everything.clone(), of_topic, tasks),
            queues: watching.begin(everything.clone(), of_queue, tasks),
            stateful_sets: watching.begin(ours.clone(), of_label, tasks),
            services: watching.begin(ours.clone(), of_label, tasks),
            networks: watching.begin(ours.clone(), of_label, tasks),
            disruptions: watching.begin(ours.clone(), of_label, tasks),
            pods: watching.begin(ours.clone(), of_label, tasks),
            claims: watching.begin(ours.clone(), of_label, tasks),
            secrets: watching.begin(ours, of_label, tasks),
            shards: watching.begin_where(everything, of_shard, differs, tasks),
        }
    }

    /// Waits until every watch has told what there is.
    pub(crate) async fn ready(&self) {
        ready(&self.policies).await;
        ready(&self.topics).await;
        ready(&self.queues).await;
        ready(&self.stateful_sets).await;
        ready(&self.services).await;
        ready(&self.disruptions).await;
        ready(&self.networks).await;
        ready(&self.pods).await;
        ready(&self.claims).await;
        ready(&self.secrets).await;
        ready(&self.shards).await;
        info!("everything is read");
    }
}

async fn ready<K>(store: &Store<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    // The writer is dropped only when everything ends.
    let _: Result<(), _> = store.wait_until_ready().await;
}

/// The object with this key.
pub(crate) fn get<K>(store: &Store<K>, key: &Key) -> Option<std::sync::Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(&key.name).within(&key.namespace))
}

fn of_policy(policy: &ReplicationPolicy) -> Vec<Trigger> {
    vec![Trigger::Policy(Key::of(policy))]
}

/// A topic concerns its policy too, and every Topic that claims the same name.
fn of_topic(topic: &Topic) -> Vec<Trigger> {
    let policy = Key::new(topic.namespace().unwrap_or_default(), topic.spec.policy.clone());
    vec![
        Trigger::Topic(Key::of(topic)),
        Trigger::TopicNamed(policy.clone(), topic.topic_name()),
        Trigger::Policy(policy),
    ]
}

fn of_queue(queue: &Queue) -> Vec<Trigger> {
    vec![Trigger::Queue(Key::of(queue))]
}

fn of_label<K: Resource>(object: &K) -> Vec<Trigger> {
    Key::of_label(object).map(Trigger::Policy).into_iter().collect()
}

fn of_shard(shard: &PartialObjectMeta<Shard>) -> Vec<Trigger> {
    Key::of_label(shard).map(Trigger::Losses).into_iter().collect()
}

/// Whether a person wrote another acknowledgement: the operator's own writes are no news to it.
fn differs(before: &PartialObjectMeta<Shard>, now: &PartialObjectMeta<Shard>) -> bool {
    acknowledgement(before) != acknowledgement(now)
}

/// What a person wrote on a Shard about its loss.
pub(crate) fn acknowledgement(shard: &PartialObjectMeta<Shard>) -> Option<&String> {
    shard.annotations().get(ACKNOWLEDGE_ANNOTATION)
}

struct Watching<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    changes: &'a Changes,
}

impl Watching<'_> {
    fn begin<K>(
        &self,
        config: watcher::Config,
        triggers: fn(&K) -> Vec<Trigger>,
        tasks: &mut JoinSet<()>,
    ) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        self.begin_where(config, triggers, |_, _| true, tasks)
    }

    /// Where only some changes are told.
    fn begin_where<K>(
        &self,
        config: watcher::Config,
        triggers: fn(&K) -> Vec<Trigger>,
        differs: fn(&K, &K) -> bool,
        tasks: &mut JoinSet<()>,
    ) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (reader, writer) = reflector::store();
        let api: Api<K> = match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let interest = Interest { triggers, differs };
        tasks.spawn(keep(api, config, writer, interest, self.changes.clone()));
        reader
    }
}

/// What is to be looked at again because of an object, and after which of its changes.
struct Interest<K> {
    triggers: fn(&K) -> Vec<Trigger>,
    differs: fn(&K, &K) -> bool,
}

/// Keeps one store as the API server has it, and tells what changed.
async fn keep<K>(
    api: Api<K>,
    config: watcher::Config,
    mut writer: Writer<K>,
    interest: Interest<K>,
    changes: Changes,
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let Interest { triggers, differs } = interest;
    let kind = K::kind(&());
    let reader = writer.as_reader();
    // What was there before a watch broke, and may be gone since.
    let mut before: Vec<Trigger> = Vec::new();
    let events = watcher::watcher(api, config).default_backoff();
    pin_mut!(events);
    let mut told = String::new();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let error = error.to_string();
                if error != told {
                    warn!(%kind, "the watch is broken: {error}");
                    told = error;
                }
                continue;
            }
        };
        told.clear();
        let is_news = match &event {
            Event::Apply(object) => {
                let known = reader.get(&ObjectRef::from_obj(object));
                known.is_none_or(|known| differs(&known, object))
            }
            Event::Init | Event::InitApply(_) | Event::InitDone | Event::Delete(_) => true,
        };
        writer.apply_watcher_event(&event);
        let changed = match &event {
            Event::Init => {
                before = reader.state().iter().flat_map(|object| triggers(object)).collect();
                Vec::new()
            }
            Event::InitApply(_) => Vec::new(),
            Event::InitDone => {
                let now = reader.state();
                let now = now.iter().flat_map(|object| triggers(object));
                let mut all: Vec<_> = std::mem::take(&mut before).into_iter().chain(now).collect();
                all.dedup();
                all
            }
            Event::Apply(_) if !is_news => Vec::new(),
            Event::Apply(object) => triggers(object),
            Event::Delete(object) => {
                if kind == "Pod"
                    && let Some(policy) = Key::of_label(object)
                {
                    let gone = PodGone { policy, pod: object.name_any() };
                    // Nobody waits for it once everything ends.
                    let _: Result<(), _> = changes.pods_gone.send(gone).await;
                }
                triggers(object)
            }
        };
        for trigger in changed {
            if changes.triggers.send(trigger).await.is_err() {
                return;
            }
        }
    }
}

/// The brokers that the names of pods or claims say.
pub(crate) fn by_broker<K>(
    store: &Store<K>,
    policy: &Key,
    prefix: &str,
) -> std::collections::BTreeMap<u32, std::sync::Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let ours = store.state_filter(|object| Key::of_label(object).as_ref() == Some(policy));
    let broker = |object: &K| {
        let name = object.name_any();
        names::broker_of(&policy.name, name.strip_prefix(prefix)?).map(|broker| broker.0)
    };
    ours.into_iter().filter_map(|object| Some((broker(&object)?, object))).collect()
}
