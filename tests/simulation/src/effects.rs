//! What the driver of a shard asks of the simulated broker around it: noted, to be carried out by
//! the world once the driver's turn is over.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

use holdfast_broker::driver::Effects;
use holdfast_core::replica::{Answer, Fetch, IsrRequest, Settings};
use holdfast_core::state::CatalogState;
use holdfast_log::{CheckpointJob, FlushJob};
use holdfast_protocol::{BrokerId, Epoch, ShardId, ShardRecord};

use crate::dice::Dice;

/// Clocks begin here, so that "long ago" can be told, ms.
const START_MS: u64 = 1_000_000_000;
/// The wall's clock at the beginning, ms since 1970.
const WALL_MS: i64 = 1_700_000_000_000;
/// Checkpoints are written this often, so that a simulated minute has some.
const CHECKPOINT_MS: u64 = 4_000;

/// The time of the run, and of one machine's wall.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    pub(crate) now_ms: Rc<Cell<u64>>,
    /// How far the wall's clock was set forward or back.
    pub(crate) jump_ms: Rc<Cell<i64>>,
}

/// What the driver wants done.
#[derive(Debug)]
pub(crate) enum Wanted {
    Fetch(BrokerId, Fetch),
    Answer(BrokerId, Answer),
    Checkpoint(BrokerId),
    Isr(IsrRequest),
    Resign(Epoch, String),
    Flush(FlushJob),
    WriteCheckpoint(CheckpointJob),
}

/// The topics, as one process knows them.
#[derive(Debug, Default)]
pub(crate) struct KnownCatalog {
    pub(crate) topics: Arc<CatalogState>,
    /// It has caught up with the cluster: doors open only then.
    pub(crate) is_current: bool,
}

/// What the shards of one process share of it.
pub(crate) type SharedCatalog = Rc<RefCell<KnownCatalog>>;

/// Ends a simulated process, as `exit` ends a real one.
pub(crate) struct Exit;

/// The simulated broker around one shard.
#[derive(Debug)]
pub(crate) struct SimEffects {
    pub(crate) broker: BrokerId,
    pub(crate) clock: Clock,
    pub(crate) dice: Dice,
    pub(crate) hears: BTreeSet<BrokerId>,
    pub(crate) wanted: Vec<Wanted>,
    catalog: SharedCatalog,
    pub(crate) flush_interval_ms: u64,
    /// The operator should know at once.
    pub(crate) news: Cell<bool>,
}

impl SimEffects {
    pub(crate) fn new(broker: BrokerId, clock: Clock, dice: Dice, catalog: SharedCatalog) -> Self {
        let (hears, wanted) = (BTreeSet::new(), Vec::new());
        let (news, flush_interval_ms) = (Cell::new(false), 0);
        Self { broker, clock, dice, hears, wanted, catalog, flush_interval_ms, news }
    }
}

impl Effects for SimEffects {
    fn broker(&self) -> BrokerId {
        self.broker
    }

    fn now_ms(&self) -> u64 {
        START_MS + self.clock.now_ms.get()
    }

    fn wall_ms(&self) -> i64 {
        let now = i64::try_from(self.clock.now_ms.get()).unwrap_or(0);
        WALL_MS + now + self.clock.jump_ms.get()
    }

    fn draw(&mut self) -> u128 {
        u128::from(self.dice.next()) << 64 | u128::from(self.dice.next())
    }

    fn settings(&self, shard: ShardId) -> Settings {
        Settings { tells_commits: shard == ShardId::CATALOG, ..Settings::default() }
    }

    fn flush_interval_ms(&self) -> u64 {
        self.flush_interval_ms
    }

    fn checkpoint_age_ms(&self) -> u64 {
        CHECKPOINT_MS
    }

    fn send_fetch(&mut self, to: BrokerId, fetch: Fetch) {
        self.wanted.push(Wanted::Fetch(to, fetch));
    }

    fn hears(&self, follower: BrokerId) -> bool {
        self.hears.contains(&follower)
    }

    fn send_answer(&mut self, to: BrokerId, answer: Answer) {
        self.wanted.push(Wanted::Answer(to, answer));
    }

    fn fetch_checkpoint(&mut self, from: BrokerId) {
        self.wanted.push(Wanted::Checkpoint(from));
    }

    fn request_isr(&mut self, request: IsrRequest) {
        self.wanted.push(Wanted::Isr(request));
    }

    fn resign(&mut self, epoch: Epoch, reason: String) {
        self.wanted.push(Wanted::Resign(epoch, reason));
    }

    fn start_flush(&mut self, job: FlushJob) {
        self.wanted.push(Wanted::Flush(job));
    }

    fn start_checkpoint(&mut self, job: CheckpointJob) {
        self.wanted.push(Wanted::WriteCheckpoint(job));
    }

    fn blocking<T>(work: impl FnOnce() -> T) -> T {
        work()
    }

    fn tell_report(&self) {
        self.news.set(true);
    }

    fn publish_records(&self, _: &[ShardRecord]) {}

    fn publish_catalog(&self, catalog: CatalogState) {
        self.catalog.borrow_mut().topics = Arc::new(catalog);
    }

    fn catalog_is_current(&self) {
        self.catalog.borrow_mut().is_current = true;
    }

    fn catalog(&self) -> Arc<CatalogState> {
        Arc::clone(&self.catalog.borrow().topics)
    }

    fn stop_process(&self, _: &dyn Error) -> ! {
        std::panic::resume_unwind(Box::new(Exit))
    }
}
