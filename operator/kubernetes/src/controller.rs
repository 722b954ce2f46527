//! What an active operator does: watches, and reconciles what changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use holdfast_api::{Queue, ReplicationPolicy, Topic};
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::apply::Applier;
use crate::backoff::Backoff;
use crate::cache::{Cache, Changes, PodGone};
use crate::context::Context;
use crate::events::Recorder;
use crate::http::Readiness;
use crate::metrics::{Metrics, Reason};
use crate::names::{self, Key};
use crate::operators::{Learned, News, Operators, Trigger};
use crate::policy::{self, OperatorTls, ShardStatuses};
use crate::queue;
use crate::settings::Settings;
use crate::status::StatusWriter;
use crate::topic::{self, Pace};

/// Changes that wait to be looked at; a watch that has more to tell waits.
const TRIGGERS_MAX: usize = 1024;
/// Resources of one kind that are reconciled side by side.
const CONCURRENCY: u16 = 8;
/// How often what is remembered of gone resources is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Acts until `ended`, and returns when nothing acts any more.
pub(crate) async fn run(
    settings: Settings,
    client: Client,
    metrics: Arc<Metrics>,
    readiness: watch::Sender<Readiness>,
    ended: CancellationToken,
) {
    readiness.send_replace(Readiness::Reading);
    let (triggers, triggered) = mpsc::channel(TRIGGERS_MAX);
    let (pods_gone, gone) = mpsc::channel(TRIGGERS_MAX);
    let mut tasks = JoinSet::new();
    let changes = Changes { triggers: triggers.clone(), pods_gone };
    let cache = Cache::watch(&client, settings.namespace.as_deref(), &changes, &mut tasks);
    let ctx = Arc::new(context(settings, client, metrics, cache, triggers));
    let acting = act(Arc::clone(&ctx), triggered, gone, readiness);
    tokio::select! {
        () = acting => {}
        () = ended.cancelled() => {}
    }
    tasks.shutdown().await;
    ctx.operators.stop_all().await;
    info!("nothing is decided here any more");
}

fn context(
    settings: Settings,
    client: Client,
    metrics: Arc<Metrics>,
    cache: Cache,
    triggers: mpsc::Sender<Trigger>,
) -> Context {
    let recorder = Recorder::new(client.clone(), &settings.lease.identity);
    Context {
        operators: Operators::new(client.clone(), recorder.clone(), triggers),
        applier: Applier::new(client.clone()),
        backoff: Backoff::default(),
        shards: ShardStatuses::default(),
        pace: Pace::default(),
        tls: OperatorTls::default(),
        policy_status: StatusWriter::new(client.clone()),
        topic_status: StatusWriter::new(client.clone()),
        queue_status: StatusWriter::new(client.clone()),
        recorder,
        metrics,
        cache,
        settings,
        client,
    }
}

async fn act(
    ctx: Arc<Context>,
    mut triggered: mpsc::Receiver<Trigger>,
    gone: mpsc::Receiver<PodGone>,
    readiness: watch::Sender<Readiness>,
) {
    // What changes until everything is read is read with it.
    tokio::select! {
        () = ctx.cache.ready() => {}
        () = async { while triggered.recv().await.is_some() {} } => {}
    }
    readiness.send_replace(Readiness::Active);
    let (policies, policy_queue) = mpsc::channel(TRIGGERS_MAX);
    let (topics, topic_queue) = mpsc::channel(TRIGGERS_MAX);
    let (queues, queue_queue) = mpsc::channel(TRIGGERS_MAX);
    let sorter = Sorter { ctx: Arc::clone(&ctx), policies, topics, queues };
    let burying = bury(Arc::clone(&ctx), gone);
    let reconciling = async {
        let of_policies = reconcile::<ReplicationPolicy, _, _>(
            &ctx,
            &ctx.cache.policies,
            policy_queue,
            policy::reconcile,
        );
        let of_topics =
            reconcile::<Topic, _, _>(&ctx, &ctx.cache.topics, topic_queue, topic::reconcile);
        let of_queues =
            reconcile::<Queue, _, _>(&ctx, &ctx.cache.queues, queue_queue, queue::reconcile);
        tokio::join!(drain(of_policies), drain(of_topics), drain(of_queues));
    };
    tokio::join!(sorter.run(triggered), burying, reconciling, sweep(Arc::clone(&ctx)));
}

async fn drain(results: impl Stream<Item = ()>) {
    results.collect::<()>().await;
}

/// Reconciles resources of one kind.
fn reconcile<K, E, F>(
    ctx: &Arc<Context>,
    store: &Store<K>,
    queue: mpsc::Receiver<ObjectRef<K>>,
    reconciler: fn(Arc<K>, Arc<Context>) -> F,
) -> impl Stream<Item = ()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    F: Future<Output = Result<Action, E>> + Send + 'static,
    E: std::error::Error + Reason + Send + 'static,
{
    let queue = ReceiverStream::new(queue).map(Ok::<_, std::convert::Infallible>);
    let config = Config::default().concurrency(CONCURRENCY);
    let run = move |object: Arc<K>, ctx: Arc<Context>| {
        let key = Key::of(&*object);
        let done = reconciler(object, Arc::clone(&ctx));
        Box::pin(async move {
            let action = done.await?;
            let missed = ctx.backoff.succeeded(kind::<K>(), key);
            Ok(if missed { Action::requeue(Duration::ZERO) } else { action })
        })
    };
    applier(run, on_error::<K, E>, Arc::clone(ctx), store.clone(), queue, config).map(|result| {
        if let Err(error) = result {
            debug!("{error}");
        }
    })
}

fn kind<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "resource",
    }
}

fn on_error<K, E>(object: Arc<K>, error: &E, ctx: Arc<Context>) -> Action
where
    K: Resource<DynamicType = ()>,
    E: std::error::Error + Reason,
{
    let key = Key::of(&*object);
    let pause = ctx.backoff.failed(kind::<K>(), key.clone());
    warn!(kind = kind::<K>(), %key, reason = error.reason(), ?pause, "tried again later: {error}");
    Action::requeue(pause)
}

/// Passes on what changed to whoever reconciles its kind. Reconcilers end only together with it,
/// so nothing that is sent is lost.
struct Sorter {
    ctx: Arc<Context>,
    policies: mpsc::Sender<ObjectRef<ReplicationPolicy>>,
    topics: mpsc::Sender<ObjectRef<Topic>>,
    queues: mpsc::Sender<ObjectRef<Queue>>,
}

impl Sorter {
    async fn run(self, mut triggered: mpsc::Receiver<Trigger>) {
        self.everything().await;
        while let Some(trigger) = triggered.recv().await {
            self.sort(trigger).await;
        }
    }

    async fn sort(&self, trigger: Trigger) {
        match trigger {
            Trigger::Policy(key) => self.policy(&key, News::Change).await,
            Trigger::Topic(key) => self.topic(&key, News::Change).await,
            Trigger::TopicNamed(policy, name) => {
                self.topics_named(&policy, &[name], News::Change).await;
            }
            Trigger::Queue(key) => self.queue(&key).await,
            Trigger::Losses(policy) => self.losses(&policy).await,
            Trigger::Learned(Learned { policy, news, topics }) => {
                self.policy(&policy, news).await;
                self.topics_named(&policy, &topics, news).await;
            }
        }
    }

    /// What there is at first.
    async fn everything(&self) {
        let cache = &self.ctx.cache;
        for policy in cache.policies.state() {
            self.policy(&Key::of(&*policy), News::Change).await;
        }
        for topic in cache.topics.state() {
            self.topic(&Key::of(&*topic), News::Change).await;
        }
        for queue in cache.queues.state() {
            self.queue(&Key::of(&*queue)).await;
        }
    }

    async fn policy(&self, key: &Key, news: News) {
        if crate::cache::get(&self.ctx.cache.policies, key).is_some() {
            if !self.holds::<ReplicationPolicy>(key, news) {
                let _: Result<(), _> = self.policies.send(reference(key)).await;
            }
        } else {
            // It is gone: in order, or somebody removed its finalizer.
            self.ctx.operators.stop(key).await;
            self.ctx.metrics.forget_policy(key);
        }
        // Whether there is a policy is in the status of its Topics.
        for topic in self.ctx.topics_of(key) {
            let known = topic
                .status
                .as_ref()
                .is_some_and(|status| status.observed_generation == topic.metadata.generation);
            if !known || self.ctx.operators.view(key).is_none() {
                self.topic(&Key::of(&*topic), news).await;
            }
        }
        self.ctx.metrics.set_policies(self.ctx.operators.count());
    }

    /// A policy and those of its Topics that are hit.
    async fn losses(&self, policy: &Key) {
        if crate::cache::get(&self.ctx.cache.policies, policy).is_none() {
            return;
        }
        let _: Result<(), _> = self.policies.send(reference(policy)).await;
        let Some(running) = self.ctx.operators.view(policy) else { return };
        let views = running.snapshot.topics.iter();
        let hit = views.filter(|view| view.partitions.iter().any(|p| p.possible_loss.is_some()));
        let hit: BTreeSet<&str> = hit.map(|view| view.name.as_str()).collect();
        for topic in self.ctx.topics_of(policy) {
            if hit.contains(topic.topic_name().as_str()) {
                self.topic(&Key::of(&*topic), News::Change).await;
            }
        }
    }

    /// The Topics of a policy that have one of these names there.
    async fn topics_named(&self, policy: &Key, names: &[String], news: News) {
        if names.is_empty() {
            return;
        }
        for topic in self.ctx.topics_of(policy) {
            if names.contains(&topic.topic_name()) {
                self.topic(&Key::of(&*topic), news).await;
            }
        }
    }

    async fn topic(&self, key: &Key, news: News) {
        if !self.holds::<Topic>(key, news) {
            let _: Result<(), _> = self.topics.send(reference(key)).await;
        }
    }

    /// Whether that waits until what failed has been tried again: what is sent on is tried at once,
    /// however long the pause after the failure is.
    fn holds<K: Resource<DynamicType = ()>>(&self, key: &Key, news: News) -> bool {
        match news {
            News::Change => false,
            News::Numbers => self.ctx.backoff.holds(kind::<K>(), key),
        }
    }

    async fn queue(&self, key: &Key) {
        let _: Result<(), _> = self.queues.send(reference(key)).await;
    }
}

fn reference<K: Resource<DynamicType = ()>>(key: &Key) -> ObjectRef<K> {
    ObjectRef::new(&key.name).within(&key.namespace)
}

/// Tells operators of brokers whose pods are gone.
async fn bury(ctx: Arc<Context>, mut gone: mpsc::Receiver<PodGone>) {
    while let Some(PodGone { policy, pod }) = gone.recv().await {
        let Some(broker) = names::broker_of(&policy.name, &pod) else { continue };
        // By now there may be another pod of that name.
        let again = ctx.cache.pods.find(|known| {
            known.name_any() == pod && known.namespace().as_deref() == Some(&policy.namespace)
        });
        if again.is_none() {
            info!(%policy, %broker, "its pod is gone");
            ctx.operators.broker_gone(&policy, broker).await;
        }
    }
}

async fn sweep(ctx: Arc<Context>) {
    let mut due = interval(SWEEP_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        ctx.sweep();
    }
}

#[cfg(test)]
mod tests;
