//! A fair schedule without faults, from any state: what can recover must.

use std::sync::Arc;

use holdfast_core::Replica;

use crate::Cluster;
use crate::action::{Action, Fate};
use crate::invariants;
use crate::setup::{BROKERS, Bounds, Operators};
use crate::state::State;

/// Rounds after which it must be over.
const ROUNDS_MAX: usize = 60;
/// Messages that one round delivers at most: more are answers to answers without end.
const MESSAGES_MAX: usize = 200;

/// What the quiet did not bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrest {
    /// An invariant was broken on the way.
    Broken(invariants::Invariant),
    /// A member of the in-sync replicas could lead, and nobody serves.
    NoLeader,
    /// A replica that runs is not back in the in-sync replicas.
    NotInSync,
    /// The logs are not the same.
    LogsDiffer,
    /// With this broker down, a client's entry is not committed.
    NotServed(usize),
}

/// Lets everything settle without a fault: every message arrives, every disk flushes, every
/// broker runs and sees the present record, operators hear of everything. Gives whether the shard
/// can have a leader at all.
///
/// # Errors
/// [`Unrest`].
pub fn settle(cluster: &Cluster, state: &mut State) -> Result<bool, Unrest> {
    let calm = calm(cluster);
    for broker in 0..BROKERS {
        // Whoever is about to be stopped is.
        if state.operators.iter().any(|operator| operator.stopping[broker]) {
            step(&calm, state, Action::Kill(byte(broker)));
        }
        step(&calm, state, Action::Start(byte(broker)));
    }
    if state.spent.rollbacks > 0 {
        // An operator that reads the store anew notices what no write has met yet.
        for operator in 0..byte(state.operators.len()) {
            let now = byte(state.store.at);
            step(&calm, state, Action::Replace(operator, now));
        }
    }
    let mut rest = Err(Unrest::NoLeader);
    for _ in 0..ROUNDS_MAX {
        round(&calm, state);
        if let Some(broken) = state.broken {
            return Err(Unrest::Broken(broken));
        }
        if !is_possible(state) {
            // Whoever could lead is gone: the shard stops, and says so.
            return Ok(false);
        }
        rest = is_at_rest(state);
        if rest.is_ok() {
            return Ok(true);
        }
    }
    rest.map(|()| true)
}

/// Takes one broker down in a cluster that is at rest: every other one is a member that can lead, so
/// a leader commits what a client sends.
///
/// # Errors
/// [`Unrest`].
pub fn goes_on_without(cluster: &Cluster, state: &mut State, down: usize) -> Result<(), Unrest> {
    let calm = calm(cluster);
    step(&calm, state, Action::Kill(byte(down)));
    let mut sent = None;
    for _ in 0..ROUNDS_MAX {
        round(&calm, state);
        if let Some(broken) = state.broken {
            return Err(Unrest::Broken(broken));
        }
        let Some((leader, replica)) = leader(state) else { continue };
        let (epoch, end, committed) = (replica.epoch(), replica.end(), replica.committed());
        match sent {
            Some((sent_in, at)) if sent_in == epoch && committed > at => return Ok(()),
            Some((sent_in, _)) if sent_in == epoch => {}
            _ => {
                sent = Some((epoch, end));
                step(&calm, state, Action::Append(byte(leader)));
            }
        }
    }
    Err(Unrest::NotServed(down))
}

/// Everything that is on its way arrives, and every disk flushes, until nothing more happens.
pub(crate) fn replicate(cluster: &Cluster, state: &mut State) {
    let calm = calm(cluster);
    for _ in 0..6 {
        deliver(&calm, state);
        for broker in 0..BROKERS {
            step(&calm, state, Action::Flush(byte(broker)));
            step(&calm, state, Action::Tick(byte(broker)));
        }
    }
}

/// The same cluster, where nothing is out of bounds.
fn calm(cluster: &Cluster) -> Cluster {
    let mut calm = cluster.clone();
    let bounds = &mut calm.setup.bounds;
    *bounds = Bounds { epochs: usize::MAX, records: usize::MAX, messages: 64, ..*bounds };
    calm
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).expect("everything in the model is small")
}

fn step(cluster: &Cluster, state: &mut State, action: Action) -> bool {
    let Some(next) = cluster.next(state, action) else { return false };
    *state = next;
    true
}

fn deliver(cluster: &Cluster, state: &mut State) {
    for _ in 0..MESSAGES_MAX {
        let Some(name) = state.messages.first().map(|posted| posted.name) else { return };
        if !step(cluster, state, Action::Deliver(name, 0)) {
            step(cluster, state, Action::Lose(name));
        }
    }
}

fn round(cluster: &Cluster, state: &mut State) {
    operators(cluster, state);
    for broker in 0..BROKERS {
        let newest = byte(state.store.at);
        step(cluster, state, Action::Observe(byte(broker), newest));
    }
    deliver(cluster, state);
    for broker in 0..BROKERS {
        step(cluster, state, Action::Flush(byte(broker)));
        step(cluster, state, Action::Tick(byte(broker)));
        deliver(cluster, state);
    }
}

fn operators(cluster: &Cluster, state: &mut State) {
    if cluster.setup.operators == Operators::Arbitrary {
        elect(cluster, state);
        return;
    }
    while !state.store.late.is_empty() {
        step(cluster, state, Action::Late(0));
    }
    for operator in 0..byte(state.operators.len()) {
        for broker in 0..byte(BROKERS) {
            step(cluster, state, Action::FindDead(operator, broker));
            step(cluster, state, Action::Report(operator, broker));
        }
        while step(cluster, state, Action::Store(operator, Fate::Done)) {}
        step(cluster, state, Action::OperatorWait(operator));
        for broker in 0..byte(BROKERS) {
            step(cluster, state, Action::Report(operator, broker));
        }
        while step(cluster, state, Action::Store(operator, Fate::Done)) {}
    }
}

/// The arbitrary operator is sensible now: where nobody leads the present epoch, who can does.
fn elect(cluster: &Cluster, state: &mut State) {
    let record = state.store.record();
    let leads = |node: &Arc<crate::state::Node>| {
        node.replica.as_ref().and_then(Replica::leads) == Some(record.epoch)
    };
    let knows = state
        .nodes
        .iter()
        .filter_map(|node| node.replica.as_ref())
        .all(|replica| replica.record() == Some(record));
    if record.leader.is_some() && (!knows || state.nodes.iter().any(leads)) {
        return;
    }
    let able = able(state).max_by_key(|broker| {
        let node = &state.nodes[*broker];
        let last = node.disk.log.last().map(|entry| entry.epoch);
        (last, node.disk.log.len())
    });
    if let Some(broker) = able {
        let at = byte(state.store.at);
        step(cluster, state, Action::Elect(byte(broker), at));
    }
}

/// Brokers that run, and whose log is a member of the in-sync replicas.
fn able(state: &State) -> impl Iterator<Item = usize> + '_ {
    let isr = &state.store.record().isr;
    (0..BROKERS).filter(move |broker| {
        let node = &state.nodes[*broker];
        let member = |member: &holdfast_protocol::Member| {
            member.broker.0 as usize == *broker && member.incarnation == node.disk.incarnation
        };
        node.replica.is_some() && isr.iter().any(member)
    })
}

/// Whether the shard can recover without a loss: some member can lead, and as many of the members
/// or of those that can catch up are there as it takes to commit.
fn is_possible(state: &State) -> bool {
    able(state).next().is_some()
}

/// The broker that leads the present epoch and answers, if one does.
fn leader(state: &State) -> Option<(usize, &Replica)> {
    let epoch = state.store.record().epoch;
    (0..BROKERS).find_map(|broker| {
        let replica = state.nodes[broker].replica.as_ref()?;
        (replica.confirmed() == Some(epoch)).then_some((broker, replica))
    })
}

fn is_at_rest(state: &State) -> Result<(), Unrest> {
    if leader(state).is_none() {
        return Err(Unrest::NoLeader);
    }
    if able(state).count() < BROKERS {
        return Err(Unrest::NotInSync);
    }
    let first = &state.nodes[0].disk.log;
    if state.nodes.iter().any(|node| node.disk.log != *first) {
        return Err(Unrest::LogsDiffer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::FlushMode;

    use super::*;
    use crate::setup::Setup;

    /// The first leader is broker 0. Its wishes are granted, but nobody elects another one.
    #[test]
    fn a_shard_without_an_operator_stands_still_with_its_leader() {
        let setup = Setup { warm: true, ..Setup::large(FlushMode::Sync, Operators::Shipped(0)) };
        let cluster = Cluster { setup };
        let down = |broker| goes_on_without(&cluster, &mut cluster.start(), broker);
        assert_eq!(down(0), Err(Unrest::NotServed(0)));
        assert_eq!(down(1), Ok(()));
        let setup = Setup { operators: Operators::Shipped(1), ..cluster.setup.clone() };
        let operated = Cluster { setup };
        assert_eq!(goes_on_without(&operated, &mut operated.start(), 0), Ok(()));
    }
}
