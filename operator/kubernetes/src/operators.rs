//! The embedded operator of each policy: sessions with its brokers, and its elections.
//!
//! A change of what it is told ends it and starts another over the same records, which is safe at
//! any time: brokers that have their in-sync replicas go on serving meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_api::policy::LastFailover;
use holdfast_operator::store::Error;
use holdfast_operator::{Handle, Operator, Settings, Snapshot, TopicView};
use holdfast_protocol::{BrokerId, Position, command, control};
use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::info;

use crate::events::{self, Regarding};
use crate::names::Key;
use crate::store::ShardStore;

/// The shortest time between two looks at what changed in a policy.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    Policy(Key),
    Topic(Key),
    /// The topic with this name on this policy.
    TopicNamed(Key, String),
    /// Whether the losses of this policy's shards are acknowledged.
    Losses(Key),
    Queue(Key),
    /// What a policy's operator knows.
    Learned(Learned),
}

/// What is new in what a policy's operator knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) policy: Key,
    pub(crate) news: News,
    /// Names of the topics that it concerns.
    pub(crate) topics: Vec<String>,
}

/// Whether something may come out otherwise than when it was last tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It may: a resource has changed, or brokers or leaders have.
    Change,
    /// Numbers alone, as with every message. What failed is not tried sooner for them.
    Numbers,
}

/// The newest failover that nobody planned, since this operator is active.
type Failover = Arc<Mutex<Option<LastFailover>>>;

struct Running {
    uid: String,
    settings: Settings,
    operator: Operator,
    store: ShardStore,
    failover: Failover,
    /// Ends what listens to the operator.
    _listeners: JoinSet<()>,
}

/// A running operator, as reconcilers use it.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) handle: Handle,
    pub(crate) store: ShardStore,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) last_failover: Option<LastFailover>,
    /// What its brokers were told of where everyone is.
    pub(crate) cluster: control::Cluster,
}

/// The operators of all policies.
pub(crate) struct Operators {
    client: Client,
    recorder: events::Recorder,
    triggers: mpsc::Sender<Trigger>,
    running: Mutex<BTreeMap<Key, Running>>,
}

/// What a policy's operator is started with.
pub(crate) struct Start {
    pub(crate) uid: String,
    pub(crate) settings: Settings,
    pub(crate) store: ShardStore,
    pub(crate) topics: Vec<command::Topic>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Operators {
    pub(crate) fn new(
        client: Client,
        recorder: events::Recorder,
        triggers: mpsc::Sender<Trigger>,
    ) -> Self {
        Self { client, recorder, triggers, running: Mutex::default() }
    }

    /// The records of a policy, whether its operator runs or not.
    pub(crate) fn store(&self, key: &Key, shards: u32) -> ShardStore {
        let running = lock(&self.running).get(key).map(|running| running.store.clone());
        running.unwrap_or_else(|| ShardStore::new(self.client.clone(), key, shards))
    }

    /// The operator of a policy, if it runs.
    pub(crate) fn view(&self, key: &Key) -> Option<View> {
        let running = lock(&self.running);
        let running = running.get(key)?;
        let handle = running.operator.handle();
        let snapshot = handle.snapshots().borrow().clone();
        let last_failover = lock(&running.failover).clone();
        let cluster = running.settings.cluster.clone();
        Some(View { handle, store: running.store.clone(), snapshot, last_failover, cluster })
    }

    /// Sees to it that the operator of a policy runs as `start` says.
    ///
    /// # Errors
    /// Where the records can't be read.
    pub(crate) async fn ensure(&self, key: &Key, start: Start) -> Result<(), Error> {
        let same = |running: &Running| {
            let (is, wanted) = (&running.settings, &start.settings);
            running.uid == start.uid
                && is.policy == wanted.policy
                && is.brokers == wanted.brokers
                && is.cluster == wanted.cluster
        };
        let is_there = {
            let running = lock(&self.running);
            if let Some(running) = running.get(key).filter(|running| same(running)) {
                running.operator.handle().set_topics(start.topics);
                return Ok(());
            }
            running.contains_key(key)
        };
        if is_there {
            // The one that runs is not ended while another could not begin.
            start.store.load().await?;
        }
        let before = lock(&self.running).remove(key);
        if let Some(before) = before {
            info!(policy = %key, "what the brokers are told changes: sessions begin anew");
            before.operator.stop().await;
        }
        let Start { uid, settings, store, topics } = start;
        let operator = Operator::start(settings.clone(), store.clone(), topics).await?;
        let failover = Failover::default();
        let mut listeners = JoinSet::new();
        let regarding = Regarding { key: key.clone(), uid: uid.clone(), store: store.clone() };
        let told = events::tell(
            self.recorder.clone(),
            regarding,
            operator.events(),
            Arc::clone(&failover),
        );
        listeners.spawn(told);
        listeners.spawn(follow(key.clone(), operator.handle(), self.triggers.clone()));
        let running = Running { uid, settings, operator, store, failover, _listeners: listeners };
        let replaced = lock(&self.running).insert(key.clone(), running);
        debug_assert!(replaced.is_none(), "one reconciliation of a policy at a time");
        Ok(())
    }

    /// Ends the operator of a policy.
    pub(crate) async fn stop(&self, key: &Key) {
        let running = lock(&self.running).remove(key);
        if let Some(running) = running {
            running.operator.stop().await;
            info!(policy = %key, "the sessions with its brokers have ended");
        }
    }

    /// Ends all operators.
    pub(crate) async fn stop_all(&self) {
        let running = std::mem::take(&mut *lock(&self.running));
        for (_, running) in running {
            running.operator.stop().await;
        }
    }

    /// The process of a broker has ended: its pod is gone.
    pub(crate) async fn broker_gone(&self, key: &Key, broker: BrokerId) {
        let handle = lock(&self.running).get(key).map(|running| running.operator.handle());
        if let Some(handle) = handle {
            handle.broker_gone(broker).await;
        }
    }

    /// How many policies have one.
    pub(crate) fn count(&self) -> usize {
        lock(&self.running).len()
    }
}

/// Has everything looked at again that changed in what the operator knows.
async fn follow(key: Key, handle: Handle, triggers: mpsc::Sender<Trigger>) {
    let mut snapshots = handle.snapshots();
    // Its snapshots must end with the operator.
    drop(handle);
    let mut last: Option<Arc<Snapshot>> = None;
    loop {
        let now = snapshots.borrow_and_update().clone();
        let learned = learned(&key, last.as_deref(), &now);
        if triggers.send(Trigger::Learned(learned)).await.is_err() {
            return;
        }
        last = Some(now);
        sleep(LOOK_EVERY).await;
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

fn learned(policy: &Key, last: Option<&Snapshot>, now: &Snapshot) -> Learned {
    let known = |topic: &TopicView| {
        let mut topics = last.into_iter().flat_map(|last| &last.topics);
        topics.any(|known| known == topic)
    };
    let topics = now.topics.iter().filter(|topic| topic.wanted && !known(topic));
    let same = last.is_some_and(|last| without_numbers(last) == without_numbers(now));
    Learned {
        policy: policy.clone(),
        news: if same { News::Numbers } else { News::Change },
        topics: topics.map(|topic| topic.name.clone()).collect(),
    }
}

/// A snapshot without what changes with every message.
fn without_numbers(snapshot: &Snapshot) -> Snapshot {
    let mut plain = snapshot.clone();
    for shard in &mut plain.status.shards {
        shard.committed = Position(0);
    }
    for topic in &mut plain.topics {
        topic.bytes = 0;
        topic.lag.clear();
        for partition in &mut topic.partitions {
            partition.start = 0;
            partition.end = 0;
        }
    }
    plain
}

#[cfg(test)]
mod tests;
