//! The operator's one task: events in, the planner's actions out, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast_operator_core::{Action, Event, Input, Planner, Status, Time, WriteOutcome};
use holdfast_protocol::control::to_broker;
use holdfast_protocol::{BrokerId, ShardId, ShardRecord, Version, command, control};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::catalog::{Attempt, Catalog};
use crate::contact::{Contact, Contacts};
use crate::convert::{message, to};
use crate::observer::{Observer, Told, compose};
use crate::session::{self, Session};
use crate::settings::Settings;
use crate::snapshot::{Declared, Snapshot};
use crate::store::{self, RecordStore, Swap};
use crate::topics::Declarer;

/// Events of sessions that wait for the operator's task; a session that has more to say waits.
const EVENTS_MAX: usize = 1024;
/// Events that are handled before the status is told again.
const BATCH_MAX: usize = 256;
/// Events for people that a slow listener may be behind.
const TOLD_MAX: usize = 1024;
/// Time between two looks at the clock.
const TICK_MAX: Duration = Duration::from_millis(100);
const TICK_MIN: Duration = Duration::from_millis(10);
/// Pause after the store failed.
const STORE_RETRY: Duration = Duration::from_millis(200);

/// A running operator. It stops when it is dropped together with its handles.
pub struct Operator {
    handle: Handle,
    executor: JoinHandle<()>,
    /// Everything but the planning task; ends when this is dropped.
    tasks: JoinSet<()>,
}

/// What a running operator can be asked and told, from anywhere.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    events: broadcast::Sender<Event>,
    settings: Arc<Settings>,
    status: watch::Receiver<Status>,
    topics: Arc<watch::Sender<Vec<command::Topic>>>,
}

/// What the operator's owner asks for.
enum Command {
    PrepareStop { broker: BrokerId, done: oneshot::Sender<bool> },
    Gone { broker: BrokerId },
    Stop,
}

/// The planner's time at the start, ms: brokers tell it what was before.
const ORIGIN_MS: u64 = 3_600_000;

/// The operator was stopped before it was done.
#[derive(Debug, thiserror::Error)]
#[error("the operator has stopped")]
pub struct StopBroker;

/// Why a topic was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteTopic {
    /// The brokers refuse it.
    #[error("the brokers refuse to delete it: {0}")]
    Refused(String),
    /// It may or may not be deleted; asking again settles it.
    #[error("not deleted yet: {0}")]
    Again(String),
}

/// A name for the records of one planner.
fn writer() -> u64 {
    (uuid::Uuid::new_v4().as_u64_pair().0 % Version::WRITERS).max(1)
}

impl Operator {
    /// Reads the store, and begins: sessions with all brokers, elections, and the declaration
    /// of `topics`.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub async fn start<S: RecordStore>(
        settings: Settings,
        store: S,
        topics: Vec<command::Topic>,
    ) -> Result<Self, store::Error> {
        let records = store.list().await?;
        info!(records = records.len(), "records read");
        let settings = Arc::new(settings);
        let planner = Planner::new(settings.policy.clone(), records, Time(ORIGIN_MS), writer());
        let (commands, commanded) = mpsc::channel(EVENTS_MAX);
        let (session_events, heard) = mpsc::channel(EVENTS_MAX);
        let (status, _) = watch::channel(planner.status());
        let (events, _) = broadcast::channel(TOLD_MAX);
        let (calls, results, store_task) = keep_store(store, settings.policy.shards);
        let pending = topics.iter().cloned().map(Declared::new).collect::<Vec<_>>();
        let (declared, _) = watch::channel(pending);
        let (topics, wanted) = watch::channel(topics);
        let (told, _) = watch::channel(Told::default());
        let now = Instant::now();
        let called = settings.brokers.iter().map(|address| (address.id, Contact::Lost(now)));
        let contacts = Arc::new(watch::Sender::new(called.collect()));
        let (composer, snapshots) = Composer::new(&status, &declared, &told, &contacts);

        let mut tasks = JoinSet::new();
        tasks.spawn(store_task);
        for address in settings.brokers.clone() {
            let (settings, contacts) = (Arc::clone(&settings), Arc::clone(&contacts));
            let session = Session::new(settings, address, session_events.clone(), contacts);
            tasks.spawn(session.run());
        }
        let declarer = Declarer::new(Arc::clone(&settings), status.subscribe(), wanted, declared);
        tasks.spawn(declarer.run());
        let observer = Observer::new(Arc::clone(&settings), status.subscribe(), told);
        tasks.spawn(observer.run());
        tasks.spawn(composer.run());
        let told_status = status.subscribe();
        let executor = Executor {
            planner,
            started: Instant::now(),
            outboxes: BTreeMap::new(),
            stops: Vec::new(),
            leaving: BTreeSet::new(),
            calls,
            status,
            events: events.clone(),
        };
        let tick = (settings.detection_timeout() / 20).clamp(TICK_MIN, TICK_MAX);
        let executor = tokio::spawn(executor.run(heard, results, commanded, tick));
        let status = told_status;
        let topics = Arc::new(topics);
        let handle = Handle { commands, snapshots, events, settings, status, topics };
        Ok(Self { handle, executor, tasks })
    }

    /// What others may ask it through.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The state of the whole, whenever it changes.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.handle.snapshots()
    }

    /// What happens, from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.handle.events()
    }

    /// Decides nothing more, and ends all sessions. A write under way may or may not be done.
    pub async fn stop(self) {
        let Self { handle, executor, mut tasks } = self;
        // It may have ended by itself.
        let _: Result<(), _> = handle.commands.send(Command::Stop).await;
        if let Err(error) = executor.await {
            warn!("the operator's task ended badly: {error}");
        }
        tasks.shutdown().await;
    }
}

impl Handle {
    /// The state of the whole, whenever it changes.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// What happens, from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Wants `topics` from now on, and no others. Those that are no longer wanted stay as they are.
    pub fn set_topics(&self, topics: Vec<command::Topic>) {
        self.topics.send_if_modified(|wanted| {
            let changed = *wanted != topics;
            *wanted = topics;
            changed
        });
    }

    /// Deletes the topic with this name, with all its messages. It must not be wanted any more.
    ///
    /// # Errors
    /// Where it is not known to be deleted.
    pub async fn delete_topic(&self, name: &str) -> Result<(), DeleteTopic> {
        let mut catalog = Catalog::new(Arc::clone(&self.settings), self.status.clone());
        match catalog.delete(name).await {
            Attempt::Done => Ok(()),
            Attempt::Refused(reason) => Err(DeleteTopic::Refused(reason)),
            Attempt::Again(reason) => Err(DeleteTopic::Again(reason)),
        }
    }

    /// Takes `broker` for dead: whoever runs its process knows that it has ended. If it is
    /// there after all, the next dial finds it.
    pub async fn broker_gone(&self, broker: BrokerId) {
        // An operator that has stopped decides nothing.
        let _: Result<(), _> = self.commands.send(Command::Gone { broker }).await;
    }

    /// Moves leaderships off `broker` and returns when it leads nothing that another could lead:
    /// whether all other replicas of what it holds are in sync then, so that no other broker is
    /// missed beside it.
    ///
    /// # Errors
    /// Where the operator stops first.
    pub async fn prepare_stop(&self, broker: BrokerId) -> Result<bool, StopBroker> {
        let (done, moved) = oneshot::channel();
        let command = Command::PrepareStop { broker, done };
        self.commands.send(command).await.map_err(|_| StopBroker)?;
        moved.await.map_err(|_| StopBroker)
    }
}

/// A call of the store.
enum Call {
    Swap(Option<Version>, Box<ShardRecord>),
    Read(ShardId),
}

/// Calls of the store that are under way at a time.
const CALLS_AT_ONCE: usize = 16;

/// Runs calls of the store side by side. A shard has one call under way at a time, so neither
/// queue can fill, and calls of different shards may overtake each other.
fn keep_store<S: RecordStore>(
    store: S,
    shards: u32,
) -> (mpsc::Sender<Call>, mpsc::Receiver<Input>, impl Future<Output = ()>) {
    let bound = shards as usize * 2 + 16;
    let (calls, mut called) = mpsc::channel(bound);
    let (results, inputs) = mpsc::channel(bound);
    let task = async move {
        let store = Arc::new(store);
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                call = called.recv(), if running.len() < CALLS_AT_ONCE => {
                    let Some(call) = call else { return };
                    running.spawn(run_call(Arc::clone(&store), call, results.clone()));
                }
                Some(_) = running.join_next() => {}
            }
        }
    };
    (calls, inputs, task)
}

async fn run_call<S: RecordStore>(store: Arc<S>, call: Call, results: mpsc::Sender<Input>) {
    let input = match call {
        Call::Swap(expected, record) => swap(&*store, expected, *record).await,
        Call::Read(shard) => read(&*store, shard).await,
    };
    // Nobody waits for it once the operator has stopped.
    let _ = results.send(input).await;
}

async fn swap<S: RecordStore>(store: &S, expected: Option<Version>, record: ShardRecord) -> Input {
    let shard = record.shard;
    let outcome = match store.compare_and_swap(expected, record).await {
        Ok(Swap::Done) => WriteOutcome::Done,
        Ok(Swap::Conflict(current)) => WriteOutcome::Conflict(current),
        Err(error) => {
            warn!(%shard, "the record may or may not be written: {error}");
            sleep(STORE_RETRY).await;
            WriteOutcome::Unknown
        }
    };
    Input::Written { shard, outcome }
}

async fn read<S: RecordStore>(store: &S, shard: ShardId) -> Input {
    loop {
        match store.read(shard).await {
            Ok(record) => return Input::Read { shard, record },
            Err(error) => warn!(%shard, "the record can't be read: {error}"),
        }
        sleep(STORE_RETRY).await;
    }
}

/// The one task that plans.
struct Executor {
    planner: Planner,
    started: Instant,
    outboxes: BTreeMap<BrokerId, mpsc::Sender<control::ToBroker>>,
    /// Who waits for which broker to lead nothing.
    stops: Vec<(BrokerId, oneshot::Sender<bool>)>,
    /// Brokers that said that they are about to stop, and wait to be let go.
    leaving: BTreeSet<BrokerId>,
    calls: mpsc::Sender<Call>,
    status: watch::Sender<Status>,
    events: broadcast::Sender<Event>,
}

impl Executor {
    async fn run(
        mut self,
        mut heard: mpsc::Receiver<session::Event>,
        mut results: mpsc::Receiver<Input>,
        mut commanded: mpsc::Receiver<Command>,
        tick: Duration,
    ) {
        let mut ticks = interval(tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                Some(input) = results.recv() => self.handle(input).await,
                count = heard.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    for event in batch.drain(..) {
                        self.handle_event(event).await;
                    }
                }
                command = commanded.recv() => match command {
                    Some(Command::PrepareStop { broker, done }) => {
                        self.stops.push((broker, done));
                        self.handle(Input::PrepareStop { broker }).await;
                    }
                    Some(Command::Gone { broker }) => self.handle(Input::Gone { broker }).await,
                    Some(Command::Stop) | None => return,
                },
                _ = ticks.tick() => self.handle(Input::Tick).await,
            }
            self.publish();
        }
    }

    fn now(&self) -> Time {
        let elapsed = self.started.elapsed().as_millis();
        Time(u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(ORIGIN_MS))
    }

    async fn handle_event(&mut self, event: session::Event) {
        match event {
            session::Event::Began { broker, told, outbox } => {
                self.outboxes.insert(broker, outbox);
                // Another process may be there by now; this one says again that it leaves.
                self.leaving.remove(&broker);
                for input in told {
                    self.handle(input).await;
                }
            }
            session::Event::Input(input) => {
                if let Input::Broken { broker } = &input {
                    self.outboxes.remove(broker);
                }
                if let Input::PrepareStop { broker } = &input {
                    self.leaving.insert(*broker);
                }
                self.handle(input).await;
            }
        }
    }

    async fn handle(&mut self, input: Input) {
        self.planner.handle(input, self.now());
        while let Some(action) = self.planner.poll_action() {
            self.execute(action).await;
        }
    }

    async fn execute(&mut self, action: Action) {
        let call = match action {
            Action::Write { expected, record } => Call::Swap(expected, Box::new(record)),
            Action::Read { shard } => Call::Read(shard),
            Action::Send { broker, message: text } => {
                let outbox = self.outboxes.get(&broker);
                if outbox.is_some_and(|outbox| outbox.try_send(message(&text)).is_err()) {
                    // It takes nothing: a new session begins with everything.
                    self.outboxes.remove(&broker);
                }
                return;
            }
            Action::Redial { broker } => {
                self.outboxes.remove(&broker);
                return;
            }
            Action::Tell(event) => {
                tell(&event);
                // Nobody listening is fine.
                let _ = self.events.send(event);
                return;
            }
        };
        if self.calls.send(call).await.is_err() {
            warn!("the record store is gone: nothing more can be decided");
        }
    }

    /// Tells the status where it changed, and whoever waits for a broker to lead nothing.
    fn publish(&mut self) {
        let status = self.planner.status();
        let stops = std::mem::take(&mut self.stops);
        let (done, waiting) =
            stops.into_iter().partition(|(broker, _)| self.planner.is_vacated(*broker));
        self.stops = waiting;
        for (broker, done) in done {
            let told = status.brokers.iter().find(|told| told.id == broker);
            // Who asked may have lost patience.
            let _: Result<(), bool> = done.send(told.is_some_and(|told| told.others_in_sync));
        }
        self.let_go();
        self.status.send_if_modified(|told| {
            let changed = *told != status;
            *told = status;
            changed
        });
    }

    /// Lets go of brokers that are about to stop and that nothing is to be had from any more.
    fn let_go(&mut self) {
        let Self { planner, outboxes, leaving, .. } = self;
        leaving.retain(|broker| {
            let vacated = planner.is_vacated(*broker);
            if vacated && let Some(outbox) = outboxes.get(broker) {
                info!(%broker, "let go: it leads nothing that another could lead");
                // A full outbox ends its session, and it says again in the next that it stops.
                let _ = outbox.try_send(to(to_broker::Message::LetGo(control::LetGo {})));
            }
            !vacated
        });
    }
}

fn tell(event: &Event) {
    let reason = event.reason();
    match event {
        Event::BrokerLost { .. }
        | Event::Leaderless { .. }
        | Event::Resigned { .. }
        | Event::PossibleLoss { .. }
        | Event::VolumeRolledBack { .. }
        | Event::Frozen { .. } => warn!(reason, "{event}"),
        Event::LeaderElected { .. }
        | Event::BrokerStopped { .. }
        | Event::BrokerBack { .. }
        | Event::FailoverCompleted(_)
        | Event::IsrShrunk { .. }
        | Event::IsrExpanded { .. }
        | Event::ReplicasMoving { .. }
        | Event::ReplicasMoved { .. }
        | Event::Adopted { .. } => info!(reason, "{event}"),
    }
}

/// Puts snapshots together whenever a part of them changes.
struct Composer {
    status: watch::Receiver<Status>,
    declared: watch::Receiver<Vec<Declared>>,
    told: watch::Receiver<Told>,
    contacts: watch::Receiver<Contacts>,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Composer {
    fn new(
        status: &watch::Sender<Status>,
        declared: &watch::Sender<Vec<Declared>>,
        told: &watch::Sender<Told>,
        contacts: &watch::Sender<Contacts>,
    ) -> (Self, watch::Receiver<Arc<Snapshot>>) {
        let first =
            compose(&status.borrow(), &declared.borrow(), &told.borrow(), &contacts.borrow());
        let (snapshots, receiver) = watch::channel(Arc::new(first));
        let composer = Self {
            status: status.subscribe(),
            declared: declared.subscribe(),
            told: told.subscribe(),
            contacts: contacts.subscribe(),
            snapshots,
        };
        (composer, receiver)
    }

    async fn run(mut self) {
        loop {
            let changed = tokio::select! {
                changed = self.status.changed() => changed,
                changed = self.declared.changed() => changed,
                changed = self.told.changed() => changed,
                changed = self.contacts.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let next = compose(
                &self.status.borrow_and_update(),
                &self.declared.borrow_and_update(),
                &self.told.borrow_and_update(),
                &self.contacts.borrow_and_update(),
            );
            self.snapshots.send_if_modified(|last| {
                let changed = **last != next;
                if changed {
                    *last = Arc::new(next);
                }
                changed
            });
        }
    }
}
