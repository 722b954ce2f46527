//! The driver of one shard: joins its core with its log, and carries out what the core says.
//!
//! It runs in whatever thread calls it, one call at a time, and waits for nobody but its disk: the
//! broker puts a task around it (`super::actor`), the simulated cluster a loop. A turn is any
//! number of [`Driver::handle`] and [`Driver::append`], and then [`Driver::settle`], so that one
//! write and one flush serve all of it.
//!
//! The channels that answers go out by are tokio's, but need no runtime.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use holdfast_core::Shard;
use holdfast_core::replica::{Answer, Fetch};
use holdfast_core::shard::Waiters;
use holdfast_log::{Boot, Checkpointed, Config, Disk, Flushed, ShardLog, SmallFiles};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Position, ShardId, ShardRecord, Version,
};
use tracing::{debug, info, warn};

use super::append::{Gap, Waiter};
use super::effects::Effects;
use super::groups::Groups;
use super::housekeeping::Housekeeping;
use super::rot::Rot;
use super::{Ask, CheckpointImage, Image, OpenError, View, open};

/// Changes of the catalog that wait for the one before them; more are refused a check.
const LATER_MAX: usize = 1024;
/// Bytes of batches taken in one turn.
const TURN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the driver of a shard is told.
#[derive(Debug)]
pub enum Input {
    /// The operator's record.
    Record(ShardRecord),
    /// A follower fetches.
    Fetch(BrokerId, Fetch),
    /// A follower's connection ended.
    FollowerGone(BrokerId),
    /// The leader answers.
    Answer(BrokerId, Answer),
    /// There is a connection to this broker, which there was not.
    Connected(BrokerId),
    /// A flush is done.
    Durable(Flushed),
    /// A checkpoint is written.
    Checkpointed(Checkpointed),
    /// A checkpoint could not be written.
    CheckpointFailed,
    /// The leader's checkpoint is here.
    Built(Box<Image>),
    /// The leader's checkpoint could not be had.
    BuildFailed,
    /// The operator refused other in-sync replicas.
    IsrRefused(Version),
    /// Somebody asks.
    Ask(Ask),
    /// Somebody read of the log with this name what is not as it was written; where, for people.
    Rot(Incarnation, String),
    /// A pass over the small files of the log is done.
    Scrubbed(SmallFiles),
}

/// One shard's core and log.
#[derive(Debug)]
pub struct Driver<E> {
    pub(super) effects: E,
    pub(super) shard: ShardId,
    pub(super) view: Arc<View>,
    pub(super) core: Shard,
    pub(super) log: ShardLog,
    /// A flush is under way; what is written meanwhile goes with the next.
    flushing: bool,
    flush_due_ms: Option<u64>,
    /// Who waits for commitment, and who only for this log to hold the entry.
    pub(super) committed: Waiters<Waiter>,
    pub(super) held: Waiters<Waiter>,
    /// Those whose sequence does not follow, taken in this turn.
    pub(super) gaps: Vec<Gap>,
    /// The epoch in which the waits began.
    pub(super) led: Option<Epoch>,
    pub(super) groups: Groups,
    pub(super) housekeeping: Housekeeping,
    /// A checkpoint is being fetched from the leader.
    pub(super) building: bool,
    /// Changes of the catalog that wait for the one before them.
    later: VecDeque<Ask>,
    /// Why this replica can't go on, for people.
    pub(super) failure: Option<String>,
    /// What of its log is lost on this disk, until it is repaired.
    pub(super) rot: Option<Rot>,
    /// Since when the record has not named this broker, as far as it was seen.
    pub(super) left_ms: Option<u64>,
}

impl<E: Effects> Driver<E> {
    /// Opens the replica in `dir`, as the `boot` of its volume says it may be trusted.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        mut effects: E,
        shard: ShardId,
        boot: Boot,
        (disk, dir, config): (&Disk, &Path, Config),
    ) -> Result<Self, OpenError> {
        let (mut log, recovered) = ShardLog::open_on(disk, dir, config)?;
        let checkpoint = open::settle_identity(&mut effects, shard, boot, &mut log, recovered)?;
        let core = open::recover_or_begin_anew(&mut effects, shard, &mut log, checkpoint)?;
        let view = Arc::new(View::new(log.reader()));
        // Before anybody can ask: the operator would name a replica by the incarnation that it is
        // told, also by one that is not known yet.
        view.put_report(&core, None);
        Ok(Self {
            effects,
            shard,
            view,
            core,
            log,
            flushing: false,
            flush_due_ms: None,
            committed: Waiters::default(),
            held: Waiters::default(),
            gaps: Vec::new(),
            led: None,
            groups: Groups::default(),
            housekeeping: Housekeeping::default(),
            building: false,
            later: VecDeque::new(),
            failure: None,
            rot: None,
            left_ms: None,
        })
    }

    /// What others may see of the shard.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The core, to look at.
    #[must_use]
    pub fn core(&self) -> &Shard {
        &self.core
    }

    /// What it asks of the broker around it.
    pub fn effects_mut(&mut self) -> &mut E {
        &mut self.effects
    }

    /// Publishes what was recovered, and begins.
    pub fn start(&mut self) {
        self.publish_all();
        self.carry_out();
    }

    /// Takes what the core is told; [`Driver::settle`] carries out what comes of it.
    pub fn handle(&mut self, input: Input) {
        let now = self.effects.now_ms();
        match input {
            Input::Record(record) => {
                if !self.core.handle_record(record.clone(), now)
                    && self.core.replica().record() != Some(&record)
                {
                    debug!(shard = %self.shard, version = %record.version, "an older record was ignored");
                }
            }
            Input::Fetch(from, fetch) => self.core.handle_fetch(from, fetch, now),
            Input::FollowerGone(broker) => self.core.handle_follower_gone(broker),
            Input::Answer(from, answer) => self.core.handle_answer(from, answer, now),
            Input::Connected(broker) => self.core.handle_connected(broker, now),
            Input::Durable(flushed) => {
                self.flushing = false;
                // Only a log that is being filled has anything to write here.
                let filling = self.log.durable() < self.log.clean_point();
                let mut note = || self.log.flushed(flushed);
                match if filling { E::blocking(note) } else { note() } {
                    Ok(()) => {}
                    Err(error) if error.is_fatal() => self.effects.stop_process(&error),
                    Err(error) => {
                        warn!(shard = %self.shard, %error, "the log is filled, which can't be noted");
                    }
                }
                self.core.handle_durable(self.log.durable(), now);
            }
            Input::Checkpointed(done) => self.checkpointed(done),
            Input::CheckpointFailed => self.checkpoint_failed(),
            Input::Built(image) => self.build(*image),
            Input::BuildFailed => self.building = false,
            Input::IsrRefused(version) => self.core.handle_isr_refused(version, now),
            Input::Ask(ask) => self.ask(ask),
            // Of a log that was set aside meanwhile it says nothing.
            Input::Rot(of, what) if of == self.core.replica().member().incarnation => {
                self.found_rot(what);
            }
            Input::Rot(..) => {}
            Input::Scrubbed(found) => self.scrubbed(found),
        }
    }

    /// Tells the core, the groups and the housekeeping the time.
    pub fn tick(&mut self) {
        let now = self.effects.now_ms();
        self.core.handle_tick(now);
        self.tick_groups();
        self.keep_house(now);
    }

    /// Carries out what came of what was taken.
    pub fn settle(&mut self) {
        self.confirm_gaps();
        self.core.finish(self.effects.now_ms());
        self.carry_out();
    }

    /// Ends a turn: settles, and takes the changes of the catalog that had to wait.
    pub fn end_turn(&mut self) {
        self.settle();
        while !self.later.is_empty() && !self.core.catalog_is_changing() {
            let Some(ask) = self.later.pop_front() else { return };
            self.ask(ask);
            self.settle();
        }
    }

    /// Whether batches may be taken now. Others wait, and doors behind them.
    #[must_use]
    pub fn takes_appends(&self) -> bool {
        let replica = self.core.replica();
        // An epoch that is not confirmed yet will be in a moment: who waits is not turned away.
        let confirming = replica.leads().is_some() && replica.confirmed().is_none();
        !confirming && !self.core.is_full()
    }

    /// Whether this turn may take more batches.
    #[must_use]
    pub fn turn_has_room(&self) -> bool {
        self.core.buffered() < TURN_BYTES_MAX
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            // One change of the catalog at a time, so that each is checked against the last.
            change @ (Ask::Declare(..) | Ask::DeleteTopic(..))
                if self.core.catalog_is_changing() && self.later.len() < LATER_MAX =>
            {
                self.later.push_back(change);
            }
            Ask::Declare(topic, reply) => self.declare(&topic, reply),
            Ask::DeleteTopic(id, reply) => self.delete_topic(id, reply),
            Ask::DeleteRecords(stream, before, reply) => self.delete_records(stream, before, reply),
            Ask::Group(request, reply) => self.group(request, reply),
            Ask::Checkpoint(reply) => {
                // Not only once confirmed: the replica that asks may be needed to confirm the epoch,
                // and a committed state is true under any leader.
                let leads = self.core.replica().leads().is_some();
                let image = leads.then(|| CheckpointImage {
                    bytes: self.core.state().encode(self.core.replica().history()).into(),
                    log_start: self.log.start(),
                });
                let _ = reply.send(image);
            }
            Ask::Groups(reply) => {
                let _ = reply.send(self.group_lags());
            }
            Ask::Followers(reply) => {
                let _ = reply.send(self.core.replica().followers().collect());
            }
        }
    }

    /// Starts a flush where one is due.
    pub(super) fn flush(&mut self) {
        if self.flushing || self.log.durable() == self.log.end() {
            return;
        }
        if self.is_async() {
            let now = self.effects.now_ms();
            let interval = self.effects.flush_interval_ms().max(1);
            if now < *self.flush_due_ms.get_or_insert(now.saturating_add(interval)) {
                return;
            }
            self.flush_due_ms = None;
        }
        if let Some(job) = self.log.flush_job() {
            self.flushing = true;
            self.effects.start_flush(job);
        }
    }

    fn is_async(&self) -> bool {
        self.core.replica().record().is_some_and(|record| record.flush == FlushMode::Async)
    }

    /// Up to here this log holds what only it must hold.
    pub(super) fn held_here(&self) -> Position {
        self.core.replica().held()
    }

    /// Ends in order: what waits is told so, a checkpoint is kept, the log closed.
    pub fn close(mut self) {
        let shard = self.shard;
        self.settle();
        self.give_up_waits();
        let state = self.core.state();
        let bytes = state.encode(self.core.replica().history());
        let position = state.position();
        let committed = self.core.replica().committed();
        let building = self.core.replica().is_bootstrapping();
        let closed = E::blocking(|| {
            if !building && position > self.log.checkpoint_position().unwrap_or_default() {
                self.log.write_checkpoint(position, &bytes)?;
            }
            let meta = holdfast_log::Meta { committed, ..self.log.meta().clone() };
            if meta != *self.log.meta() {
                self.log.write_meta(&meta)?;
            }
            self.log.close()
        });
        match closed {
            Ok(()) => info!(%shard, "closed"),
            Err(error) => warn!(%shard, %error, "the log could not be closed in order"),
        }
    }
}
