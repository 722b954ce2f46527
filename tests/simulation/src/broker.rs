//! A simulated broker: a disk, and a process on it with a driver for each shard.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use holdfast_broker::driver::{Ask, Driver, Image, Input};
use holdfast_core::State;
use holdfast_log::simulated::SimulatedDisk;
use holdfast_log::{CheckpointJob, Config, Disk, FlushJob, Volume};
use holdfast_protocol::{BrokerId, Epoch, ShardId};
use holdfast_service::{AppendError, Appended};
use tokio::sync::oneshot;

use crate::client::Reply;
use crate::effects::{Clock, Exit, SimEffects, Wanted};
use crate::world::{Event, Peer, SHARDS, Wishes, World};

/// How often a driver is told the time, ms.
const TICK_MS: u64 = 20;
/// A process that could not start is started again after this, ms.
const RETRY_MS: u64 = 1_000;

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
    pub(crate) clock: Clock,
}

/// A running broker.
pub(crate) struct Process {
    pub(crate) drivers: BTreeMap<ShardId, Driver<SimEffects>>,
    pub(crate) volume: Volume,
    pub(crate) wishes: Wishes,
    pub(crate) resignations: BTreeMap<ShardId, (Epoch, String)>,
    replies: Vec<Waiting>,
}

/// A client that waits for an answer.
struct Waiting {
    client: usize,
    attempt: u64,
    answer: oneshot::Receiver<Result<Appended, AppendError>>,
}

fn config() -> Config {
    Config {
        segment_bytes_max: 64 * 1024,
        segment_entries_max: 256,
        preallocate_bytes: 16 * 1024,
        tail_bytes_max: 32 * 1024,
        reserve_bytes: 64 * 1024,
        aside_bytes_max: 1024 * 1024,
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
            flush_ms: (1, 4),
            clock,
        }
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

    fn runs(&self, id: u32, run: u64) -> bool {
        let broker = &self.brokers[id as usize];
        broker.run == run && broker.process.is_some()
    }

    /// Starts the process, if it does not run.
    pub(crate) fn start_broker(&mut self, id: u32) {
        if self.brokers[id as usize].process.is_some() {
            return;
        }
        self.broker(id).run += 1;
        let run = self.brokers[id as usize].run;
        let Some(process) = self.open(id) else {
            self.broker(id).disk.kill();
            self.after(RETRY_MS, Event::Start(id));
            return;
        };
        self.broker(id).process = Some(process);
        for shard in 0..SHARDS {
            self.drive(id, ShardId(shard), Driver::start);
        }
        self.after(TICK_MS, Event::BrokerTick(id, run));
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
        let dice = self.dice.clone();
        let broker = self.broker(id);
        let disk = Disk::Simulated(broker.disk.clone());
        let kernel = format!("kernel-{}", broker.boots);
        let volume = Volume::open_on(&disk, Path::new("/data"), &kernel).ok()?;
        let mut drivers = BTreeMap::new();
        for shard in (0..SHARDS).map(ShardId) {
            let effects = SimEffects::new(BrokerId(id), broker.clock.clone(), dice.clone());
            let place = (&disk, &*volume.shard_dir(shard), config());
            drivers.insert(shard, Driver::open(effects, shard, volume.boot(), place).ok()?);
        }
        volume.settle().ok()?;
        let resignations = BTreeMap::new();
        let (wishes, replies) = (Wishes::new(), Vec::new());
        Some(Process { drivers, volume, wishes, resignations, replies })
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
        }
    }

    /// The process is gone, however it ended.
    pub(crate) fn end_process(&mut self, id: u32) {
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
                self.carry_out(id, shard, wanted);
                if news {
                    let run = self.brokers[id as usize].run;
                    self.after(0, Event::Report(id, run));
                }
                self.answer_clients(id);
                Some(done)
            }
            Err(ended) if ended.is::<Exit>() => {
                self.faults.count("exit");
                self.end_process(id);
                self.broker(id).disk.kill();
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

    fn flush_time(&self, id: u32) -> u64 {
        let (from, to) = self.brokers[id as usize].flush_ms;
        self.dice.between(from, to)
    }

    /// Tells clients what has come of their requests.
    fn answer_clients(&mut self, id: u32) {
        let Some(process) = &mut self.brokers[id as usize].process else { return };
        let mut answered = Vec::new();
        process.replies.retain_mut(|waiting| match waiting.answer.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) => false,
            Ok(answer) => {
                answered.push((waiting.client, waiting.attempt, answer));
                false
            }
        });
        for (client, attempt, answer) in answered {
            self.answered(client, attempt, answer);
        }
    }

    /// A client waits for an answer of this broker.
    pub(crate) fn await_answer(
        &mut self,
        id: u32,
        client: usize,
        attempt: u64,
        answer: oneshot::Receiver<Result<Appended, AppendError>>,
    ) {
        if let Some(process) = &mut self.broker(id).process {
            process.replies.push(Waiting { client, attempt, answer });
            self.answer_clients(id);
        } else {
            self.after(1, Event::Reply { client, attempt, reply: Reply::Failed });
        }
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
            Err(_) => {}
        });
    }

    /// Sends from one broker to another: it may get lost, be late, or arrive twice.
    pub(crate) fn send_peer(&mut self, from: u32, to: u32, shard: ShardId, message: Peer) {
        let nodes = (from as usize, to as usize);
        if self.faults.is_cut(nodes.0, nodes.1) || to as usize >= self.brokers.len() {
            return;
        }
        if self.dice.chance(self.faults.lost_permille) {
            return;
        }
        let run = self.brokers[to as usize].run;
        let copy = match &message {
            Peer::Fetch(fetch) if self.dice.chance(self.faults.twice_permille) => {
                Some(Peer::Fetch(*fetch))
            }
            Peer::Answer(answer) if self.dice.chance(self.faults.twice_permille) => {
                Some(Peer::Answer(answer.clone()))
            }
            _ => None,
        };
        if let Some(message) = copy {
            let delay = self.faults.latency(&self.dice, nodes) * 3;
            self.after(delay, Event::Peer { from, to, run, shard, message });
        }
        let delay = self.faults.latency(&self.dice, nodes);
        self.after(delay, Event::Peer { from, to, run, shard, message });
    }

    pub(crate) fn peer_arrives(
        &mut self,
        from: u32,
        to: u32,
        run: u64,
        shard: ShardId,
        message: Peer,
    ) {
        if !self.runs(to, run) {
            return;
        }
        if let Some(left) = self.is_paused(to) {
            self.after(left, Event::Peer { from, to, run, shard, message });
            return;
        }
        let peer = BrokerId(from);
        match message {
            Peer::Fetch(fetch) => {
                self.drive(to, shard, |driver| {
                    driver.effects_mut().hears.insert(peer);
                    driver.handle(Input::Fetch(peer, fetch));
                });
            }
            Peer::Answer(answer) => {
                self.drive(to, shard, |driver| driver.handle(Input::Answer(peer, answer)));
            }
            Peer::Connected => {
                self.drive(to, shard, |driver| driver.handle(Input::Connected(peer)));
            }
            Peer::Gone => {
                self.drive(to, shard, |driver| {
                    driver.effects_mut().hears.remove(&peer);
                    driver.handle(Input::FollowerGone(peer));
                });
            }
            Peer::AskCheckpoint => self.give_checkpoint(from, to, shard),
            Peer::Checkpoint(image) => {
                self.drive(to, shard, |driver| {
                    driver.handle(image.map_or(Input::BuildFailed, Input::Built));
                });
            }
        }
    }

    /// The leader `to` gives its state to a follower that is built anew.
    fn give_checkpoint(&mut self, follower: u32, to: u32, shard: ShardId) {
        let (tx, mut rx) = oneshot::channel();
        self.drive(to, shard, |driver| driver.handle(Input::Ask(Ask::Checkpoint(tx))));
        let image = rx.try_recv().ok().flatten().and_then(|image| {
            let (state, history) = State::decode(&image.bytes).ok()?;
            let (bytes, log_start) = (image.bytes, image.log_start);
            Some(Box::new(Image { state, history, bytes, log_start }))
        });
        if image.is_some() {
            self.faults.count("built anew");
        }
        self.send_peer(to, follower, shard, Peer::Checkpoint(image));
    }
}
