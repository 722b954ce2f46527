//! Replicas go from broker to broker where they are not as they are wanted (`placement`).
//!
//! One step at a time, each a write like any other, and each decided from the record alone, so that
//! another operator, or another wish, goes on from wherever the last one came to:
//! - the record names the newcomers beside those who hold the shard, those first that are to have
//!   it in the end;
//! - the newcomers fetch, and join the in-sync replicas by the leader's wish, as any replica does;
//! - leadership moves to one who stays, where it is not there already;
//! - once all who are to have it are in sync, those who are not leave, in one write.
//!
//! Who leaves was in sync with those who stay, so they hold all that is committed; and as many stay
//! in sync as there are to be replicas, which is never below the minimum.
//!
//! A store that was restored names those who held the shard once. That is noticed where enough of
//! them have told since that they know where it went; so nobody joins before ([`Naming`]).

use std::fmt;

use holdfast_protocol::{BrokerId, Member, ShardId, ShardRecord, Version, mark};

use super::Planner;
use super::decide::Leads;
use crate::action::Intent;
use crate::balance;
use crate::election;
use crate::failover::Reason;
use crate::placement::{self, Placement};
use crate::policy::{Policy, Time};
use crate::replica::{Holder, Standing, find, standing};

/// How many shards may have replicas on their way.
const SHARDS_AT_ONCE: usize = 4;

/// How many brokers a record may name: more are not named for a change of mind before the move
/// that it comes into is done.
const NAMED_MAX: usize = 16;

/// What a move waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The shard has to have a leader that serves, enough in sync, and nothing more urgent to do.
    Shard,
    /// As many others move as may at a time.
    Others,
    /// This broker is not there, or is about to stop, or its disk failed.
    Away(BrokerId),
    /// This broker catches up.
    Behind(BrokerId),
    /// Brokers have yet to tell that they know where the replicas go.
    Untold,
    /// Leadership goes to this broker first.
    Leader(BrokerId),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard => f.write_str("it is not served with enough replicas in sync"),
            Self::Others => write!(f, "{SHARDS_AT_ONCE} others move at a time"),
            Self::Away(broker) => write!(f, "broker {broker} is not there"),
            Self::Behind(broker) => write!(f, "broker {broker} catches up"),
            Self::Untold => f.write_str("brokers have yet to hear of it"),
            Self::Leader(broker) => write!(f, "broker {broker} is to lead it first"),
        }
    }
}

/// Shards whose replicas are not where they are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// How many.
    pub shards: usize,
    /// One of them, and what it waits for.
    pub waits: Option<(ShardId, Obstacle)>,
}

/// Newcomers were named, and those who hold the shard may not know of it yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Naming {
    /// The record that named them, or one after it.
    version: Version,
    /// How many of all that it names may not know of it.
    may_miss: usize,
}

impl Naming {
    /// Of all who held the shard before, `held` of them, any so many that vouch for an old record
    /// have one among them who knows. Where the minimum is no majority one of them vouches, and a
    /// store that went back may go unnoticed as it is; then one who is gone must not stop a move.
    fn new(record: &ShardRecord, held: usize) -> Self {
        let min = record.min_in_sync_replicas as usize;
        let may_miss = if 2 * min > held { held.saturating_sub(min) } else { 1 };
        Self { version: record.version, may_miss }
    }

    /// Of a record that another operator wrote.
    pub(super) fn of_other(record: &ShardRecord, policy: &Policy) -> Option<Self> {
        let held = policy.replicas as usize;
        (record.replicas.len() > held).then(|| Self::new(record, held))
    }

    /// After `record` was written over `before`.
    pub(super) fn after(
        known: Option<Self>,
        before: &ShardRecord,
        record: &ShardRecord,
    ) -> Option<Self> {
        if record.replicas.iter().all(|broker| before.replicas.contains(broker)) {
            return known;
        }
        let new = Self::new(record, before.replicas.len());
        let may_miss = known.map_or(new.may_miss, |known| known.may_miss.min(new.may_miss));
        Some(Self { may_miss, ..new })
    }

    fn is_told(&self, record: &ShardRecord, holders: &[Holder<'_>]) -> bool {
        let knows = |broker: &&BrokerId| {
            let report = find(**broker, holders).and_then(|holder| holder.report);
            report.is_some_and(|report| report.version >= self.version)
        };
        record.replicas.iter().filter(knows).count() + self.may_miss >= record.replicas.len()
    }
}

/// The next step of a shard.
enum Step {
    /// Nothing is left to do.
    Done,
    Wait(Obstacle),
    /// This is written: who are named, or who are left.
    Write(ShardRecord, Intent),
    /// This member is elected.
    Lead(Member),
}

impl Planner {
    /// Takes the next steps towards the placement that is wanted.
    pub(super) fn move_replicas(&mut self, leads: &Leads, now: Time) {
        let Some(wanted) = self.wanted_placement() else { return };
        let mut room = SHARDS_AT_ONCE.saturating_sub(self.count_moving(&wanted));
        for (id, replicas) in wanted {
            let Some(record) = self.shards.get(&id).and_then(|shard| shard.record.clone()) else {
                continue;
            };
            match self.next_step(&record, &replicas, room, leads, now) {
                Step::Done | Step::Wait(_) => {}
                Step::Write(next, intent) => {
                    if intent == Intent::Leave {
                        mark!(ReplicasLeft);
                    } else {
                        mark!(ReplicasNamed);
                        room = room.saturating_sub(usize::from(!is_moving(&record, &replicas)));
                    }
                    self.write(Some(record.version), next, intent, None);
                }
                Step::Lead(member) => {
                    let holders = self.holders(&record, leads);
                    let next = election::elected(&record, member, &holders);
                    let Some(leader) = record.leader else { continue };
                    mark!(LeaderMovedOff);
                    self.failovers.begin(id, leader.broker, Reason::Moving, now);
                    self.write(Some(record.version), next, Intent::Elect(Reason::Moving), None);
                }
            }
        }
    }

    /// What is on the move, for people.
    pub(crate) fn moves(&self) -> Moves {
        let mut moves = Moves::default();
        let Some(wanted) = self.wanted_placement() else { return moves };
        let leads = Leads::new();
        let room = SHARDS_AT_ONCE.saturating_sub(self.count_moving(&wanted));
        for (id, replicas) in wanted {
            let Some(record) = self.shards.get(&id).and_then(|shard| shard.record.as_ref()) else {
                continue;
            };
            if record.replicas == replicas {
                continue;
            }
            moves.shards += 1;
            let step = self.next_step(record, &replicas, room, &leads, self.now);
            let Step::Wait(obstacle) = step else { continue };
            // What stands in the way of one says more than that others are before it.
            if moves.waits.is_none_or(|(_, before)| before == Obstacle::Others) {
                moves.waits = Some((id, obstacle));
            }
        }
        moves
    }

    /// Where all replicas are to be, where they may not be there yet. Nothing moves before every
    /// shard has its record, or while it is in doubt which is the newest.
    fn wanted_placement(&self) -> Option<Placement> {
        let Policy { staying, replicas, .. } = self.policy;
        if self.shards.values().any(|shard| shard.frozen || shard.record.is_none()) {
            return None;
        }
        if placement::is_even(staying, replicas, self.records().map(|r| r.replicas.as_slice())) {
            return None;
        }
        let present = self.records().map(|record| (record.shard, record.replicas.clone()));
        Some(placement::wanted(staying, replicas, &present.collect()))
    }

    /// How many shards have replicas on their way that will get there as things are.
    fn count_moving(&self, wanted: &Placement) -> usize {
        let moves = |(id, replicas): &(&ShardId, &Vec<BrokerId>)| {
            let record = self.shards.get(id).and_then(super::Shard::next_record);
            let there = |broker: &BrokerId| self.is_there(*broker, **id);
            record.is_some_and(|record| is_moving(record, replicas)) && replicas.iter().all(there)
        };
        wanted.iter().filter(moves).count()
    }

    /// Whether a replica may come to this broker.
    fn is_there(&self, id: BrokerId, shard: ShardId) -> bool {
        self.brokers.get(&id).is_some_and(|broker| {
            let report = broker.reports.get(&shard);
            let works = report.is_some_and(|report| report.failure.is_none());
            broker.is_live() && works && !broker.stopping && !broker.doubts.contains_key(&shard)
        })
    }

    fn next_step(
        &self,
        record: &ShardRecord,
        wanted: &[BrokerId],
        room: usize,
        leads: &Leads,
        now: Time,
    ) -> Step {
        if record.replicas == wanted {
            return Step::Done;
        }
        let holders = self.holders(record, leads);
        if !self.may_move(record, wanted, &holders) {
            return Step::Wait(Obstacle::Shard);
        }
        let named = named(record, wanted);
        let wanted = match named.len() > NAMED_MAX {
            // What was begun before is brought to an end first.
            true => record.replicas.get(..wanted.len()).unwrap_or_default(),
            false => wanted,
        };
        let mut newcomers = wanted.iter().filter(|broker| !record.replicas.contains(broker));
        if newcomers.clone().next().is_some() {
            if let Some(away) = newcomers.find(|broker| !self.is_there(**broker, record.shard)) {
                return Step::Wait(Obstacle::Away(*away));
            }
            if room == 0 && !is_moving(record, wanted) {
                return Step::Wait(Obstacle::Others);
            }
            return Step::Write(with_replicas(record, named), Intent::Name);
        }
        let missing = wanted.iter().find(|broker| !is_able(record, **broker, &holders));
        let naming = self.shards.get(&record.shard).and_then(|shard| shard.naming.as_ref());
        let told = naming.is_none_or(|naming| naming.is_told(record, &holders));
        match missing {
            None if told => self.leave(record, wanted, &holders, now),
            _ if record.replicas != named && named.len() <= NAMED_MAX => {
                Step::Write(with_replicas(record, named), Intent::Name)
            }
            None => Step::Wait(Obstacle::Untold),
            Some(broker) if self.is_there(*broker, record.shard) => {
                Step::Wait(Obstacle::Behind(*broker))
            }
            Some(broker) => Step::Wait(Obstacle::Away(*broker)),
        }
    }

    /// Whether nothing else is to be done about the shard, and it has as many in sync as it needs.
    fn may_move(&self, record: &ShardRecord, wanted: &[BrokerId], holders: &[Holder<'_>]) -> bool {
        let min = record.min_in_sync_replicas as usize;
        let idle = self.shards.get(&record.shard).is_some_and(super::Shard::is_idle);
        let serves = record.leader.and_then(|leader| find(leader.broker, holders)?.report);
        let serves =
            serves.is_some_and(|report| report.leading && report.leads_epoch == record.epoch);
        let able = |member: &&Member| standing(**member, holders) == Standing::Able;
        let able = record.isr.iter().filter(able).count();
        // A minimum that was raised above the number of replicas is only met by newcomers.
        let enough = able >= min || record.replicas.len() < min && able == record.isr.len();
        idle && enough
            && serves
            && !self.failovers.is_open(record.shard)
            && self.is_vouched_by(record, holders)
            && wanted.len() >= min
    }

    /// All who are to have the shard are in sync: the others leave, once one of these leads.
    fn leave(
        &self,
        record: &ShardRecord,
        wanted: &[BrokerId],
        holders: &[Holder<'_>],
        now: Time,
    ) -> Step {
        let Some(leader) = record.leader else { return Step::Wait(Obstacle::Shard) };
        if wanted.contains(&leader.broker) {
            let isr = record.isr.iter().filter(|member| wanted.contains(&member.broker));
            let isr = isr.copied().collect();
            let next = ShardRecord { isr, ..with_replicas(record, wanted.to_vec()) };
            return Step::Write(next, Intent::Leave);
        }
        let may_lead = |broker: &BrokerId| {
            let there_ms = self.brokers.get(broker).map_or(0, |broker| broker.live_for_ms(now));
            let member = balance::could_take_over(record, *broker, holders)?;
            let there = there_ms >= self.policy.move_back_after_ms;
            (there && self.failovers.planned_open() < balance::MOVES_AT_ONCE).then_some(member)
        };
        match wanted.iter().find_map(may_lead) {
            Some(member) => Step::Lead(member),
            None => Step::Wait(wanted.first().map_or(Obstacle::Shard, |b| Obstacle::Leader(*b))),
        }
    }

    /// Whether nobody may join `shard` yet. Once enough have told, they have told for good.
    pub(super) fn holds_joins_back(&mut self, record: &ShardRecord, leads: &Leads) -> bool {
        let naming = self.shards.get(&record.shard).and_then(|shard| shard.naming.as_ref());
        let Some(naming) = naming else { return false };
        let told = naming.is_told(record, &self.holders(record, leads));
        if told && let Some(shard) = self.shards.get_mut(&record.shard) {
            shard.naming = None;
        }
        !told
    }
}

/// Whether replicas of the shard are on their way: newcomers that are not in sync, or others that
/// have still to leave.
fn is_moving(record: &ShardRecord, wanted: &[BrokerId]) -> bool {
    let held = |broker: &&BrokerId| record.replicas.contains(broker);
    let behind = |broker: &BrokerId| record.in_sync(*broker).is_none();
    record.replicas.len() > wanted.len() || wanted.iter().filter(held).any(behind)
}

/// Who are to have the shard, and after them those who have it.
fn named(record: &ShardRecord, wanted: &[BrokerId]) -> Vec<BrokerId> {
    let others = record.replicas.iter().filter(|broker| !wanted.contains(broker));
    wanted.iter().chain(others).copied().collect()
}

fn with_replicas(record: &ShardRecord, replicas: Vec<BrokerId>) -> ShardRecord {
    ShardRecord { version: record.version.next(), replicas, ..record.clone() }
}

/// Whether `broker` is in sync and could lead.
fn is_able(record: &ShardRecord, broker: BrokerId, holders: &[Holder<'_>]) -> bool {
    let member = record.isr.iter().find(|member| member.broker == broker);
    let stopping = find(broker, holders).is_some_and(|holder| holder.stopping);
    member.is_some_and(|member| standing(*member, holders) == Standing::Able) && !stopping
}
