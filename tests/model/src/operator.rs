//! Who writes the record: shipped planners with their sessions, or the arbitrary operator.

use std::sync::Arc;

use holdfast_core::Replica;
use holdfast_core::replica::IsrRequest;
use holdfast_operator_core::{self as core, Action, Input, Planner, Policy, Time, WriteOutcome};
use holdfast_protocol::{Epoch, Member, ShardId, ShardRecord, Start, UncleanElection, Version};

use crate::action::Fate;
use crate::setup::{BROKERS, MOVE_BACK_AFTER_MS, NOW_MS, OPERATOR_TICK_MS, Setup, Shell};
use crate::state::{Call, Message, State, id};

/// Calls of one operator to the store that may be on their way.
const CALLS_MAX: usize = 4;

/// A shipped operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// What decides.
    pub planner: Planner,
    /// Its calls to the store, in their order.
    pub calls: Vec<Call>,
    /// With which process of each broker it has a session.
    pub sessions: [bool; BROKERS],
    /// Which brokers it was told are about to be stopped.
    pub stopping: [bool; BROKERS],
}

fn policy(setup: &Setup) -> Policy {
    Policy {
        brokers: 3,
        staying: 3,
        replicas: 3,
        min_in_sync_replicas: setup.min_in_sync,
        shards: 1,
        flush: setup.flush,
        detection_timeout_ms: OPERATOR_TICK_MS,
        move_back_after_ms: MOVE_BACK_AFTER_MS,
        unclean_election: UncleanElection::Never,
    }
}

impl Operator {
    /// One that starts from `record`, with a name of its own.
    pub(crate) fn new(setup: &Setup, record: ShardRecord, writer: u64) -> Self {
        let mut planner = Planner::new(policy(setup), vec![record], Time(NOW_MS), writer);
        planner.set_rules(setup.missing.operator);
        Self { planner, calls: Vec::new(), sessions: [false; BROKERS], stopping: [false; BROKERS] }
    }
}

impl State {
    /// Tells an operator what happened, and does what it says.
    fn tell(&mut self, setup: &Setup, number: usize, input: Input, now: Time) {
        let operator = Arc::make_mut(&mut self.operators[number]);
        operator.planner.handle(input, now);
        let mut refusals = Vec::new();
        while let Some(action) = operator.planner.poll_action() {
            match action {
                Action::Write { expected, record } => {
                    operator.calls.push(Call { expected, record: Some(record) });
                }
                Action::Read { .. } => operator.calls.push(Call { expected: None, record: None }),
                Action::Redial { broker } => operator.sessions[broker.0 as usize] = false,
                Action::Send { broker, message } => match message {
                    core::Message::IsrAnswer { expected, accepted: false, .. } => {
                        refusals.push(Message::Refused { to: broker, expected });
                    }
                    // Anyone may see any record at any time, so also the one that is sent here.
                    core::Message::IsrAnswer { .. }
                    | core::Message::Records(_)
                    | core::Message::RenewVolume { .. } => {}
                },
                Action::Tell(_) => {}
            }
        }
        assert!(operator.calls.len() <= CALLS_MAX, "an operator waits for its calls");
        operator.planner.shift_time(Time(NOW_MS), OPERATOR_TICK_MS);
        for message in refusals {
            self.send(setup, message);
        }
    }

    /// Tells an operator something that happens now.
    pub(crate) fn tell_now(&mut self, setup: &Setup, number: usize, input: Input) {
        self.tell(setup, number, input, Time(NOW_MS));
    }

    /// Time passes at an operator.
    pub(crate) fn operator_tick(&mut self, setup: &Setup, number: usize, ms: u64) {
        self.tell(setup, number, Input::Tick, Time(NOW_MS + ms));
    }

    /// A broker tells an operator all that it holds, in a session that begins if need be.
    pub(crate) fn report(&mut self, setup: &Setup, number: usize, broker: usize) {
        let node = &self.nodes[broker];
        let Some(replica) = &node.replica else { return };
        let report = report(replica);
        // Starts are told apart, and not counted: no volume goes back here.
        let process = u64::from(self.spent.boots[broker]);
        if !self.operators[number].sessions[broker] {
            Arc::make_mut(&mut self.operators[number]).sessions[broker] = true;
            let start = Start { broker: id(broker), counter: 0, process };
            self.tell_now(setup, number, Input::Connected { start, renewed: false });
        }
        let reports = vec![report];
        let input = Input::Reports { broker: id(broker), reports, complete: true };
        self.tell_now(setup, number, input);
    }

    /// A session ends.
    pub(crate) fn disconnect(&mut self, setup: &Setup, number: usize, broker: usize) {
        Arc::make_mut(&mut self.operators[number]).sessions[broker] = false;
        self.tell_now(setup, number, Input::Broken { broker: id(broker) });
    }

    /// The wish of a leader reaches an operator.
    pub(crate) fn wish_arrives(
        &mut self,
        setup: &Setup,
        number: usize,
        broker: usize,
        request: IsrRequest,
    ) {
        if self.operators.is_empty() {
            self.grant(setup, &request);
            return;
        }
        let IsrRequest { expected, epoch, isr } = request;
        let request =
            core::IsrRequest { broker: id(broker), shard: ShardId(0), epoch, expected, isr };
        self.tell_now(setup, number, Input::IsrRequest(request));
    }

    /// The arbitrary operator grants a wish: by what the record alone says.
    fn grant(&mut self, setup: &Setup, request: &IsrRequest) {
        let old = !setup.missing.keeps(Shell::PresentWish);
        let record = self.store.record().clone();
        let present = record.version == request.expected && record.epoch == request.epoch;
        let has_leader = record.leader.is_some_and(|leader| request.isr.contains(&leader));
        if (present || old) && has_leader {
            let isr = request.isr.clone();
            let next = ShardRecord { version: record.version.next(), isr, ..record.clone() };
            self.change(setup, &record, next);
        }
    }

    /// The next call of an operator reaches the store.
    pub(crate) fn store_call(&mut self, setup: &Setup, number: usize, fate: Fate) {
        let call = Arc::make_mut(&mut self.operators[number]).calls.remove(0);
        let shard = ShardId(0);
        let input = match (&call.record, fate) {
            (None, _) => Input::Read { shard, record: Some(self.store.record().clone()) },
            (Some(_), Fate::Done) => {
                let outcome = if self.swap(setup, &call) {
                    WriteOutcome::Done
                } else {
                    WriteOutcome::Conflict(Some(self.store.record().clone()))
                };
                Input::Written { shard, outcome }
            }
            (Some(_), Fate::Unheard) => {
                self.swap(setup, &call);
                Input::Written { shard, outcome: WriteOutcome::Unknown }
            }
            (Some(_), Fate::Late) => {
                self.store_mut().late.push(call);
                Input::Written { shard, outcome: WriteOutcome::Unknown }
            }
        };
        self.tell_now(setup, number, input);
    }

    /// The arbitrary operator elects `leader` over the record with this number.
    pub(crate) fn elect(&mut self, setup: &Setup, leader: Member, at: usize) {
        let record = self.store.history[at].clone();
        let next = ShardRecord {
            version: record.version.next(),
            epoch: record.epoch.next_of(leader.broker),
            leader: Some(leader),
            ..record.clone()
        };
        self.change(setup, &record, next);
    }

    /// The arbitrary operator takes a broker out of the record with this number.
    pub(crate) fn fence(&mut self, setup: &Setup, broker: usize, at: usize) {
        let record = self.store.history[at].clone();
        let isr = record.isr.iter().filter(|member| member.broker != id(broker)).copied();
        let next =
            ShardRecord { version: record.version.next(), isr: isr.collect(), ..record.clone() };
        self.change(setup, &record, next);
    }

    /// The arbitrary operator leaves the shard without a leader.
    pub(crate) fn vacate(&mut self, setup: &Setup) {
        let record = self.store.record().clone();
        let version = record.version.next();
        let next = ShardRecord { version, leader: None, ..record.clone() };
        self.change(setup, &record, next);
    }
}

/// What a broker says of itself, as `broker/src/control` does.
fn report(replica: &Replica) -> core::Report {
    let record = replica.record();
    core::Report {
        shard: ShardId(0),
        incarnation: replica.member().incarnation,
        version: record.map_or_else(Version::default, |record| record.version),
        epoch: replica.epoch(),
        leading: replica.confirmed().is_some(),
        leads_epoch: replica.leads().unwrap_or(Epoch(0)),
        end: replica.end(),
        last_epoch: replica.last_epoch(),
        committed: replica.committed(),
        held: replica.held(),
        failure: None,
        record: record.cloned(),
    }
}
