//! Simulated operators: the shipped planner, its sessions with brokers, its calls of the store.

use std::collections::BTreeMap;

use holdfast_broker::driver::{Input as ToDriver, Report};
use holdfast_operator_core::{
    Action, Event as Told, Input, IsrRequest, Message, Planner, Policy, Report as Reported, Time,
    WriteOutcome,
};
use holdfast_protocol::{BrokerId, Epoch, ShardId, Start, Version};

use crate::event::{Call, Event, Said};
use crate::moves::{MACHINES_MAX, REPLICAS};
use crate::shape::Shape;
use crate::world::{SHARDS, World};

/// How often an operator looks at the clock, dials, and sends heartbeats, ms.
const TICK_MS: u64 = 100;
/// Silence after which a broker is dead, ms.
const DETECTION_MS: u64 = 3_000;
/// Pause after the store failed, ms.
const STORE_RETRY_MS: u64 = 200;

/// An operator; without a planner it does not run.
#[derive(Default)]
pub(crate) struct Operator {
    pub(crate) planner: Option<Planner>,
    /// What it was told.
    pub(crate) policy: Option<Policy>,
    /// Grows with every process.
    pub(crate) life: u64,
    sessions: BTreeMap<BrokerId, u64>,
    /// How many times in a row each broker was found gone.
    gone: BTreeMap<BrokerId, u32>,
}

/// A session of an operator with a broker.
pub(crate) struct Session {
    operator: usize,
    life: u64,
    broker: BrokerId,
    /// What was said last arrives then: nothing overtakes.
    to_operator_ms: u64,
    to_broker_ms: u64,
    /// What the operator was last told of each replica.
    reported: BTreeMap<ShardId, Report>,
}

/// What operators are told while `brokers` run, of which `staying` stay.
pub(crate) fn policy(shape: Shape, brokers: u32, staying: u32) -> Policy {
    Policy {
        brokers,
        staying,
        replicas: REPLICAS,
        min_in_sync_replicas: 2,
        shards: SHARDS,
        flush: shape.flush,
        detection_timeout_ms: DETECTION_MS,
        move_back_after_ms: 2_000,
        unclean_election: shape.unclean,
    }
}

impl World {
    pub(crate) fn start_operator(&mut self, number: usize) {
        let away = self.store.away_until_ms.saturating_sub(self.now());
        if away > 0 {
            self.after(away + 1, Event::StartOperator(number));
            return;
        }
        if self.operators[number].planner.is_some() {
            return;
        }
        // A list may come from a cache that is behind.
        let behind = if self.dice.chance(300) { self.dice.below(6) } else { 0 };
        let records = self.store.list(usize::try_from(behind).unwrap_or(0));
        if !records.iter().eq(self.store.records().values()) {
            self.faults.count("stale list");
        }
        let (now, policy) = (Time(self.now()), self.policy(records.iter(), None));
        let operator = &mut self.operators[number];
        operator.life += 1;
        // A name for the records of this planner alone.
        let writer = (operator.life << 8) + number as u64 + 1;
        operator.planner = Some(Planner::new(policy.clone(), records, now, writer));
        operator.policy = Some(policy);
        let life = operator.life;
        self.after(0, Event::OperatorTick(number, life));
    }

    pub(crate) fn stop_operator(&mut self, number: usize) {
        let operator = &mut self.operators[number];
        *operator = Operator { life: operator.life + 1, ..Operator::default() };
        self.sessions.retain(|_, session| session.operator != number);
    }

    fn lives(&self, number: usize, life: u64) -> bool {
        self.operators[number].life == life && self.operators[number].planner.is_some()
    }

    pub(crate) fn operator_tick(&mut self, number: usize, life: u64) {
        if !self.lives(number, life) {
            return;
        }
        let runs = self.operators[number].policy.as_ref().map_or(0, |policy| policy.brokers);
        for broker in (0..runs).map(BrokerId) {
            match self.operators[number].sessions.get(&broker).copied() {
                Some(session) => self.say(session, true, Said::Heartbeat),
                None => self.dial(number, broker),
            }
        }
        self.tell(number, life, Input::Tick);
        self.after(TICK_MS, Event::OperatorTick(number, life));
    }

    /// Tries to begin a session.
    fn dial(&mut self, number: usize, broker: BrokerId) {
        let (id, node) = (broker.0 as usize, MACHINES_MAX as usize + number);
        if self.faults.is_cut(id, node) || self.faults.is_cut(node, id) {
            return;
        }
        if self.is_paused(broker.0).is_some() {
            return;
        }
        let life = self.operators[number].life;
        let Some(process) = &self.brokers[id].process else {
            let gone = self.operators[number].gone.entry(broker).or_default();
            *gone += 1;
            if *gone >= 2 {
                self.tell(number, life, Input::Refused { broker });
            }
            return;
        };
        let boot = process.volume.boot();
        let (counter, run) = (boot.counter, self.brokers[id].run);
        let start = Start { broker, counter, process: run };
        let connected = Input::Connected { start, renewed: boot.renews_all() };
        self.next_session += 1;
        let session = self.next_session;
        self.sessions.insert(
            session,
            Session {
                operator: number,
                life,
                broker,
                to_operator_ms: 0,
                to_broker_ms: 0,
                reported: BTreeMap::new(),
            },
        );
        self.operators[number].sessions.insert(broker, session);
        self.operators[number].gone.insert(broker, 0);
        self.say(session, false, Said::ToOperator(connected));
        self.report_to(session, true);
    }

    /// Says something in a session; where nothing gets through, it breaks.
    fn say(&mut self, id: u64, to_broker: bool, said: Said) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (broker, node) = (session.broker.0 as usize, MACHINES_MAX as usize + session.operator);
        let path = if to_broker { (node, broker) } else { (broker, node) };
        if self.faults.is_cut(path.0, path.1) {
            self.break_session(id, 100 + self.dice.below(4_000));
            return;
        }
        let arrives = self.now() + self.faults.latency(&self.dice, path);
        let now = self.now();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let last = if to_broker { &mut session.to_broker_ms } else { &mut session.to_operator_ms };
        *last = (*last).max(arrives);
        let delay = *last - now;
        self.after(delay, Event::Session(id, said));
    }

    /// The session is over; its operator hears of it later.
    fn break_session(&mut self, id: u64, delay_ms: u64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        let Session { operator, life, broker, .. } = session;
        self.after(delay_ms, Event::SessionBroken { operator, life, broker, session: id });
    }

    /// The process of this broker has ended.
    pub(crate) fn drop_sessions_of(&mut self, broker: u32) {
        let of = |session: &Session| session.broker.0 == broker;
        let ids: Vec<u64> =
            self.sessions.iter().filter(|(_, session)| of(session)).map(|(id, _)| *id).collect();
        for id in ids {
            let delay = 1 + self.dice.below(5);
            self.break_session(id, delay);
        }
    }

    pub(crate) fn session_broken(
        &mut self,
        number: usize,
        life: u64,
        broker: BrokerId,
        session: u64,
    ) {
        if !self.lives(number, life)
            || self.operators[number].sessions.get(&broker) != Some(&session)
        {
            return;
        }
        self.operators[number].sessions.remove(&broker);
        self.operators[number].gone.insert(broker, 1);
        self.tell(number, life, Input::Broken { broker });
    }

    pub(crate) fn session_arrives(&mut self, id: u64, said: Said) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (number, life, broker) = (session.operator, session.life, session.broker);
        if let Said::ToOperator(input) = said {
            self.tell(number, life, input);
            return;
        }
        if let Some(left) = self.is_paused(broker.0) {
            self.after(left, Event::Session(id, said));
            return;
        }
        match said {
            Said::ToOperator(_) => {}
            Said::Heartbeat => {
                self.say(id, false, Said::ToOperator(Input::Heard { broker }));
                self.report_to(id, false);
            }
            Said::Message(Message::Records(records)) => {
                for record in records {
                    let shard = record.shard;
                    self.drive(broker.0, shard, |d| d.handle(ToDriver::Record(record)));
                }
            }
            Said::Message(Message::RenewVolume { counter }) => self.renew_volume(broker.0, counter),
            Said::Message(Message::IsrAnswer { shard, expected, accepted, record }) => {
                self.drive(broker.0, shard, |driver| {
                    if let Some(record) = record {
                        driver.handle(ToDriver::Record(record));
                    }
                    if !accepted {
                        driver.handle(ToDriver::IsrRefused(expected));
                    }
                });
            }
        }
    }

    /// A broker tells every operator what changed, and one of them what its leaders wish.
    pub(crate) fn report(&mut self, broker: u32, run: u64) {
        if self.brokers[broker as usize].run != run || self.is_paused(broker).is_some() {
            return;
        }
        let of: Vec<u64> = self.sessions_of(broker);
        for session in of {
            self.report_to(session, false);
        }
    }

    fn sessions_of(&self, broker: u32) -> Vec<u64> {
        let of = self.sessions.iter().filter(|(_, session)| session.broker.0 == broker);
        of.map(|(id, _)| *id).collect()
    }

    fn report_to(&mut self, id: u64, complete: bool) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let broker = session.broker;
        let Some(process) = &mut self.brokers[broker.0 as usize].process else { return };
        let mut reports = Vec::new();
        for (shard, driver) in &process.drivers {
            let report = driver.view().report();
            if complete || session.reported.get(shard) != Some(&report) {
                reports.push(reported(*shard, &report));
                session.reported.insert(*shard, report);
            }
        }
        let wishes = std::mem::take(&mut process.wishes);
        let resignations = std::mem::take(&mut process.resignations);
        if complete || !reports.is_empty() {
            self.say(id, false, Said::ToOperator(Input::Reports { broker, reports, complete }));
        }
        for (shard, (epoch, reason)) in resignations {
            self.say(id, false, Said::ToOperator(Input::Resign { broker, shard, epoch, reason }));
        }
        for (shard, wish) in wishes {
            let request = IsrRequest {
                broker,
                shard,
                epoch: wish.epoch,
                expected: wish.expected,
                isr: wish.isr,
            };
            self.say(id, false, Said::ToOperator(Input::IsrRequest(request)));
        }
    }

    /// Tells an operator's planner what happened, and does what it says.
    pub(crate) fn tell(&mut self, number: usize, life: u64, input: Input) {
        if !self.lives(number, life) {
            return;
        }
        let now = Time(self.now());
        let Some(planner) = &mut self.operators[number].planner else { return };
        planner.handle(input, now);
        let actions: Vec<Action> = std::iter::from_fn(|| planner.poll_action()).collect();
        for action in actions {
            self.act(number, life, action);
        }
    }

    fn act(&mut self, number: usize, life: u64, action: Action) {
        let delay = 1 + self.dice.below(10);
        match action {
            Action::Write { expected, record } => {
                let call = Call::Swap(expected, Box::new(record));
                self.after(delay, Event::Store(number, life, call));
            }
            Action::Read { shard } => {
                self.after(delay, Event::Store(number, life, Call::Read(shard)));
            }
            Action::Send { broker, message } => {
                if let Some(session) = self.operators[number].sessions.get(&broker).copied() {
                    self.say(session, true, Said::Message(message));
                }
            }
            Action::Redial { broker } => {
                if let Some(session) = self.operators[number].sessions.remove(&broker) {
                    self.sessions.remove(&session);
                    self.tell(number, life, Input::Broken { broker });
                }
            }
            Action::Tell(event) => self.note_event(&event),
        }
    }

    fn note_event(&mut self, event: &Told) {
        self.note(event.reason().len() as u64);
        match event {
            Told::Frozen { .. } => self.faults.count("records frozen"),
            Told::Adopted { .. } => self.faults.count("records adopted"),
            Told::PossibleLoss { shard, epoch, loss, .. } => {
                self.judge_told(*shard, *epoch, *loss);
            }
            _ => {}
        }
    }

    /// A call of an operator reaches the store.
    pub(crate) fn store_call(&mut self, number: usize, life: u64, call: Call) {
        let away = self.store.away_until_ms > self.now();
        let input = match call {
            Call::Read(_) if away => {
                self.after(STORE_RETRY_MS, Event::Store(number, life, call));
                return;
            }
            Call::Read(shard) => Input::Read { shard, record: self.store.read(shard) },
            Call::Swap(expected, record) => {
                let record = *record;
                let shard = record.shard;
                if let Some(other) = self.store.name(&record) {
                    let what = format!("one name for two records: {other:?} and {record:?}");
                    self.violate(what);
                }
                let ambiguous = away || self.dice.chance(self.faults.ambiguous_permille);
                let outcome = if ambiguous {
                    self.faults.count("ambiguous write");
                    match self.dice.below(3) {
                        0 => {}
                        1 => {
                            let late = 20 + self.dice.below(1_500);
                            self.after(late, Event::StoreLate(expected, record));
                        }
                        _ => {
                            let _ = self.store.swap(expected, record);
                        }
                    }
                    WriteOutcome::Unknown
                } else {
                    match self.store.swap(expected, record) {
                        Ok(()) => WriteOutcome::Done,
                        Err(present) => WriteOutcome::Conflict(present.map(|present| *present)),
                    }
                };
                Input::Written { shard, outcome }
            }
        };
        let unknown = matches!(&input, Input::Written { outcome: WriteOutcome::Unknown, .. });
        let delay = if unknown { STORE_RETRY_MS } else { 1 + self.dice.below(10) };
        self.after(delay, Event::StoreAnswer(number, life, input));
    }
}

/// What a broker says of a replica, as `broker/src/control/session.rs` does.
fn reported(shard: ShardId, report: &Report) -> Reported {
    let record = report.record.as_ref();
    Reported {
        shard,
        incarnation: report.incarnation,
        version: record.map_or_else(Version::default, |record| record.version),
        epoch: record.map_or(Epoch(0), |record| record.epoch),
        leading: report.confirmed.is_some(),
        leads_epoch: report.leads.unwrap_or(Epoch(0)),
        end: report.end,
        last_epoch: report.last_epoch,
        committed: report.committed,
        held: report.held,
        failure: report.failure.clone(),
        record: report.record.clone(),
    }
}
