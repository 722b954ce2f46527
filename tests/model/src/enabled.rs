//! What can happen next in a state, within the bounds.

use holdfast_protocol::FlushMode;

use crate::action::{Action, Fate};
use crate::setup::{BROKERS, Operators, Setup, Shell};
use crate::state::{Message, Node, State};

/// Writes that their writers gave up, and that may still arrive.
const LATE_MAX: usize = 2;

/// Lists everything that can happen.
pub(crate) fn actions(setup: &Setup, state: &State, out: &mut Vec<Action>) {
    if state.broken.is_some() {
        return;
    }
    for broker in 0..BROKERS {
        of_broker(setup, state, broker, out);
        records(state, broker, out);
    }
    messages(setup, state, out);
    if setup.operators == Operators::Arbitrary {
        arbitrary(setup, state, out);
    } else {
        for operator in 0..state.operators.len() {
            shipped(setup, state, operator, out);
        }
    }
    if state.spent.rollbacks < setup.bounds.rollbacks {
        out.extend((0..state.store.at).map(|at| Action::RollBack(byte(at))));
    }
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).expect("everything in the model is small")
}

fn of_broker(setup: &Setup, state: &State, broker: usize, out: &mut Vec<Action>) {
    let (bounds, spent, number) = (&setup.bounds, &state.spent, byte(broker));
    let node = &state.nodes[broker];
    let Some(replica) = &node.replica else {
        out.push(Action::Start(number));
        return;
    };
    if spent.entries < bounds.entries && replica.confirmed().is_some() && replica.may_commit() {
        out.push(Action::Append(number));
    }
    let dirty = node.disk.believed < node.disk.log.len();
    if dirty {
        out.push(Action::Flush(number));
        let lies = !setup.missing.keeps(Shell::FlushStops);
        if lies || spent.kills < bounds.kills {
            out.push(Action::FlushFails(number));
        }
    }
    if spent.ticks < bounds.ticks {
        out.push(Action::Tick(number));
    }
    if spent.kills < bounds.kills {
        out.push(Action::Kill(number));
    }
    if spent.power_cuts < bounds.power_cuts {
        power_cuts(setup, node, number, out);
    }
    if spent.volumes < bounds.volumes {
        out.push(Action::LoseVolume(number));
        if !node.disk.log.is_empty() {
            out.push(Action::Rot(number));
        }
    }
}

fn power_cuts(setup: &Setup, node: &Node, number: u8, out: &mut Vec<Action>) {
    let (durable, end) = (node.disk.durable, node.disk.log.len());
    // A power cut that loses nothing is a kill, but that in Async nobody knows.
    let last = if setup.flush == FlushMode::Async { end + 1 } else { end };
    out.extend((durable..last).map(|keep| Action::PowerCut(number, byte(keep))));
}

/// Records that would change something for the broker. One that it has seen is no news.
fn records(state: &State, broker: usize, out: &mut Vec<Action>) {
    let Some(replica) = &state.nodes[broker].replica else { return };
    let known = replica.record();
    for (at, record) in state.store.history.iter().enumerate() {
        if known != Some(record) {
            out.push(Action::Observe(byte(broker), byte(at)));
        }
    }
}

fn messages(setup: &Setup, state: &State, out: &mut Vec<Action>) {
    let operators = state.operators.len().max(1);
    for posted in &state.messages {
        let name = posted.name;
        let is_wish = matches!(*posted.message, Message::Wish { .. });
        let targets = if is_wish { operators } else { 1 };
        for target in 0..targets {
            out.push(Action::Deliver(name, byte(target)));
            if state.spent.repeats < setup.bounds.repeats {
                out.push(Action::Repeat(name, byte(target)));
            }
        }
        out.push(Action::Lose(name));
        if is_wish && setup.operators == Operators::Arbitrary {
            out.push(Action::Refuse(name));
        }
    }
}

fn arbitrary(setup: &Setup, state: &State, out: &mut Vec<Action>) {
    let store = &state.store;
    if store.history.len() >= setup.bounds.records {
        return;
    }
    let elects = store.epochs() < setup.bounds.epochs;
    let oldest = if setup.missing.keeps(Shell::CompareAndSwap) { store.at } else { 0 };
    for at in oldest..=store.at {
        let record = &store.history[at];
        let floor = setup.keeps_floor();
        for member in &record.isr {
            let broker = byte(member.broker.0 as usize);
            if elects {
                out.push(Action::Elect(broker, byte(at)));
            }
            let has_other_leader = record.leader.is_some_and(|leader| leader != *member);
            if record.isr.len() > floor && has_other_leader {
                out.push(Action::Fence(broker, byte(at)));
            }
        }
    }
    if store.record().leader.is_some() {
        out.push(Action::Vacate);
    }
}

fn shipped(setup: &Setup, state: &State, operator: usize, out: &mut Vec<Action>) {
    let number = byte(operator);
    let faults = state.spent.operator_faults < setup.bounds.operator_faults;
    let planner = &state.operators[operator];
    let room = state.store.history.len() < setup.bounds.records;
    if let Some(call) = planner.calls.first() {
        let writes = call.record.is_some();
        if room || !writes {
            out.push(Action::Store(number, Fate::Done));
        }
        if writes && faults && room && state.store.late.len() < LATE_MAX {
            out.push(Action::Store(number, Fate::Unheard));
            out.push(Action::Store(number, Fate::Late));
        }
    }
    out.push(Action::OperatorWait(number));
    if faults {
        out.push(Action::OperatorTick(number));
    }
    for broker in 0..BROKERS {
        let at = byte(broker);
        let runs = state.nodes[broker].replica.is_some();
        if runs {
            out.push(Action::Report(number, at));
        } else {
            out.push(Action::FindDead(number, at));
        }
        if faults && runs && planner.sessions[broker] {
            out.push(Action::Break(number, at));
            out.push(Action::PrepareStop(number, at));
        }
    }
    if faults {
        let from = state.store.at.saturating_sub(3);
        out.extend((from..=state.store.at).map(|at| Action::Replace(number, byte(at))));
    }
    if operator == 0 && room {
        out.extend((0..state.store.late.len()).map(|at| Action::Late(byte(at))));
    }
}

impl Setup {
    /// How few members the arbitrary operator leaves.
    fn keeps_floor(&self) -> usize {
        if self.missing.keeps(Shell::ArbitraryFloor) { self.min_in_sync as usize } else { 1 }
    }
}
