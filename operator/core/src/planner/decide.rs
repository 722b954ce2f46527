//! What to do next about each shard: one write at a time, the most urgent first.

use std::collections::BTreeMap;

use holdfast_protocol::{
    BrokerId, Lineage, Member, ShardId, ShardRecord, UncleanElection, Version, mark,
};

use super::{Planner, Write};
use crate::action::{Action, Intent};
use crate::balance;
use crate::bootstrap;
use crate::broker::Loss;
use crate::election;
use crate::failover::Reason;
use crate::fence;
use crate::input::IsrRequest;
use crate::inventory;
use crate::isr_request;
use crate::policy::Time;
use crate::replica::{Holder, find, named};
use crate::starts;
use crate::unclean;

/// A leader that does not lead is elected anew at most this often, ms.
const REELECT_AFTER_MS: u64 = 500;

/// How many shards each broker leads, writes under way included.
pub(super) type Leads = BTreeMap<BrokerId, usize>;

impl Planner {
    pub(super) fn decide(&mut self, now: Time) {
        let mut leads = self.count_leads();
        let mut ids: Vec<ShardId> = self.shards.keys().copied().collect();
        // Shards without a leader come before those that only wait for a follower to be fenced.
        ids.sort_by_key(|id| self.has_live_leader(*id));
        for id in &ids {
            let before = self.next_leader(*id);
            self.decide_shard(*id, &leads, now);
            let after = self.next_leader(*id);
            if before != after {
                if let Some(before) = before {
                    leads.entry(before).and_modify(|n| *n = n.saturating_sub(1));
                }
                if let Some(after) = after {
                    *leads.entry(after).or_default() += 1;
                }
            }
        }
        self.move_replicas(&leads, now);
        for id in &ids {
            self.balance(*id, &leads, now);
        }
    }

    fn has_live_leader(&self, id: ShardId) -> bool {
        let leader = self.next_leader(id);
        let broker = leader.and_then(|leader| self.brokers.get(&leader));
        broker.is_some_and(super::Broker::is_live)
    }

    fn count_leads(&self) -> Leads {
        let mut leads = Leads::new();
        for leader in self.shards.keys().filter_map(|id| self.next_leader(*id)) {
            *leads.entry(leader).or_default() += 1;
        }
        leads
    }

    /// Who leads when the write under way is done.
    fn next_leader(&self, id: ShardId) -> Option<BrokerId> {
        let record = self.shards.get(&id)?.next_record()?;
        record.leader.map(|leader| leader.broker)
    }

    fn decide_shard(&mut self, id: ShardId, leads: &Leads, now: Time) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        if shard.write.is_some() || shard.reading {
            return;
        }
        if shard.frozen {
            self.take_inventory(id, now);
            return;
        }
        let Some(record) = shard.record.clone() else {
            self.begin(id);
            return;
        };
        // Nothing is written over a record that nobody has confirmed to be the newest: the store
        // may have been restored from a backup, and those who know better not be heard yet.
        let is_vouched_for = self.is_vouched_by(&record, &self.holders(&record, leads));
        let Some(shard) = self.shards.get_mut(&id).filter(|_| is_vouched_for) else {
            mark!(NotVouchedFor);
            return;
        };
        let just_elected =
            shard.elected.is_some_and(|elected| now.since(elected) < REELECT_AFTER_MS);
        let restarted = shard.leader_restarted && !just_elected;
        let request = shard.request.take();
        let decided = self.decide_leader(&record, restarted, leads, now);
        let decided = match (decided, &request) {
            (Decided::Keep, Some(request)) => self.decide_request(&record, request, leads),
            (decided, _) => decided,
        };
        match decided {
            Decided::Write(next, intent) => {
                let granted = request.filter(|_| intent == Intent::Isr);
                self.write(Some(record.version), next, intent, granted);
            }
            Decided::Wait => {
                // The request is judged when the leader is known to stay.
                if let Some(shard) = self.shards.get_mut(&id) {
                    shard.request = request;
                }
            }
            Decided::Keep => {
                if let Some(request) = request {
                    self.answer(&request, false);
                }
                self.decide_rest(&record, leads, now);
            }
        }
    }

    /// Whether the shard needs another leader.
    fn decide_leader(
        &mut self,
        record: &ShardRecord,
        restarted: bool,
        leads: &Leads,
        now: Time,
    ) -> Decided {
        let holders = self.holders(record, leads);
        let reason = match record.leader {
            Some(_) if restarted => {
                mark!(LeaderRestarted);
                Some(Reason::Lost(Loss::Restarted))
            }
            Some(leader) => election::leader_loss(leader, &holders),
            None => Some(Reason::Vacant),
        };
        let Some(reason) = reason else {
            return Decided::Keep;
        };
        let decided = self.elect(record, reason, &holders);
        if let Some(leader) = record.leader {
            // A write under way may have held up the decision: the loss is older than it.
            let broker = self.brokers.get(&leader.broker);
            let since = broker.and_then(super::Broker::dead_since).unwrap_or(now);
            self.failovers.begin(record.shard, leader.broker, reason, since);
        }
        decided
    }

    fn elect(&self, record: &ShardRecord, reason: Reason, holders: &[Holder<'_>]) -> Decided {
        if let Some(leader) = election::choose(record, holders) {
            let next = election::elected(record, leader, holders);
            return Decided::Write(next, Intent::Elect(reason));
        }
        if election::is_pending(record, holders) {
            return Decided::Wait;
        }
        let unclean = match self.policy.unclean_election {
            UncleanElection::Never => None,
            UncleanElection::AllReported if !unclean::is_judged(record, holders) => {
                return Decided::Wait;
            }
            UncleanElection::AllReported => {
                let seen = self.shards.get(&record.shard).map(|shard| shard.committed_seen);
                unclean::elected(record, holders, seen.unwrap_or_default())
            }
        };
        if let Some(next) = unclean {
            mark!(UncleanElection);
            return Decided::Write(next, Intent::Unclean);
        }
        match record.leader {
            Some(_) => {
                mark!(Vacated);
                Decided::Write(election::vacated(record), Intent::Vacate)
            }
            None => Decided::Wait,
        }
    }

    fn decide_request(
        &mut self,
        record: &ShardRecord,
        request: &IsrRequest,
        leads: &Leads,
    ) -> Decided {
        let joins = request.isr.iter().any(|member| record.in_sync(member.broker).is_none());
        if joins && self.holds_joins_back(record, leads) {
            return Decided::Keep;
        }
        match isr_request::judge(record, request, &self.holders(record, leads)) {
            Ok(next) => Decided::Write(next, Intent::Isr),
            Err(_) => Decided::Keep,
        }
    }

    /// What can be done while the leader stays.
    fn decide_rest(&mut self, record: &ShardRecord, leads: &Leads, now: Time) {
        let holders = self.holders(record, leads);
        let (next, intent) = if let Some(next) = fence::followers(record, &holders) {
            mark!(Fenced);
            (next, Intent::Fence)
        } else if let Some(next) = self.settings(record) {
            (next, Intent::Settings)
        } else if let Some(next) = starts::remembered(self, record) {
            (next, Intent::Starts)
        } else if let Some(next) = away_from_stopping(record, &holders) {
            (next, Intent::Elect(Reason::Stopping))
        } else {
            return;
        };
        if let (Intent::Elect(reason), Some(leader)) = (&intent, record.leader) {
            self.failovers.begin(record.shard, leader.broker, *reason, now);
        }
        self.write(Some(record.version), next, intent, None);
    }

    /// The record with the policy's settings, where it has others.
    fn settings(&self, record: &ShardRecord) -> Option<ShardRecord> {
        let min = self.policy.min_in_sync_replicas;
        let same = record.min_in_sync_replicas == min && record.flush == self.policy.flush;
        (!same).then(|| ShardRecord {
            version: record.version.next(),
            min_in_sync_replicas: min,
            flush: self.policy.flush,
            ..record.clone()
        })
    }

    /// Moves the shard to its preferred leader, where that is due and not too many others move.
    fn balance(&mut self, id: ShardId, leads: &Leads, now: Time) {
        let Some(shard) = self.shards.get(&id) else {
            return;
        };
        if !shard.is_idle() || self.failovers.is_open(id) {
            return;
        }
        let Some(record) = shard.record.clone() else {
            return;
        };
        let holders = self.holders(&record, leads);
        if !self.is_vouched_by(&record, &holders) {
            return;
        }
        let Some((leader, wanted)) = record.leader.zip(balance::wanted(&record, &holders)) else {
            return;
        };
        let there_ms = self.brokers.get(&wanted.broker).map_or(0, |broker| broker.live_for_ms(now));
        if there_ms < self.policy.move_back_after_ms
            || self.failovers.planned_open() >= balance::MOVES_AT_ONCE
        {
            return;
        }
        let next = election::elected(&record, wanted, &holders);
        self.failovers.begin(id, leader.broker, Reason::Balance, now);
        mark!(MovedBack);
        self.write(Some(record.version), next, Intent::Elect(Reason::Balance), None);
    }

    /// Writes the first record, once every broker is there and every replica exists.
    fn begin(&mut self, id: ShardId) {
        if !self.brokers.values().all(super::Broker::is_live) {
            return;
        }
        let report = |broker: BrokerId| self.brokers.get(&broker)?.reports.get(&id);
        if let Some(record) = bootstrap::initial(&self.policy, id, report) {
            self.write(None, record, Intent::Initial, None);
        }
    }

    pub(super) fn write(
        &mut self,
        expected: Option<Version>,
        record: ShardRecord,
        intent: Intent,
        request: Option<IsrRequest>,
    ) {
        let writer = self.writer;
        let Some(shard) = self.shards.get_mut(&record.shard) else {
            return;
        };
        assert!(shard.write.is_none(), "one write of a shard at a time");
        // A name that was given once stays that of the record which was not written then.
        let revision = record.version.revision.max(shard.named + 1);
        let version = Version { revision, writer, ..record.version };
        let record = match intent {
            // It may follow another one than that in whose place it is written.
            Intent::Adopt => record,
            _ => ShardRecord {
                version,
                lineage: Lineage::of(version, shard.record.as_ref()).into(),
                ..record
            },
        };
        shard.named = shard.named.max(version.revision);
        shard.write = Some(Write { expected, record: record.clone(), intent, request });
        self.act(Action::Write { expected, record });
    }

    /// Whether the stopping `broker` leads `record` and someone else could, or is in sync and can
    /// be spared.
    pub(super) fn could_leave(&self, record: &ShardRecord, broker: BrokerId) -> bool {
        let holders = self.holders(record, &Leads::new());
        if record.leader.is_some_and(|leader| leader.broker == broker) {
            return away_from_stopping(record, &holders).is_some();
        }
        let fenced = fence::followers(record, &holders);
        fenced
            .is_some_and(|next| next.in_sync(broker).is_none() && record.in_sync(broker).is_some())
    }

    /// Whether enough replicas have told what they know for anything to be decided.
    pub(crate) fn is_vouched_for(&self, record: &ShardRecord) -> bool {
        self.is_vouched_by(record, &self.holders(record, &Leads::new()))
    }

    pub(super) fn is_vouched_by(&self, record: &ShardRecord, holders: &[Holder<'_>]) -> bool {
        inventory::is_vouched_for(record, self.policy.replicas, holders)
    }

    /// The brokers that `record` names, as its holders.
    pub(crate) fn holders(&self, record: &ShardRecord, leads: &Leads) -> Vec<Holder<'_>> {
        let holder = |id: BrokerId| {
            let broker = self.brokers.get(&id)?;
            let own = usize::from(record.leader.is_some_and(|leader| leader.broker == id));
            Some(Holder {
                broker: id,
                liveness: broker.liveness(),
                report: broker.reports.get(&record.shard),
                stopping: broker.stopping,
                resigned: broker.has_resigned(record.shard, self.now),
                gave_up: broker.gave_up(record.shard, record.epoch),
                rested: broker.has_rested(record.shard, self.now),
                doubted: broker.doubts.contains_key(&record.shard),
                leads: leads.get(&id).copied().unwrap_or(0).saturating_sub(own),
                rules: self.rules,
            })
        };
        named(record).into_iter().filter_map(holder).collect()
    }
}

/// What is to happen to a shard.
enum Decided {
    /// Its leader stays.
    Keep,
    /// It needs another leader, and nobody can be elected yet.
    Wait,
    /// This is written.
    Write(ShardRecord, Intent),
}

/// The record with another leader than the one that is about to be stopped, if anyone can.
fn away_from_stopping(record: &ShardRecord, holders: &[Holder<'_>]) -> Option<ShardRecord> {
    let leader: Member = record.leader?;
    find(leader.broker, holders).filter(|holder| holder.stopping)?;
    let next = election::choose(record, holders)?;
    let stays = find(next.broker, holders).is_some_and(|holder| !holder.stopping);
    stays.then(|| election::elected(record, next, holders))
}
