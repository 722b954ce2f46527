//! What people are told about the state of things.

use std::collections::BTreeMap;

use holdfast_protocol::{BrokerId, Member, Position, ShardId, ShardRecord};

use crate::broker::{Liveness, Loss};
use crate::failover::Failover;
use crate::planner::{Moves, Planner, Shard};
use crate::replica::{Standing, named, standing};

/// Everything, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// By id.
    pub brokers: Vec<BrokerStatus>,
    /// By id.
    pub shards: Vec<ShardStatus>,
    /// Shards that nobody serves.
    pub leaderless: usize,
    /// Shards with fewer working in-sync replicas than replicas.
    pub under_replicated: usize,
    /// Shards with fewer working in-sync replicas than the minimum: nothing is committed.
    pub under_min_isr: usize,
    /// Shards whose replicas are not where they are wanted.
    pub moves: Moves,
    /// Whether every shard's record is the newest, as far as brokers would know. Until then more
    /// brokers may hold replicas than the records name.
    pub is_certain: bool,
    /// How many brokers, from 0 on, hold replicas by any record that the store has or a broker told.
    pub brokers_named: u32,
    /// The newest failover that nobody planned.
    pub last_failover: Option<Failover>,
    /// The newest moves of leadership, planned ones too, oldest first.
    pub recent: Vec<Failover>,
}

/// Whether a broker is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerState {
    /// Not known yet.
    Unknown,
    /// Connected, and it has said what it holds.
    Live,
    /// Gone.
    Dead(Loss),
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerStatus {
    /// Its id.
    pub id: BrokerId,
    /// Whether it is there.
    pub state: BrokerState,
    /// How many shards it leads.
    pub leads: usize,
    /// Whether it may go without stopping or endangering anything: every shard has enough
    /// working in-sync replicas without it.
    pub safe_to_restart: bool,
    /// It was asked to stop, or said that it will, and is in sync only where it can't be spared.
    pub stopping: bool,
    /// Whether all replicas on other brokers are in sync and work, of the shards that it holds.
    pub others_in_sync: bool,
    /// Why replicas on it can't lead, if any.
    pub failure: Option<String>,
}

/// How a shard does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardCondition {
    /// It has no record yet.
    Unassigned,
    /// Its leader serves.
    Serving,
    /// It has a leader that does not serve yet.
    Electing,
    /// Nobody can lead it.
    Leaderless,
    /// The store went back in time; whoever leads goes on.
    Frozen,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// Its id.
    pub id: ShardId,
    /// How it does.
    pub condition: ShardCondition,
    /// Its record.
    pub record: Option<ShardRecord>,
    /// In-sync replicas that work.
    pub working: usize,
    /// The commit position, as its leader told last; the furthest told by anyone without one.
    pub committed: Position,
}

impl Planner {
    /// The state of things.
    #[must_use]
    pub fn status(&self) -> Status {
        let none = BTreeMap::new();
        let working: BTreeMap<ShardId, Vec<Member>> = self
            .records()
            .map(|record| {
                let holders = self.holders(record, &none);
                let able = |member: &&Member| standing(**member, &holders) == Standing::Able;
                (record.shard, record.isr.iter().filter(able).copied().collect())
            })
            .collect();
        let shards: Vec<ShardStatus> = self
            .shards
            .iter()
            .map(|(id, shard)| self.shard_status(*id, shard, working.get(id).map_or(0, Vec::len)))
            .collect();
        let brokers = self.brokers.keys().map(|id| self.broker_status(*id, &working)).collect();
        let below = |wanted: fn(&ShardRecord) -> usize| {
            let short = |s: &&ShardStatus| s.record.as_ref().is_none_or(|r| s.working < wanted(r));
            shards.iter().filter(short).count()
        };
        let serves = |s: &&ShardStatus| s.condition == ShardCondition::Serving;
        Status {
            leaderless: shards.len() - shards.iter().filter(serves).count(),
            under_replicated: below(|record| record.replicas.len()),
            under_min_isr: below(|record| record.min_in_sync_replicas as usize),
            last_failover: self
                .failovers
                .recent()
                .rfind(|failover| !failover.reason.is_planned())
                .cloned(),
            recent: self.failovers.recent().cloned().collect(),
            moves: self.moves(),
            is_certain: self.shards.values().all(|shard| self.is_certain(shard)),
            brokers_named: self.brokers_named(),
            brokers,
            shards,
        }
    }

    fn is_certain(&self, shard: &Shard) -> bool {
        let vouched = shard.record.as_ref().is_some_and(|record| self.is_vouched_for(record));
        vouched && !shard.frozen
    }

    fn brokers_named(&self) -> u32 {
        let reports = self.brokers.values().flat_map(|broker| broker.reports.values());
        let told = reports.filter_map(|report| report.record.as_ref());
        let named = self.records().chain(told).flat_map(named);
        named.map(|broker| broker.0.saturating_add(1)).max().unwrap_or(0)
    }

    fn shard_status(&self, id: ShardId, shard: &Shard, working: usize) -> ShardStatus {
        let record = shard.record.as_ref();
        let leader = record.and_then(|record| record.leader);
        let broker = leader.and_then(|leader| self.brokers.get(&leader.broker));
        let report = broker.and_then(|broker| broker.reports.get(&id));
        let there = broker.is_some_and(|b| !matches!(b.liveness(), Liveness::Dead(_)));
        let leads = report
            .zip(record)
            .is_some_and(|(report, record)| report.leading && report.leads_epoch == record.epoch);
        let condition = match (record, leader) {
            _ if shard.frozen => ShardCondition::Frozen,
            (None, _) => ShardCondition::Unassigned,
            (Some(_), None) => ShardCondition::Leaderless,
            (Some(_), Some(_)) if leads && there => ShardCondition::Serving,
            // Too few are there for an election.
            (Some(record), Some(_)) if !there && !self.is_vouched_for(record) => {
                ShardCondition::Leaderless
            }
            (Some(_), Some(_)) => ShardCondition::Electing,
        };
        ShardStatus {
            id,
            condition,
            record: shard.record.clone(),
            working,
            committed: report
                .filter(|_| leads)
                .map_or(shard.committed_seen, |report| report.committed),
        }
    }

    fn broker_status(
        &self,
        id: BrokerId,
        working: &BTreeMap<ShardId, Vec<Member>>,
    ) -> BrokerStatus {
        let broker = self.brokers.get(&id);
        let state = match broker.map(|broker| broker.liveness()) {
            Some(Liveness::Live) => BrokerState::Live,
            Some(Liveness::Dead(loss)) => BrokerState::Dead(loss),
            Some(Liveness::Unsure) | None => BrokerState::Unknown,
        };
        let needs = |record: &ShardRecord| {
            let members = working.get(&record.shard).map_or(&[][..], Vec::as_slice);
            let others = members.iter().filter(|member| member.broker != id).count();
            let held = record.replicas.contains(&id) || record.in_sync(id).is_some();
            held && others < record.min_in_sync_replicas as usize
        };
        let others_lack = |record: &ShardRecord| {
            let members = working.get(&record.shard).map_or(&[][..], Vec::as_slice);
            let works = |other: &BrokerId| members.iter().any(|member| member.broker == *other);
            record.replicas.contains(&id)
                && record.replicas.iter().any(|other| *other != id && !works(other))
        };
        let failure = broker.and_then(|broker| {
            let mut reports = broker.reports.values();
            reports.find_map(|report| report.failure.clone())
        });
        BrokerStatus {
            id,
            state,
            leads: self.leads(id),
            safe_to_restart: !self.records().any(needs),
            stopping: broker.is_some_and(|broker| broker.stopping),
            others_in_sync: !self.records().any(others_lack),
            failure,
        }
    }
}
