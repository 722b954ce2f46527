//! A simulated broker: a disk, and a process on it with a driver for each shard.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;

use holdfast_broker::driver::{Driver, Input};
use holdfast_log::simulated::SimulatedDisk;
use holdfast_log::{CheckpointJob, Config, Disk, FlushJob, Volume};
use holdfast_protocol::{BrokerId, Epoch, Incarnation, ShardId};

use crate::answer::Waiting;
use crate::door::Door;
use crate::effects::{Clock, Exit, SharedCatalog, SimEffects, Wanted};
use crate::event::{Event, Peer};
use crate::world::{SHARDS, Wishes, World};

/// How often a driver is told the time, ms.
const TICK_MS: u64 = 20;
/// A process that could not start is started again after this, ms.
const RETRY_MS: u64 = 1_000;
/// A flush takes so long where nothing is wrong, ms.
const FLUSH_MS: (u64, u64) = (1, 4);
/// For so long a leader that resigned is not elected again, though nobody else can be
/// (`operator/core/src/broker.rs`), and what the election takes, ms.
const RESIGNED_MS: u64 = 6_000;
/// What is set aside of each log, bytes.
pub(crate) const ASIDE_BYTES: u64 = 1024 * 1024;

/// A machine with a disk.
pub(crate) struct Broker {
    pub(crate) disk: SimulatedDisk,
    pub(crate) process: Option<Process>,
    /// Grows with every process.
    pub(crate) run: u64,
    /// Grows with every boot of the machine.
    pub(crate) boots: u64,
    /// What happens to it waits until then, ms.
    pub(crate) paused_until_ms: u64,
    /// Flushes take so long, ms.
    pub(crate) flush_ms: (u64, u64),
    /// Flushes that have begun are done then, ms.
    flushes_until_ms: u64,
    pub(crate) is_full: bool,
    /// It is not wanted: nobody starts it.
    pub(crate) is_absent: bool,
    /// It is not elected again before then, ms.
    pub(crate) resigned_until_ms: u64,
    /// It runs a release until then that does not know what its leaders write, ms.
    pub(crate) old_until_ms: u64,
    /// A bit was turned somewhere, and may not have been found.
    pub(crate) rotten: bool,
    /// Some reads were to fail, and may still.
    pub(crate) reads_fail: bool,
    /// Its logs when it last ran.
    pub(crate) logs: BTreeMap<ShardId, Incarnation>,
    pub(crate) clock: Clock,
}

/// A running broker.
pub(crate) struct Process {
    pub(crate) drivers: BTreeMap<ShardId, Driver<SimEffects>>,
    pub(crate) volume: Volume,
    pub(crate) wishes: Wishes,
    pub(crate) resignations: BTreeMap<ShardId, (Epoch, String)>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) catalog: SharedCatalog,
    pub(crate) door: Door,
}

fn config() -> Config {
    Config {
        segment_bytes_max: 64 * 1024,
        segment_entries_max: 256,
        preallocate_bytes: 16 * 1024,
        tail_bytes_max: 8 * 1024,
        reserve_bytes: 64 * 1024,
        aside_bytes_max: ASIDE_BYTES,
        clean_dead_percent: 25,
        ..Config::default()
    }
}

impl Broker {
    pub(crate) fn new(clock: &Clock) -> Self {
        let clock = Clock { now_ms: clock.now_ms.clone(), ..Clock::default() };
        Self {
            disk: SimulatedDisk::default(),
            process: None,
            run: 0,
            boots: 1,
            paused_until_ms: 0,
            flush_ms: FLUSH_MS,
            flushes_until_ms: 0,
            is_full: false,
            is_absent: false,
            resigned_until_ms: 0,
            old_until_ms: 0,
            rotten: false,
            reads_fail: false,
            logs: BTreeMap::new(),
            clock,
        }
    }

    /// Flushes take as long as they do again.
    pub(crate) fn flush_fast(&mut self) {
        self.flush_ms = FLUSH_MS;
    }

    /// Whether a flush takes long, or may: what its leaders take waits as long for it.
    pub(crate) fn is_slow(&self, now_ms: u64) -> bool {
        self.flush_ms != FLUSH_MS || self.flushes_until_ms > now_ms + FLUSH_MS.1 * 2
    }

    /// The disk has only so many bytes left.
    pub(crate) fn fill(&mut self, room: u64) {
        self.disk.set_quota(Some(self.disk.used_bytes() + room));
        self.is_full = true;
    }

    /// The disk has room again.
    pub(crate) fn give_room(&mut self) {
        self.disk.set_quota(None);
        self.is_full = false;
    }
}

impl World {
    pub(crate) fn broker(&mut self, id: u32) -> &mut Broker {
        &mut self.brokers[id as usize]
    }

    /// Puts off what happens to a paused broker; true where it was.
    pub(crate) fn is_paused(&self, id: u32) -> Option<u64> {
        let until = self.brokers[id as usize].paused_until_ms;
        (until > self.now()).then(|| until - self.now())
    }

    pub(crate) fn runs(&self, id: u32, run: u64) -> bool {
        let broker = &self.brokers[id as usize];
        broker.run == run && broker.process.is_some()
    }

    /// Starts the process, if it does not run.
    pub(crate) fn start_broker(&mut self, id: u32) {
        if self.brokers[id as usize].process.is_some() || self.brokers[id as usize].is_absent {
            return;
        }
        self.broker(id).run += 1;
        let run = self.brokers[id as usize].run;
        let Some(process) = self.open(id) else {
            if self.brokers[id as usize].disk.has_stopped() && self.dice.chance(500) {
                self.cut_power(id);
            } else {
                self.broker(id).disk.kill();
            }
            self.after(RETRY_MS, Event::Start(id));
            return;
        };
        self.broker(id).process = Some(process);
        for shard in 0..SHARDS {
            self.drive(id, ShardId(shard), Driver::start);
        }
        self.after(TICK_MS, Event::BrokerTick(id, run));
        self.after(1_000 + self.dice.below(5_000), Event::Scrub(id, run));
        for peer in 0..self.brokers.len() {
            let peer = u32::try_from(peer).unwrap_or(0);
            if peer != id {
                for shard in 0..SHARDS {
                    self.send_peer(id, peer, ShardId(shard), Peer::Connected);
                }
            }
        }
    }

    fn open(&mut self, id: u32) -> Option<Process> {
        let (dice, flush_interval_ms) = (self.dice.clone(), self.shape.flush_interval_ms);
        let broker = self.broker(id);
        let disk = Disk::Simulated(broker.disk.clone());
        let kernel = format!("kernel-{}", broker.boots);
        let volume = Volume::open_on(&disk, Path::new("/data"), &kernel).ok()?;
        let mut drivers = BTreeMap::new();
        let catalog = SharedCatalog::default();
        for shard in (0..SHARDS).map(ShardId) {
            let (clock, dice) = (broker.clock.clone(), dice.clone());
            let mut effects = SimEffects::new(BrokerId(id), clock, dice, catalog.clone());
            effects.flush_interval_ms = flush_interval_ms;
            let place = (&disk, &*volume.shard_dir(shard), config());
            drivers.insert(shard, Driver::open(effects, shard, volume.boot(), place).ok()?);
        }
        volume.settle().ok()?;
        let resignations = BTreeMap::new();
        let (wishes, waiting) = (Wishes::new(), Vec::new());
        let views = drivers.values().map(|driver| Arc::clone(driver.view())).collect();
        let door = Door::new(id, views, broker.clock.now_ms.get()).ok()?;
        Some(Process { drivers, volume, wishes, resignations, waiting, catalog, door })
    }

    /// An operator found that the volume was put back: the process ends, to give every replica
    /// another name in its next life.
    pub(crate) fn renew_volume(&mut self, id: u32, counter: u64) {
        let Some(process) = &self.brokers[id as usize].process else { return };
        if process.volume.renew(counter).is_ok() {
            self.faults.count("volumes renewed");
            self.end_process(id);
            self.broker(id).disk.kill();
            self.after(RETRY_MS, Event::Start(id));
        } else {
            // It could not be noted: the session ends, and the next one tells again.
            self.drop_sessions_of(id);
        }
    }

    /// The process is gone, however it ended.
    pub(crate) fn end_process(&mut self, id: u32) {
        self.note_logs(id);
        let broker = self.broker(id);
        broker.process = None;
        broker.run += 1;
        broker.paused_until_ms = 0;
        self.drop_sessions_of(id);
        for peer in (0..self.brokers.len()).filter_map(|peer| u32::try_from(peer).ok()) {
            if peer != id {
                for shard in 0..SHARDS {
                    self.send_peer(id, peer, ShardId(shard), Peer::Gone);
                }
            }
        }
    }

    /// Has the driver of a shard do something, and carries out what comes of it.
    pub(crate) fn drive<T>(
        &mut self,
        id: u32,
        shard: ShardId,
        work: impl FnOnce(&mut Driver<SimEffects>) -> T,
    ) -> Option<T> {
        let process = self.brokers[id as usize].process.as_mut()?;
        let driver = process.drivers.get_mut(&shard)?;
        let done = catch_unwind(AssertUnwindSafe(|| {
            let done = work(driver);
            driver.end_turn();
            done
        }));
        match done {
            Ok(done) => {
                let effects = driver.effects_mut();
                let wanted = std::mem::take(&mut effects.wanted);
                let news = effects.news.replace(false);
                let committed = driver.core().replica().committed();
                self.note_committed(shard, committed);
                self.show(id, shard);
                self.carry_out(id, shard, wanted);
                if news {
                    let run = self.brokers[id as usize].run;
                    self.after(0, Event::Report(id, run));
                }
                self.give_answers(id);
                self.ring_if_awaited(id);
                Some(done)
            }
            Err(ended) if ended.is::<Exit>() => {
                self.faults.count("exit");
                // Where it was stopped in the middle of something, the machine may be, too.
                if self.brokers[id as usize].disk.has_stopped() && self.dice.chance(500) {
                    self.cut_power(id);
                } else {
                    self.broker(id).disk.kill();
                }
                self.end_process(id);
                let delay = 200 + self.dice.below(2_000);
                self.after(delay, Event::Start(id));
                None
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    fn carry_out(&mut self, id: u32, shard: ShardId, wanted: Vec<Wanted>) {
        let run = self.brokers[id as usize].run;
        for wanted in wanted {
            match wanted {
                Wanted::Fetch(to, fetch) => self.send_peer(id, to.0, shard, Peer::Fetch(fetch)),
                Wanted::Answer(to, answer) => self.send_peer(id, to.0, shard, Peer::Answer(answer)),
                Wanted::Checkpoint(from) => {
                    self.send_peer(id, from.0, shard, Peer::AskCheckpoint);
                    // Where no answer comes, the next try begins with this one's end.
                    let message = Peer::Checkpoint(None);
                    let event = Event::Peer { from: from.0, to: id, run, shard, message };
                    self.after(3_000, event);
                }
                Wanted::Isr(request) => {
                    if let Some(process) = &mut self.broker(id).process {
                        process.wishes.insert(shard, request);
                    }
                    self.after(0, Event::Report(id, run));
                }
                Wanted::Resign(epoch, reason) => {
                    self.faults.count("leader resigned");
                    let until = self.now() + RESIGNED_MS;
                    self.broker(id).resigned_until_ms = until;
                    if let Some(process) = &mut self.broker(id).process {
                        process.resignations.insert(shard, (epoch, reason));
                    }
                    self.after(0, Event::Report(id, run));
                }
                Wanted::Flush(job) => {
                    let delay = self.flush_time(id);
                    self.after(delay, Event::Flushed { broker: id, run, shard, job });
                }
                Wanted::WriteCheckpoint(job) => {
                    let delay = self.flush_time(id) * 2;
                    self.after(delay, Event::Checkpointed { broker: id, run, shard, job });
                }
            }
        }
    }

    /// Where a replica is now, for people who look at a trace.
    fn show(&self, id: u32, shard: ShardId) {
        let process = self.brokers[id as usize].process.as_ref().filter(|_| self.trace);
        let Some(driver) = process.and_then(|process| process.drivers.get(&shard)) else { return };
        let (replica, report) = (driver.core().replica(), driver.view().report());
        println!(
            "{:6}   {id}/{shard}: {}..{} of the log, committed {}, held {}, epoch {}, last {}, \
             leads {:?}, follows {:?}, log {}, {:?}",
            self.now(),
            driver.view().reader.start(),
            driver.view().reader.end(),
            replica.committed(),
            replica.held(),
            replica.epoch(),
            replica.last_epoch(),
            replica.leads(),
            replica.follows(),
            replica.member().incarnation,
            report.failure,
        );
    }

    fn flush_time(&mut self, id: u32) -> u64 {
        let (from, to) = self.brokers[id as usize].flush_ms;
        let (takes, now) = (self.dice.between(from, to), self.now());
        let machine = self.broker(id);
        machine.flushes_until_ms = machine.flushes_until_ms.max(now + takes);
        takes
    }

    pub(crate) fn broker_tick(&mut self, id: u32, run: u64) {
        if !self.runs(id, run) {
            return;
        }
        if let Some(left) = self.is_paused(id) {
            self.after(left, Event::BrokerTick(id, run));
            return;
        }
        for shard in 0..SHARDS {
            self.drive(id, ShardId(shard), Driver::tick);
        }
        self.after(TICK_MS, Event::BrokerTick(id, run));
    }

    pub(crate) fn flush(&mut self, id: u32, run: u64, shard: ShardId, job: FlushJob) {
        if !self.runs(id, run) {
            return;
        }
        if let Some(left) = self.is_paused(id) {
            self.after(left, Event::Flushed { broker: id, run, shard, job });
            return;
        }
        self.drive(id, shard, |driver| match job.run() {
            Ok(flushed) => driver.handle(Input::Durable(flushed)),
            Err(_) => resume_unwind(Box::new(Exit)),
        });
    }

    pub(crate) fn write_checkpoint(
        &mut self,
        id: u32,
        run: u64,
        shard: ShardId,
        job: CheckpointJob,
    ) {
        if !self.runs(id, run) {
            return;
        }
        if let Some(left) = self.is_paused(id) {
            self.after(left, Event::Checkpointed { broker: id, run, shard, job });
            return;
        }
        self.drive(id, shard, |driver| match job.run() {
            Ok(done) => driver.handle(Input::Checkpointed(done)),
            Err(error) if error.is_fatal() => resume_unwind(Box::new(Exit)),
            Err(_) => driver.handle(Input::CheckpointFailed),
        });
    }
}
