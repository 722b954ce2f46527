//! The cluster as a model of stateright: where it starts, what can happen, what follows.

use std::sync::Arc;

use holdfast_core::Replica;
use holdfast_operator_core::Input;
use holdfast_protocol::{BrokerId, Epoch, Lineage, Member, ShardId, ShardRecord, Version};
use stateright::{Model, Property};

use crate::action::Action;
use crate::disk::Entry;
use crate::invariants::{self, Invariant};
use crate::node::Stop;
use crate::operator::Operator;
use crate::setup::{BROKERS, NOW_MS, OPERATOR_TICK_MS, OPERATOR_WAIT_MS, Operators, Setup};
use crate::state::{Message, Node, Seen, Spent, State, Store, id};
use crate::{enabled, quiet};

/// Who has written the first record; the arbitrary operator writes under that name too.
pub(crate) const FIRST_WRITER: u64 = 1 << 32;

/// The cluster of a setup.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Which.
    pub setup: Setup,
}

impl Cluster {
    /// Where it starts: everybody knows the first record, and broker 0 leads.
    #[must_use]
    pub fn start(&self) -> State {
        let setup = &self.setup;
        let nodes: [Arc<Node>; BROKERS] = std::array::from_fn(|broker| Arc::new(Node::new(broker)));
        let record = first_record(setup, &nodes);
        let operators = match setup.operators {
            Operators::Arbitrary => Vec::new(),
            Operators::Shipped(count) => (1..=count as u64)
                .map(|writer| Arc::new(Operator::new(setup, record.clone(), writer)))
                .collect(),
        };
        let store = Store { history: vec![record], at: 0, late: Vec::new() };
        let mut state = State {
            nodes,
            store: Arc::new(store),
            operators,
            messages: Vec::new(),
            seen: Arc::new(Seen::default()),
            spent: Spent::default(),
            broken: None,
        };
        for broker in 0..BROKERS {
            state.start(setup, broker);
            self.observe(&mut state, broker, 0);
        }
        invariants::look(setup, &mut state);
        if setup.warm {
            quiet::replicate(self, &mut state);
        }
        state.messages.clear();
        state.spent = Spent::default();
        state
    }

    /// What follows where an action happens; `None` where it can't.
    #[must_use]
    pub fn next(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.apply(&mut state, action)?;
        invariants::look(&self.setup, &mut state);
        Some(state)
    }

    fn apply(&self, state: &mut State, action: Action) -> Option<()> {
        let setup = &self.setup;
        match action {
            Action::Append(broker) => {
                let epoch = state.nodes[at(broker)].replica.as_ref()?.confirmed()?;
                state.spent.entries += 1;
                let entry = Entry { epoch, mark: state.spent.entries };
                state.append(setup, at(broker), entry);
            }
            Action::Flush(broker) => self.flush(state, at(broker), false)?,
            Action::FlushFails(broker) => self.flush(state, at(broker), true)?,
            Action::Tick(broker) => {
                state.spent.ticks = state.spent.ticks.saturating_add(1);
                state.tick(setup, at(broker));
            }
            Action::Observe(broker, record) => {
                state.store.history.get(at(record))?;
                self.observe(state, at(broker), at(record));
            }
            Action::Kill(broker) => {
                state.spent.kills += 1;
                self.stop(state, at(broker), Stop::Kill)?;
            }
            Action::PowerCut(broker, keep) => {
                state.spent.power_cuts += 1;
                self.stop(state, at(broker), Stop::Power(at(keep)))?;
            }
            Action::LoseVolume(broker) => {
                state.spent.volumes += 1;
                self.stop(state, at(broker), Stop::Lost)?;
            }
            Action::Rot(broker) => {
                state.spent.volumes += 1;
                self.stop(state, at(broker), Stop::Rotten)?;
            }
            Action::Start(broker) => {
                let stopped = state.nodes[at(broker)].replica.is_none();
                stopped.then(|| state.start(setup, at(broker)))?;
            }
            Action::Deliver(name, target) => {
                let message = take(state, name)?;
                self.deliver(state, message, at(target))?;
            }
            Action::Repeat(name, target) => {
                state.spent.repeats += 1;
                let message = find(state, name)?;
                self.deliver(state, message, at(target))?;
            }
            Action::Lose(name) => drop(take(state, name)?),
            Action::Elect(..)
            | Action::Fence(..)
            | Action::Vacate
            | Action::Refuse(_)
            | Action::RollBack(_) => self.apply_arbitrary(state, action)?,
            Action::Report(..)
            | Action::Break(..)
            | Action::FindDead(..)
            | Action::OperatorTick(_)
            | Action::OperatorWait(_)
            | Action::Store(..)
            | Action::Late(_)
            | Action::Replace(..)
            | Action::PrepareStop(..) => self.apply_shipped(state, action)?,
        }
        Some(())
    }

    fn apply_arbitrary(&self, state: &mut State, action: Action) -> Option<()> {
        let setup = &self.setup;
        match action {
            Action::Elect(broker, record) => {
                let isr = &state.store.history.get(at(record))?.isr;
                let leader = *isr.iter().find(|member| member.broker == id(at(broker)))?;
                state.elect(setup, leader, at(record));
            }
            Action::Fence(broker, record) => {
                let isr = &state.store.history.get(at(record))?.isr;
                isr.iter().find(|member| member.broker == id(at(broker)))?;
                state.fence(setup, at(broker), at(record));
            }
            Action::Vacate => state.vacate(setup),
            Action::Refuse(name) => {
                let Message::Wish { from, request } = take(state, name)? else { return None };
                state.send(setup, Message::Refused { to: from, expected: request.expected });
            }
            Action::RollBack(record) => {
                (at(record) < state.store.at).then_some(())?;
                state.roll_back(at(record));
            }
            _ => return None,
        }
        Some(())
    }

    fn apply_shipped(&self, state: &mut State, action: Action) -> Option<()> {
        let setup = &self.setup;
        match action {
            Action::Report(operator, broker) => {
                state.nodes[at(broker)].replica.as_ref()?;
                state.report(setup, at(operator), at(broker));
            }
            Action::Break(operator, broker) => {
                state.spent.operator_faults += 1;
                state.disconnect(setup, at(operator), at(broker));
            }
            Action::FindDead(operator, broker) => {
                if state.nodes[at(broker)].replica.is_some() {
                    return None;
                }
                state.disconnect(setup, at(operator), at(broker));
                let input = Input::Refused { broker: id(at(broker)) };
                state.tell_now(setup, at(operator), input);
            }
            Action::OperatorTick(operator) => {
                state.spent.operator_faults += 1;
                state.operator_tick(setup, at(operator), OPERATOR_TICK_MS);
            }
            Action::OperatorWait(operator) => {
                state.operator_tick(setup, at(operator), OPERATOR_WAIT_MS);
            }
            Action::Store(operator, fate) => {
                state.operators.get(at(operator))?.calls.first()?;
                state.store_call(setup, at(operator), fate);
            }
            Action::Late(number) => {
                state.store.late.get(at(number))?;
                let call = state.store_mut().late.remove(at(number));
                state.swap(setup, &call);
            }
            Action::Replace(operator, record) => {
                state.spent.operator_faults += 1;
                let record = state.store.history.get(at(record))?.clone();
                // What the old one asked of the store may still arrive.
                let calls = state.operators[at(operator)].calls.clone();
                let writes = calls.into_iter().filter(|call| call.record.is_some());
                state.store_mut().late.extend(writes);
                let faults = u64::from(state.spent.operator_faults);
                let writer = (faults << 8) + u64::from(operator) + 1;
                state.operators[at(operator)] = Arc::new(Operator::new(setup, record, writer));
            }
            Action::PrepareStop(operator, broker) => {
                state.spent.operator_faults += 1;
                Arc::make_mut(&mut state.operators[at(operator)]).stopping[at(broker)] = true;
                let input = Input::PrepareStop { broker: id(at(broker)) };
                state.tell_now(setup, at(operator), input);
            }
            _ => return None,
        }
        Some(())
    }

    fn observe(&self, state: &mut State, broker: usize, record: usize) {
        let record = state.store.history[record].clone();
        state.with(&self.setup, broker, |replica| {
            replica.handle_record(record, NOW_MS);
        });
    }

    fn flush(&self, state: &mut State, broker: usize, fails: bool) -> Option<()> {
        let node = &state.nodes[broker];
        node.replica.as_ref()?;
        (node.disk.believed < node.disk.log.len()).then_some(())?;
        state.spent.kills += u8::from(fails);
        state.flush(&self.setup, broker, fails);
        Some(())
    }

    fn stop(&self, state: &mut State, broker: usize, how: Stop) -> Option<()> {
        state.nodes[broker].replica.as_ref()?;
        if let Stop::Power(keep) = how {
            (keep <= state.nodes[broker].disk.log.len()).then_some(())?;
        }
        state.stop(&self.setup, broker, how);
        Some(())
    }

    /// A message arrives. Where nobody is there, it is lost.
    fn deliver(&self, state: &mut State, message: Message, target: usize) -> Option<()> {
        let setup = &self.setup;
        match message {
            Message::Fetch { from, to, fetch } => {
                self.at(state, to, |replica| replica.handle_fetch(from, fetch, NOW_MS))?;
            }
            Message::Answer { from, to, answer } => {
                self.at(state, to, |replica| replica.handle_answer(from, answer, NOW_MS))?;
            }
            Message::Wish { from, request } => {
                let room = state.store.history.len() < setup.bounds.records;
                room.then(|| state.wish_arrives(setup, target, from.0 as usize, request))?;
            }
            Message::Refused { to, expected } => {
                self.at(state, to, |replica| replica.handle_isr_refused(expected, NOW_MS))?;
            }
        }
        Some(())
    }

    fn at(&self, state: &mut State, to: BrokerId, act: impl FnOnce(&mut Replica)) -> Option<()> {
        let broker = to.0 as usize;
        state.nodes[broker].replica.as_ref()?;
        state.with(&self.setup, broker, act);
        Some(())
    }
}

fn at(number: u8) -> usize {
    usize::from(number)
}

fn find(state: &State, name: u64) -> Option<Message> {
    let posted = state.messages.iter().find(|posted| posted.name == name)?;
    Some(Message::clone(&posted.message))
}

fn take(state: &mut State, name: u64) -> Option<Message> {
    let place = state.messages.iter().position(|posted| posted.name == name)?;
    Some(Arc::unwrap_or_clone(state.messages.remove(place).message))
}

fn first_record(setup: &Setup, nodes: &[Arc<Node>; BROKERS]) -> ShardRecord {
    let member = |(broker, node): (usize, &Arc<Node>)| Member {
        broker: id(broker),
        incarnation: node.disk.incarnation,
    };
    let isr: Vec<Member> = nodes.iter().enumerate().map(member).collect();
    let version = Version { writer: FIRST_WRITER, ..Version::default().next() };
    ShardRecord {
        shard: ShardId(0),
        version,
        epoch: Epoch(1),
        leader: isr.first().copied(),
        replicas: isr.iter().map(|member| member.broker).collect(),
        isr,
        min_in_sync_replicas: setup.min_in_sync,
        flush: setup.flush,
        unclean_epoch: None,
        loss: None,
        starts: Vec::new(),
        lineage: Lineage::of(version, None).into(),
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        enabled::actions(&self.setup, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        self.next(last, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds<const INDEX: usize>(_: &Cluster, state: &State) -> bool {
            state.broken != Some(Invariant::ALL[INDEX])
        }
        vec![
            Property::always("CommittedNeverLost", holds::<0>),
            Property::always("OneLeaderPerEpoch", holds::<1>),
            Property::always("EpochNeverRegresses", holds::<2>),
            Property::always("LogMatching", holds::<3>),
            Property::always("LeaderHasAllCommitted", holds::<4>),
            Property::always("NoTruncateBelowCommitted", holds::<5>),
            Property::always("IsrNeverBelowMinimum", holds::<6>),
            Property::always("OnlyProvenAreElected", holds::<7>),
            Property::always("OperatorIrrelevance", holds::<8>),
            Property::always("ConsistentRead", holds::<9>),
            Property::always("MinCopies", holds::<10>),
        ]
    }
}
