//! The world of a run: what is to happen, in the order of time.

use std::collections::BTreeMap;

use holdfast_core::replica::IsrRequest;
use holdfast_protocol::mark::{self, Mark};
use holdfast_protocol::{Offset, ShardId};

use crate::admin::Admin;
use crate::broker::Broker;
use crate::check::Checker;
use crate::client::{Client, SHORT, topic_of};
use crate::dice::Dice;
use crate::effects::Clock;
use crate::event::Event;
use crate::fault::Faults;
use crate::loss::Losses;
use crate::member::Member;
use crate::moves::Wants;
use crate::operator::{Operator, Session};
use crate::reader::Slow;
use crate::reader::wait::{WAITERS, Waiter};
use crate::shape::Shape;
use crate::store::Store;
use crate::watch::Watch;

/// Brokers where their number does not change.
pub(crate) const BROKERS: u32 = 3;
pub(crate) const OPERATORS: usize = 2;
pub(crate) const SHARDS: u32 = 2;
/// How long faults go on, ms.
const FAULTS_MS: u64 = 60_000;
/// After the last fault everything must be well again within this, ms.
pub(crate) const QUIET_MS: u64 = 60_000;

/// What came of a run in which nothing was violated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of every event, in order: the same seed gives the same.
    pub digest: u64,
    /// Events.
    pub events: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often each mark was reached.
    pub marks: BTreeMap<Mark, u64>,
    /// Batches acknowledged.
    pub acknowledged: u64,
    /// Batches read.
    pub read: u64,
    /// Offsets that groups committed.
    pub committed_cursors: u64,
    /// Batches acknowledged in Async mode and lost, where that was possible and told.
    pub lost: u64,
    /// The longest that a producer waited while at most one broker was in trouble, ms.
    pub waited_ms: u64,
    /// From the end of the last fault until everything was well, ms.
    pub healed_ms: u64,
    /// The most that there was of what is bounded.
    pub peak: BTreeMap<&'static str, u64>,
}

/// A wish for other in-sync replicas that waits for a session.
pub(crate) type Wishes = BTreeMap<ShardId, IsrRequest>;

/// The world.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) clock: Clock,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub(crate) brokers: Vec<Broker>,
    pub(crate) operators: Vec<Operator>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) next_session: u64,
    pub(crate) store: Store,
    pub(crate) clients: Vec<Client>,
    pub(crate) members: Vec<Member>,
    pub(crate) admin: Admin,
    pub(crate) slow: Option<Slow>,
    pub(crate) waiters: [Option<Waiter>; WAITERS],
    pub(crate) shape: Shape,
    pub(crate) wants: Wants,
    pub(crate) faults: Faults,
    pub(crate) losses: Losses,
    pub(crate) checker: Checker,
    pub(crate) watch: Watch,
    /// No more faults, and no new batches.
    pub(crate) quiet: bool,
    digest: u64,
    /// What was found wrong in the midst of an event.
    violation: Option<String>,
    pub(crate) events: u64,
    pub(crate) trace: bool,
}

/// Runs a seed.
///
/// # Errors
/// What was violated.
pub fn run(seed: u64) -> Result<Outcome, String> {
    let mut world = World::new(seed, Wants::draw(seed));
    world.begin();
    while world.now() < FAULTS_MS {
        world.step()?;
    }
    world.quieten();
    let begun = world.now();
    while !world.is_well() {
        if world.now() > begun + QUIET_MS {
            return Err(format!("not well {QUIET_MS} ms after the last fault: {}", world.ill()));
        }
        world.step()?;
    }
    let healed_ms = world.now() - begun;
    world.judge()?;
    Ok(finished(world, healed_ms))
}

/// What came of a run.
pub(crate) fn finished(world: World, healed_ms: u64) -> Outcome {
    let Checker { acknowledged, read, committed_cursors, lost, .. } = world.checker;
    Outcome {
        digest: world.digest,
        events: world.events,
        faults: world.faults.counts,
        marks: mark::take().into_iter().collect(),
        acknowledged,
        read,
        committed_cursors,
        lost,
        waited_ms: world.watch.waited_ms_max,
        healed_ms,
        peak: world.watch.peak,
    }
}

impl World {
    pub(crate) fn new(seed: u64, wants: Wants) -> Self {
        // What an earlier run of this thread reached is not of this one.
        let _ = mark::take();
        let dice = Dice::new(seed);
        let shape = Shape::draw(&dice);
        let clock = Clock::default();
        let brokers = (0..wants.machines()).map(|id| wants.machine(id, &clock)).collect();
        Self {
            brokers,
            operators: (0..OPERATORS).map(|_| Operator::default()).collect(),
            sessions: BTreeMap::new(),
            next_session: 0,
            store: Store::default(),
            clients: Client::all(),
            members: Member::all(),
            admin: Admin::default(),
            slow: None,
            waiters: [None; WAITERS],
            shape,
            wants,
            losses: Losses::default(),
            watch: Watch::default(),
            faults: Faults::new(&dice),
            checker: Checker::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            quiet: false,
            digest: 0xcbf2_9ce4_8422_2325,
            violation: None,
            events: 0,
            trace: std::env::var_os("SIMULATION_TRACE").is_some(),
            clock,
            dice,
        }
    }

    /// Brokers, an operator, and clients that write.
    pub(crate) fn begin_cluster(&mut self) {
        for broker in self.machines() {
            self.after(self.dice.below(50), Event::Start(broker));
        }
        self.after(100, Event::StartOperator(0));
        for client in 0..self.clients.len() {
            self.after(500 + self.dice.below(500), Event::Client(client));
        }
        for client in &self.clients {
            if client.stream.topic == topic_of(client.shard, SHORT) {
                self.checker.is_short(client.stream);
            }
        }
        self.after(300, Event::Admin);
    }

    fn begin(&mut self) {
        self.begin_cluster();
        for member in 0..self.members.len() {
            self.after(1_000 + self.dice.below(4_000), Event::Member(member, 0));
        }
        self.after(1_000, Event::Read);
        self.after(1_000, Event::ReadSlowly);
        self.after(1_000, Event::Watch);
        self.begin_wants();
        self.after(2_000 + self.dice.below(2_000), Event::Fault);
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now_ms.get()
    }

    /// Lets something happen later.
    pub(crate) fn after(&mut self, delay_ms: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now() + delay_ms, self.sequence), event);
    }

    /// Lets the next thing happen.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return Err("nothing happens any more".to_owned());
        };
        self.clock.now_ms.set(at);
        self.events += 1;
        self.note(at);
        let text = event.brief();
        text.bytes().for_each(|byte| self.note_byte(byte));
        if self.trace {
            println!("{at:6} {text}");
        }
        self.take(event)?;
        self.judge_elections()?;
        self.violation.take().map_or(Ok(()), Err)
    }

    /// Something is wrong: the run ends with the present event.
    pub(crate) fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// How much waits to happen.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Puts a number into the digest (FNV-1a).
    pub(crate) fn note(&mut self, number: u64) {
        number.to_le_bytes().into_iter().for_each(|byte| self.note_byte(byte));
    }

    fn note_byte(&mut self, byte: u8) {
        self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }

    fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::BrokerTick(broker, run) => self.broker_tick(broker, run),
            Event::Start(broker) => self.start_broker(broker),
            Event::Peer { from, to, run, shard, message } => {
                self.peer_arrives(from, to, run, shard, message);
            }
            Event::Flushed { broker, run, shard, job } => self.flush(broker, run, shard, job),
            Event::Checkpointed { broker, run, shard, job } => {
                self.write_checkpoint(broker, run, shard, job);
            }
            Event::Report(broker, run) => self.report(broker, run),
            Event::OperatorTick(operator, life) => self.operator_tick(operator, life),
            Event::StartOperator(operator) => self.start_operator(operator),
            Event::Session(session, said) => self.session_arrives(session, said),
            Event::SessionBroken { operator, life, broker, session } => {
                self.session_broken(operator, life, broker, session);
            }
            Event::Store(operator, life, call) => self.store_call(operator, life, call),
            Event::StoreLate(expected, record) => {
                // Whether it still applies is what compare-and-swap decides.
                let _ = self.store.swap(expected, record);
            }
            Event::StoreAnswer(operator, life, input) => self.tell(operator, life, input),
            Event::Client(client) => self.client_step(client),
            Event::Request { client, attempt, sent, broker, waited_ms } => {
                self.request_arrives(client, (attempt, sent), broker, waited_ms);
            }
            Event::Reply { client, attempt, reply } => self.reply_arrives(client, attempt, reply),
            Event::Timeout { client, attempt } => self.client_timeout(client, attempt),
            Event::Admin => self.administer(),
            Event::Member(member, attempt) => self.member_step(member, attempt)?,
            Event::MemberRequest { member, attempt, broker, request } => {
                self.member_request(member, attempt, broker, request);
            }
            Event::MemberReply { member, attempt, below, answer } => {
                self.member_reply((member, attempt), below, answer)?;
            }
            Event::MemberFind { member, attempt, broker } => {
                self.member_find((member, attempt), broker);
            }
            Event::MemberFound { member, attempt, broker } => {
                self.member_found((member, attempt), broker)?;
            }
            Event::MemberTimeout { member, attempt } => self.member_timeout(member, attempt)?,
            Event::Read => self.read()?,
            Event::ReadSlowly => self.read_slowly()?,
            Event::Watch => self.watch()?,
            Event::Want => self.want()?,
            Event::Scrub(broker, run) => self.scrub(broker, run),
            Event::Door(broker, run) => self.door(broker, run)?,
            Event::Fault => self.fault(),
            Event::Power(_) if self.quiet => {}
            Event::Power(broker) => self.power(broker),
            Event::Heal(heal) => self.heal(heal),
        }
        Ok(())
    }
}

/// Where a batch is, as a broker says it.
pub(crate) type At = Option<Offset>;
