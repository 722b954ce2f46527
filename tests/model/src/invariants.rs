//! What must hold after every step, judged from outside.

use std::sync::Arc;

use holdfast_core::Replica;
use holdfast_protocol::{FlushMode, Member, ShardRecord};

use crate::disk::Entry;
use crate::setup::{BROKERS, Setup};
use crate::state::{Node, State};

/// An invariant, by its name in the issue and in `docs/model.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// What a leader has committed is what every replica knows to be committed, for ever.
    CommittedNeverLost,
    /// No epoch has two leaders, and none has one that stopped and leads it again.
    OneLeaderPerEpoch,
    /// No broker goes back to an older epoch, and neither does the record.
    EpochNeverRegresses,
    /// Two logs with an entry of one epoch at one position are the same up to there.
    LogMatching,
    /// A leader has everything that leaders of its epoch or of older ones have committed; after a
    /// restore of the store, one that has committed its epoch start.
    LeaderHasAllCommitted,
    /// No log is cut below what its replica knows to be committed, and nobody asks for that.
    NoTruncateBelowCommitted,
    /// The recorded in-sync replicas are never fewer than the minimum.
    IsrNeverBelowMinimum,
    /// No replica leads whose log may have lost something since it joined the in-sync replicas.
    OnlyProvenAreElected,
    /// Whatever an operator writes is one of the few changes of the present record that the
    /// arbitrary operator makes too: so stale ones change nothing about safety.
    OperatorIrrelevance,
    /// A leader that answers shows all that any older leader has committed, and nothing else.
    ConsistentRead,
    /// What is committed is on at least as many replicas as the minimum when it is committed.
    MinCopies,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::CommittedNeverLost,
        Self::OneLeaderPerEpoch,
        Self::EpochNeverRegresses,
        Self::LogMatching,
        Self::LeaderHasAllCommitted,
        Self::NoTruncateBelowCommitted,
        Self::IsrNeverBelowMinimum,
        Self::OnlyProvenAreElected,
        Self::OperatorIrrelevance,
        Self::ConsistentRead,
        Self::MinCopies,
    ];

    /// Those that are judged where the record store is restored from a backup.
    pub const AFTER_RESTORE: [Self; 6] = [
        Self::CommittedNeverLost,
        Self::LeaderHasAllCommitted,
        Self::OneLeaderPerEpoch,
        Self::EpochNeverRegresses,
        Self::LogMatching,
        Self::NoTruncateBelowCommitted,
    ];
}

/// Notes what leaders have newly committed, and judges the state.
pub(crate) fn look(setup: &Setup, state: &mut State) {
    one_leader(setup, state);
    newly_committed(setup, state);
    known_is_committed(setup, state);
    leaders(setup, state);
    logs_match(setup, state);
    let record = state.store.record();
    if record.isr.len() < record.min_in_sync_replicas as usize {
        state.judge(setup, Invariant::IsrNeverBelowMinimum);
    }
}

fn one_leader(setup: &Setup, state: &mut State) {
    for broker in 0..BROKERS {
        let node = &state.nodes[broker];
        let Some(epoch) = node.replica.as_ref().and_then(Replica::leads) else { continue };
        let who = (epoch, crate::state::id(broker), true);
        if state.seen.leaders.contains(&who) {
            continue;
        }
        if state.seen.leaders.iter().any(|(led, _, _)| *led == epoch) {
            state.judge(setup, Invariant::OneLeaderPerEpoch);
        }
        let leaders = &mut state.seen_mut().leaders;
        leaders.push(who);
        leaders.sort_unstable();
    }
}

fn newly_committed(setup: &Setup, state: &mut State) {
    for broker in 0..BROKERS {
        let Some(replica) = &state.nodes[broker].replica else { continue };
        let Some(epoch) = replica.leads() else { continue };
        let committed = index(replica.committed().0);
        for at in state.seen.committed.len()..committed {
            let Some(entry) = state.nodes[broker].disk.log.get(at).copied() else {
                state.judge(setup, Invariant::CommittedNeverLost);
                break;
            };
            let holds = |node: &&Arc<Node>| holds(setup.flush, node, at, entry);
            let copies = state.nodes.iter().filter(holds).count();
            // A copy that was there when it was told of may be lost with a disk since.
            let gone = usize::from(state.spent.lost_copies);
            if copies + gone < setup.min_in_sync as usize {
                state.judge(setup, Invariant::MinCopies);
            }
            state.seen_mut().committed.push((entry, epoch));
        }
    }
}

fn holds(flush: FlushMode, node: &Node, at: usize, entry: Entry) -> bool {
    let end = match flush {
        FlushMode::Sync => node.disk.durable,
        FlushMode::Async => node.disk.log.len(),
    };
    at < end && node.disk.log[at] == entry
}

fn known_is_committed(setup: &Setup, state: &mut State) {
    let committed = &state.seen.committed;
    let differs = state.nodes.iter().any(|node| {
        let Some(replica) = &node.replica else { return false };
        let known = index(replica.committed().0);
        known > committed.len()
            || known > node.disk.log.len()
            || node.disk.log[..known].iter().zip(committed).any(|(own, (all, _))| own != all)
    });
    if differs {
        state.judge(setup, Invariant::CommittedNeverLost);
    }
}

fn leaders(setup: &Setup, state: &mut State) {
    for broker in 0..BROKERS {
        let node = &state.nodes[broker];
        let Some(replica) = &node.replica else { continue };
        let Some(epoch) = replica.leads() else { continue };
        let committed = || state.seen.committed.iter().enumerate();
        // Who was elected by a record that competes with one in force commits nothing.
        let may_lack = state.spent.rollbacks > 0 && replica.confirmed().is_none();
        let lacks = !may_lack
            && committed()
                .any(|(at, (entry, by))| *by <= epoch && node.disk.log.get(at) != Some(entry));
        let shown = index(replica.committed().0);
        let goes_back = replica.confirmed().is_some()
            && committed().any(|(at, (_, by))| *by < epoch && at >= shown);
        let unproven = node.unproven;
        for (broken, invariant) in [
            (unproven, Invariant::OnlyProvenAreElected),
            (lacks, Invariant::LeaderHasAllCommitted),
            (goes_back, Invariant::ConsistentRead),
        ] {
            if broken {
                state.judge(setup, invariant);
            }
        }
    }
}

fn logs_match(setup: &Setup, state: &mut State) {
    let differ = |one: &[Entry], two: &[Entry]| {
        let last = one.iter().zip(two).rposition(|(one, two)| one.epoch == two.epoch);
        last.is_some_and(|last| one[..=last] != two[..=last])
    };
    let broken = state.nodes.iter().enumerate().any(|(number, node)| {
        let mut others = state.nodes[..number].iter();
        others.any(|other| differ(&node.disk.log, &other.disk.log))
    });
    if broken {
        state.judge(setup, Invariant::LogMatching);
    }
}

/// Judges a write of the store: `after` in place of `before`.
pub(crate) fn written(
    state: &State,
    before: &ShardRecord,
    after: &ShardRecord,
) -> Option<Invariant> {
    if after.epoch < before.epoch {
        return Some(Invariant::EpochNeverRegresses);
    }
    if after.version.generation > before.version.generation {
        // Adopted from what brokers know, after the store went back.
        let restored = state.spent.rollbacks > 0;
        return (!restored).then_some(Invariant::OperatorIrrelevance);
    }
    // Names that went to records which were not written are left out.
    let allowed = after.version.generation == before.version.generation
        && after.version.revision > before.version.revision
        && after.replicas == before.replicas
        && after.unclean_epoch == before.unclean_epoch
        && (is_election(before, after)
            || is_vacated(before, after)
            || is_membership(state, before, after));
    (!allowed).then_some(Invariant::OperatorIrrelevance)
}

fn is_election(before: &ShardRecord, after: &ShardRecord) -> bool {
    let led = |leader: Member| {
        after.epoch == before.epoch.next_of(leader.broker) && after.isr.contains(&leader)
    };
    after.leader.is_some_and(led) && is_fenced(before, after)
}

fn is_vacated(before: &ShardRecord, after: &ShardRecord) -> bool {
    after.epoch == before.epoch && after.leader.is_none() && after.isr == before.isr
}

fn is_membership(state: &State, before: &ShardRecord, after: &ShardRecord) -> bool {
    let mut wishes = state.seen.asked.iter();
    let asked = wishes.any(|(version, isr)| *version == before.version && *isr == after.isr);
    after.epoch == before.epoch
        && after.leader == before.leader
        && after.leader.is_some_and(|leader| after.isr.contains(&leader))
        && (asked || is_fenced(before, after))
}

fn is_fenced(before: &ShardRecord, after: &ShardRecord) -> bool {
    let floor = before.isr.len().min(before.min_in_sync_replicas as usize);
    after.isr.len() >= floor && after.isr.iter().all(|member| before.isr.contains(member))
}

pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).expect("logs of the model are short")
}
