//! A shard whose store went back is frozen: what is known is gathered, and one record adopted.

use holdfast_protocol::{BrokerId, Epoch, ShardId, ShardRecord, mark};

use super::Planner;
use crate::action::{Action, Intent, Message};
use crate::inventory::{Adoption, Inventory, Told};
use crate::policy::Time;
use crate::replica::named;
use crate::rules::Rule;

/// Brokers are offered a record again after this, ms.
const OFFER_AFTER_MS: u64 = 1_000;

impl Planner {
    /// Adopts a record, once every broker has told what it knows.
    pub(super) fn take_inventory(&mut self, id: ShardId, now: Time) {
        let Some(shard) = self.shards.get(&id) else {
            return;
        };
        let live = self.brokers.iter().filter(|(_, broker)| broker.is_live());
        let reports: Vec<_> =
            live.filter_map(|(broker, known)| Some((*broker, known.reports.get(&id)?))).collect();
        let told = reports.iter().filter_map(|(broker, report)| {
            Some(Told { broker: *broker, record: report.record.as_ref()? })
        });
        let inventory = Inventory {
            told: told.collect(),
            others: shard.record.iter().chain(&shard.stored).collect(),
            epoch_seen: reports.iter().map(|(_, report)| report.epoch).max().unwrap_or(Epoch(0)),
            revision_named: shard.named,
            writer: self.writer,
            replicas_wanted: self.policy.replicas,
            leaves_dead_only: self.rules.keep(Rule::LeaveDead),
        };
        let here = |id: BrokerId| self.brokers.get(&id).is_some_and(crate::broker::Broker::is_live);
        // Who is to leave holds nothing any more where no record that matters names it.
        let staying = self.brokers.keys().copied().filter(|id| id.0 < self.policy.staying);
        let named = inventory.heads().into_iter().flat_map(named);
        let everyone = staying.chain(named).all(here);
        if !everyone {
            return;
        }
        match inventory.adopted() {
            Adoption::None => {}
            Adoption::Record(record) => {
                mark!(RecordAdopted);
                let expected = shard.stored.as_ref().map(|stored| stored.version);
                self.write(expected, record, Intent::Adopt, None);
            }
            Adoption::Undecided(record) => {
                let behind = inventory.told.iter().filter(|told| record.follows(told.record));
                let behind: Vec<BrokerId> = behind.map(|told| told.broker).collect();
                self.offer(&record, &behind, now);
            }
        }
    }

    /// Gives those a record who may still take it, so that they take no other.
    fn offer(&mut self, record: &ShardRecord, brokers: &[BrokerId], now: Time) {
        let Some(shard) = self.shards.get_mut(&record.shard) else {
            return;
        };
        if shard.offered.is_some_and(|offered| now.since(offered) < OFFER_AFTER_MS) {
            return;
        }
        shard.offered = Some(now);
        for broker in brokers {
            let message = Message::Records(vec![record.clone()]);
            self.act(Action::Send { broker: *broker, message });
        }
    }
}
