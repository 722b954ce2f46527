//! Whether a member of the in-sync replicas still holds what was committed in sync with it.
//!
//! It holds every committed entry, always, under one incarnation. A log that ends before a position
//! that anyone knows to be committed is one that was put back to an older state, whatever start
//! its volume counts. What a broker told may be older than what is known of others, so a log that
//! seems too short is doubted first: it is not elected, and what it tells later decides.

use holdfast_protocol::{BrokerId, Position, ShardId};

use super::Planner;
use crate::broker::Doubt;
use crate::policy::Time;
use crate::rules::Rule;

impl Planner {
    /// Weighs a report of `from` on `id`. Doubts begin where a session does: an old volume is met in
    /// a new process, and a commit position that was not known before with a broker that tells it.
    pub(super) fn weigh(&mut self, from: BrokerId, id: ShardId, complete: bool) {
        let brokers: Vec<BrokerId> = match complete {
            true => self.brokers.keys().copied().collect(),
            false => vec![from],
        };
        let now = self.now;
        for broker in brokers {
            let lacks = self.lacks_committed(broker, id);
            let Some(known) = self.brokers.get_mut(&broker) else { continue };
            let end = known.reports.get(&id).map(|report| report.end);
            let Some(floor) = lacks else {
                known.doubts.remove(&id);
                continue;
            };
            match known.doubts.get(&id) {
                Some(doubt) if end >= Some(doubt.floor) => {
                    known.doubts.remove(&id);
                }
                Some(_) => {}
                None if complete => {
                    known.doubts.insert(id, Doubt { floor, since: now });
                }
                None => {}
            }
        }
    }

    /// The furthest commit position that is known of `id`, where `broker` is in sync and told of a
    /// log that ends before it.
    fn lacks_committed(&self, broker: BrokerId, id: ShardId) -> Option<Position> {
        let shard = self.shards.get(&id)?;
        let record = shard.record.as_ref()?;
        // An unclean election took back what was committed.
        if shard.frozen || record.unclean_epoch.is_some() || !self.rules.keep(Rule::NewestVolume) {
            return None;
        }
        let known = self.brokers.get(&broker).filter(|known| known.is_live())?;
        let report = known.reports.get(&id)?;
        let is_member = record.in_sync(broker) == Some(report.incarnation);
        (is_member && report.end < shard.committed_seen).then_some(shard.committed_seen)
    }

    /// Has volumes renewed whose logs are too short beyond doubt: what was told by a broker after
    /// twice the detection timeout was said after the doubt began, or it would count as silent.
    pub(super) fn renew_proven(&mut self, now: Time) {
        let timeout_ms = self.policy.detection_timeout_ms;
        let mut proven = Vec::new();
        for (id, broker) in self.brokers.iter().filter(|(_, broker)| broker.is_live()) {
            let late = |doubt: &Doubt| {
                broker.heard().since(doubt.since) >= 2 * timeout_ms
                    && now.since(doubt.since) >= 3 * timeout_ms
            };
            let doubt = broker.doubts.iter().find(|(_, doubt)| late(doubt));
            let Some(((shard, doubt), start)) = doubt.zip(broker.start) else { continue };
            if self.lacks_committed(*id, *shard).is_none() {
                continue;
            }
            let end = broker.reports.get(shard).map(|report| report.end).unwrap_or_default();
            let why = format!(
                "its log of shard {shard} ends at {end}, and {} was committed in sync with it",
                doubt.floor
            );
            proven.push((*id, start.counter, why));
        }
        for (broker, counter, why) in proven {
            self.renew_volume(broker, counter, why);
        }
    }
}
