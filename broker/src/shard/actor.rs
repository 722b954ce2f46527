//! The actor of one shard: takes events in turn, drives the core, carries out what it says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::Shard;
use holdfast_core::shard::Waiters;
use holdfast_log::ShardLog;
use holdfast_protocol::{BrokerId, Epoch, FlushMode, Position};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::append::Waiter;
use super::flusher::Flusher;
use super::groups::Groups;
use super::housekeeping::Housekeeping;
use super::{AppendCommand, Ask, CheckpointImage, Event, Handle};
use crate::clock::now_ms;
use crate::node::Node;
use crate::peer::server::AnswerBox;

/// How often the core is told the time.
const TICK: Duration = Duration::from_millis(20);
/// Events and batches taken in one turn, before what they bring about is carried out.
const TURN_MAX: usize = 256;
/// Changes of the catalog that wait for the one before them; more are refused a check.
const LATER_MAX: usize = 1024;
/// Bytes of batches taken in one turn.
const TURN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The actor.
pub(super) struct Actor {
    pub(super) node: Arc<Node>,
    pub(super) handle: Handle,
    pub(super) core: Shard,
    pub(super) log: ShardLog,
    pub(super) flusher: Flusher,
    /// A flush is under way; what is written meanwhile goes with the next.
    pub(super) flushing: bool,
    pub(super) flush_due: Option<Instant>,
    /// Who waits for commitment, and who only for this log to hold the entry.
    pub(super) committed: Waiters<Waiter>,
    pub(super) held: Waiters<Waiter>,
    /// The epoch in which the waits began.
    pub(super) led: Option<Epoch>,
    pub(super) answers: std::collections::HashMap<BrokerId, AnswerBox>,
    pub(super) groups: Groups,
    pub(super) housekeeping: Housekeeping,
    /// A checkpoint is being fetched from the leader.
    pub(super) building: bool,
    /// Changes of the catalog that wait for the one before them.
    later: VecDeque<Ask>,
    /// Why this replica can't go on, for people.
    pub(super) failure: Option<String>,
}

impl Actor {
    pub(super) fn new(
        node: Arc<Node>,
        handle: Handle,
        core: Shard,
        log: ShardLog,
        flusher: Flusher,
    ) -> Self {
        Self {
            node,
            handle,
            core,
            log,
            flusher,
            flushing: false,
            flush_due: None,
            committed: Waiters::default(),
            held: Waiters::default(),
            led: None,
            answers: std::collections::HashMap::new(),
            groups: Groups::default(),
            housekeeping: Housekeeping::default(),
            building: false,
            later: VecDeque::new(),
            failure: None,
        }
    }

    /// Runs until it is told to stop, or the broker drops it.
    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut appends: mpsc::Receiver<AppendCommand>,
    ) {
        self.publish_all();
        self.carry_out();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let takes = self.takes_appends();
            let stop = tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => return,
                },
                command = appends.recv(), if takes => {
                    if let Some(command) = command {
                        self.append(command);
                    }
                    None
                }
                _ = tick.tick() => {
                    self.tick();
                    None
                }
            };
            if let Some(done) = stop.or_else(|| self.take_more(&mut events, &mut appends)) {
                self.stop(done);
                return;
            }
            self.core.finish(now_ms());
            self.carry_out();
            self.take_later();
        }
    }

    /// Takes what else waits, so that one write and one flush serve all of it.
    fn take_more(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        appends: &mut mpsc::Receiver<AppendCommand>,
    ) -> Option<oneshot::Sender<()>> {
        for _ in 0..TURN_MAX {
            if let Ok(event) = events.try_recv() {
                let stop = self.handle(event);
                if stop.is_some() {
                    return stop;
                }
                // What the event brought about may decide what comes next.
                self.core.finish(now_ms());
                self.carry_out();
            } else if self.takes_appends() && self.core.buffered() < TURN_BYTES_MAX {
                match appends.try_recv() {
                    Ok(command) => self.append(command),
                    Err(_) => return None,
                }
            } else {
                return None;
            }
        }
        None
    }

    fn handle(&mut self, event: Event) -> Option<oneshot::Sender<()>> {
        let now = now_ms();
        match event {
            Event::Record(record) => {
                if !self.core.handle_record(record.clone(), now)
                    && self.core.replica().record() != Some(&record)
                {
                    debug!(shard = %self.handle.shard, version = %record.version, "an older record was ignored");
                }
            }
            Event::Fetch(from, fetch, answers) => {
                self.answers.insert(from, answers);
                self.core.handle_fetch(from, fetch, now);
            }
            Event::FollowerGone(broker, answers) => {
                // A follower that was quick to come back asks on another stream by now.
                let ended = |known: &AnswerBox| Arc::ptr_eq(known, &answers);
                if self.answers.get(&broker).is_some_and(ended) {
                    self.answers.remove(&broker);
                    self.core.handle_follower_gone(broker);
                }
            }
            Event::Answer(from, answer) => self.core.handle_answer(from, answer, now),
            Event::Connected(broker) => self.core.handle_connected(broker, now),
            Event::Durable(flushed) => {
                self.flushing = false;
                self.log.flushed(flushed);
                self.core.handle_durable(self.log.durable(), now);
            }
            Event::Checkpointed(done) => self.checkpointed(done),
            Event::Built(image) => self.build(*image),
            Event::BuildFailed => self.building = false,
            Event::IsrRefused(version) => self.core.handle_isr_refused(version, now),
            Event::Ask(ask) => self.ask(ask),
            Event::Stop(done) => return Some(done),
        }
        None
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

    /// Takes the next change of the catalog, once the last is committed.
    fn take_later(&mut self) {
        while !self.later.is_empty() && !self.core.catalog_is_changing() {
            let Some(ask) = self.later.pop_front() else { return };
            self.ask(ask);
            self.core.finish(now_ms());
            self.carry_out();
        }
    }

    fn tick(&mut self) {
        let now = now_ms();
        self.core.handle_tick(now);
        self.tick_groups();
        self.keep_house(now);
    }

    /// Whether batches may be taken now. Others wait in the channel, and doors behind it.
    fn takes_appends(&self) -> bool {
        let replica = self.core.replica();
        // An epoch that is not confirmed yet will be in a moment: who waits is not turned away.
        let confirming = replica.leads().is_some() && replica.confirmed().is_none();
        !confirming && !self.core.is_full()
    }

    /// Starts a flush where one is due.
    pub(super) fn flush(&mut self) {
        if self.flushing || self.log.durable() == self.log.end() {
            return;
        }
        if self.is_async() {
            let interval = Duration::from_millis(self.node.told().flush_interval_ms.max(1));
            let due = *self.flush_due.get_or_insert_with(|| Instant::now() + interval);
            if Instant::now() < due {
                return;
            }
            self.flush_due = None;
        }
        if let Some(job) = self.log.flush_job() {
            self.flushing = true;
            self.flusher.flush(job);
        }
    }

    pub(super) fn is_async(&self) -> bool {
        self.core.replica().record().is_some_and(|record| record.flush == FlushMode::Async)
    }

    /// Up to here this log holds what only it must hold.
    pub(super) fn held_here(&self) -> Position {
        self.core.replica().held()
    }

    fn stop(mut self, done: oneshot::Sender<()>) {
        let shard = self.handle.shard;
        self.core.finish(now_ms());
        self.carry_out();
        self.give_up_waits();
        let state = self.core.state();
        let bytes = state.encode(self.core.replica().history());
        let position = state.position();
        let committed = self.core.replica().committed();
        let building = self.core.replica().is_bootstrapping();
        let closed = tokio::task::block_in_place(|| {
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
        let _ = done.send(());
    }
}
