//! The embedded operator of each policy: sessions with its brokers, and its elections.
//!
//! A change of what it is told ends it and starts another over the same records, which is safe at
//! any time: brokers that have their in-sync replicas go on serving meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_api::policy::LastFailover;
use holdfast_operator::store::Error;
use holdfast_operator::{Handle, Operator, Settings, Snapshot};
use holdfast_protocol::{BrokerId, command, control};
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
        let mut changed = vec![Trigger::Policy(key.clone())];
        for topic in now.topics.iter().filter(|topic| topic.wanted) {
            let known = last.as_ref().and_then(|last| {
                last.topics.iter().find(|known| known.name == topic.name && known.wanted)
            });
            if known != Some(topic) {
                changed.push(Trigger::TopicNamed(key.clone(), topic.name.clone()));
            }
        }
        for trigger in changed {
            if triggers.send(trigger).await.is_err() {
                return;
            }
        }
        last = Some(now);
        sleep(LOOK_EVERY).await;
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}
