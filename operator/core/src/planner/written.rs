//! What the end of a write, or a read of the store, changes.

use holdfast_protocol::{BrokerId, ShardId, ShardRecord, mark};

use super::{Naming, Planner, Shard, Write};
use crate::action::{Action, Event, Intent, Message};
use crate::input::{IsrRequest, WriteOutcome};
use crate::inventory;
use crate::policy::Time;
use crate::rules::Rule;

impl Planner {
    pub(super) fn handle_written(&mut self, id: ShardId, outcome: WriteOutcome, now: Time) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        match outcome {
            WriteOutcome::Done => self.finish(id, now),
            WriteOutcome::Conflict(current) => self.resolve(id, current, now),
            WriteOutcome::Unknown => {
                if !self.rules.keep(Rule::ReadUnknown) {
                    let stored = shard.record.clone();
                    self.resolve(id, stored, now);
                } else if !shard.reading {
                    mark!(WriteUnknown);
                    shard.reading = true;
                    self.act(Action::Read { shard: id });
                }
            }
        }
    }

    pub(super) fn handle_read(&mut self, id: ShardId, stored: Option<ShardRecord>, now: Time) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        shard.reading = false;
        shard.doubted = false;
        let Some(write) = &shard.write else {
            self.observe(id, stored);
            return;
        };
        let version = stored.as_ref().map(|record| record.version);
        if version == write.expected {
            // The write may still arrive, so only writing again settles it.
            mark!(WrittenAgain);
            let action = Action::Write { expected: write.expected, record: write.record.clone() };
            self.act(action);
        } else {
            self.resolve(id, stored, now);
        }
    }

    /// The store has another version than the write expected: ours, or another operator's.
    fn resolve(&mut self, id: ShardId, stored: Option<ShardRecord>, now: Time) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let ours = shard.write.as_ref().map(|write| &write.record) == stored.as_ref();
        if ours && stored.is_some() {
            mark!(WriteFound);
            self.finish(id, now);
            return;
        }
        mark!(WriteLost);
        let request = shard.write.take().and_then(|write| write.request);
        // What stood in the way may be older than what a broker has told since.
        if shard.doubted {
            self.doubt(id);
        } else {
            self.observe(id, stored);
        }
        if let Some(request) = request {
            self.answer(&request, false);
        }
    }

    /// Takes what the store has, where that is not older than what was known.
    fn observe(&mut self, id: ShardId, stored: Option<ShardRecord>) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let version = stored.as_ref().map(|record| record.version);
        shard.stored.clone_from(&stored);
        let went_back = inventory::has_gone_back(shard.record.as_ref(), stored.as_ref());
        if !went_back && stored != shard.record {
            shard.naming = stored.as_ref().and_then(|r| Naming::of_other(r, &self.policy));
            let generation = shard.record.as_ref().map(|known| known.version.generation);
            // Another operator has put it right.
            let adopted = version.map(|version| version.generation) > generation;
            shard.frozen &= !adopted;
            shard.record.clone_from(&stored);
            // What its leader told before is not told again.
            let restarted = stored.as_ref().is_some_and(|record| self.has_restarted(record));
            if let Some(shard) = self.shards.get_mut(&id) {
                shard.leader_restarted = restarted;
            }
            self.broadcast(id);
        }
        let live = self.brokers.values().filter(|broker| broker.is_live());
        let mut reports = live.filter_map(|broker| broker.reports.get(&id));
        let behind = reports.any(|report| inventory::is_ahead(report, stored.as_ref()));
        let keeps = self.rules.keep(Rule::Inventory);
        if let Some(shard) = self.shards.get_mut(&id)
            && keeps
            && (went_back || behind)
            && !shard.frozen
        {
            mark!(StoreWentBack);
            shard.frozen = true;
            self.tell(Event::Frozen { shard: id, stored: version });
        }
    }

    /// Whether the leader of `record` is another process than was elected, as far as it has told.
    fn has_restarted(&self, record: &ShardRecord) -> bool {
        let Some(leader) = record.leader else { return false };
        let broker = self.brokers.get(&leader.broker).filter(|broker| broker.is_live());
        broker.and_then(|broker| broker.reports.get(&record.shard)).is_some_and(|report| {
            report.incarnation == leader.incarnation && report.shows_restart_in(record.epoch)
        })
    }

    /// The write is in the store.
    fn finish(&mut self, id: ShardId, now: Time) {
        let Some(write) = self.shards.get_mut(&id).and_then(|s| s.write.take()) else {
            return;
        };
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let before = shard.record.replace(write.record.clone());
        shard.stored = Some(write.record.clone());
        if let Some(before) = &before {
            shard.naming = Naming::after(shard.naming.take(), before, &write.record);
        }
        let new_epoch = before.as_ref().map(|record| record.epoch) != Some(write.record.epoch);
        if new_epoch {
            shard.elected = Some(now);
            shard.leader_restarted = false;
        }
        self.tell_written(before, &write);
        self.broadcast(id);
        if let Some(request) = &write.request {
            self.answer(request, true);
        }
        if self.shards.get(&id).is_some_and(|shard| shard.doubted) {
            self.doubt(id);
        }
    }

    /// Tells people what a write changed.
    fn tell_written(&mut self, before: Option<ShardRecord>, write: &Write) {
        let record = &write.record;
        let shard = record.shard;
        let elected = record.leader.map(|leader| Event::LeaderElected {
            shard,
            leader: leader.broker,
            epoch: record.epoch,
        });
        match &write.intent {
            Intent::Initial | Intent::Elect(_) => elected.into_iter().for_each(|e| self.tell(e)),
            Intent::Unclean => {
                elected.into_iter().for_each(|e| self.tell(e));
                if let Some((leader, loss)) = record.leader.zip(record.loss) {
                    self.tell(Event::PossibleLoss { shard, leader, epoch: record.epoch, loss });
                }
            }
            Intent::Vacate => {
                if let Some(was) = before.as_ref().and_then(|before| before.leader) {
                    self.tell(Event::Leaderless { shard, was: was.broker });
                }
            }
            Intent::Adopt => {
                if let Some(shard) = self.shards.get_mut(&shard) {
                    shard.frozen = false;
                }
                self.tell(Event::Adopted { shard, version: record.version });
            }
            Intent::Name | Intent::Leave => {
                if let Some(before) = &before {
                    self.tell_replicas(before, record);
                }
            }
            Intent::Fence | Intent::Isr | Intent::Settings | Intent::Starts => {}
        }
        // Who left the replicas is told of as that.
        if let Some(before) = before.filter(|_| write.intent != Intent::Leave) {
            self.tell_isr(&before, record);
        }
    }

    fn tell_replicas(&mut self, before: &ShardRecord, after: &ShardRecord) {
        let without = |record: &ShardRecord, other: &ShardRecord| -> Vec<BrokerId> {
            let replicas = record.replicas.iter();
            replicas.filter(|broker| !other.replicas.contains(broker)).copied().collect()
        };
        let shard = after.shard;
        let (to, gone) = (without(after, before), without(before, after));
        let stay = (self.policy.replicas as usize).min(after.replicas.len());
        let (replicas, from) = after.replicas.split_at(stay);
        if !to.is_empty() {
            self.tell(Event::ReplicasMoving { shard, to, from: from.to_vec() });
        }
        if !gone.is_empty() {
            self.tell(Event::ReplicasMoved { shard, gone, replicas: replicas.to_vec() });
        }
    }

    fn tell_isr(&mut self, before: &ShardRecord, after: &ShardRecord) {
        let brokers = |record: &ShardRecord, without: &ShardRecord| -> Vec<BrokerId> {
            let members = record.isr.iter().filter(|m| !without.isr.contains(m));
            members.map(|member| member.broker).collect()
        };
        let isr: Vec<BrokerId> = after.isr.iter().map(|member| member.broker).collect();
        let (gone, joined) = (brokers(before, after), brokers(after, before));
        let shard = after.shard;
        if !gone.is_empty() {
            let isr = isr.clone();
            self.tell(Event::IsrShrunk { shard, gone, isr });
        }
        if !joined.is_empty() {
            self.tell(Event::IsrExpanded { shard, joined, isr });
        }
    }

    /// Sends the record to every broker, its leader first.
    fn broadcast(&mut self, id: ShardId) {
        let Some(record) = self.shards.get(&id).and_then(|s| s.record.clone()) else {
            return;
        };
        let leader = record.leader.map(|leader| leader.broker);
        let others = self.brokers.keys().filter(|id| Some(**id) != leader);
        let order: Vec<BrokerId> = leader.into_iter().chain(others.copied()).collect();
        for broker in order {
            if self.brokers.get(&broker).is_some_and(|b| b.is_connected()) {
                self.act(Action::Send { broker, message: Message::Records(vec![record.clone()]) });
            }
        }
    }

    /// Answers a request with the record as it is now.
    pub(super) fn answer(&mut self, request: &IsrRequest, accepted: bool) {
        let record = self.shards.get(&request.shard);
        let message = Message::IsrAnswer {
            shard: request.shard,
            expected: request.expected,
            accepted,
            record: record.and_then(|s: &Shard| s.record.clone()),
        };
        self.act(Action::Send { broker: request.broker, message });
    }
}
