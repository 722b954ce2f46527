//! The status of Shard resources: a summary for people, written on change; positions, which
//! always change, not more often than every few seconds.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_api::shard::ShardStatus;
use holdfast_operator_core::{ShardCondition, ShardStatus as Known};
use holdfast_protocol::ShardId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;
use tracing::debug;

use super::observe::Observed;
use crate::conditions::{POSSIBLE_LOSS, UNCLEAN_ELECTION, Wanted, conditions};
use crate::names::Key;

/// Shortest time between two writes of a status of which only the position changed.
const POSITIONS_EVERY: Duration = Duration::from_secs(15);

type Written = BTreeMap<(Key, ShardId), (Instant, ShardStatus)>;

/// What was written last.
#[derive(Default)]
pub(crate) struct ShardStatuses(Mutex<Written>);

impl ShardStatuses {
    /// Writes what changed; returns after which time there is more to write.
    pub(super) async fn write(&self, observed: &Observed) -> Option<Duration> {
        let running = observed.running.as_ref()?;
        let mut later: Option<Duration> = None;
        for shard in &running.snapshot.status.shards {
            if shard.record.is_none() {
                continue;
            }
            let before = running.store.conditions(shard.id);
            let status = status(shard, &before, Timestamp::now());
            match self.due(&observed.key, shard.id, &status) {
                Due::Never => {}
                Due::In(pause) => later = Some(later.map_or(pause, |known| known.min(pause))),
                Due::Now => match running.store.write_status(shard.id, &status).await {
                    Ok(()) => self.note(&observed.key, shard.id, status),
                    // It is for people; the next look writes it.
                    Err(error) => debug!(policy = %observed.key, "{error}"),
                },
            }
        }
        later
    }

    /// Forgets the shards of a policy that is gone.
    pub(crate) fn forget(&self, policy: &Key) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|(key, _), _| key != policy);
    }

    fn due(&self, key: &Key, shard: ShardId, status: &ShardStatus) -> Due {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, before)) = written.get(&(key.clone(), shard)) else {
            return Due::Now;
        };
        if before == status {
            return Due::Never;
        }
        let moved = ShardStatus { committed: status.committed, ..before.clone() };
        let left = POSITIONS_EVERY.saturating_sub(at.elapsed());
        if moved == *status && !left.is_zero() { Due::In(left) } else { Due::Now }
    }

    fn note(&self, key: &Key, shard: ShardId, status: ShardStatus) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert((key.clone(), shard), (Instant::now(), status));
    }
}

/// When a status is to be written.
enum Due {
    Now,
    In(Duration),
    Never,
}

fn status(shard: &Known, before: &[Condition], now: Timestamp) -> ShardStatus {
    let record = shard.record.as_ref();
    let isr = record.map(|record| {
        let brokers: Vec<String> =
            record.isr.iter().map(|member| member.broker.to_string()).collect();
        brokers.join(",")
    });
    ShardStatus {
        observed_generation: None,
        conditions: conditions(&wanted(shard), before, None, now),
        state: Some(state(shard).to_owned()),
        in_sync: isr,
        committed: Some(shard.committed.0),
    }
}

/// What people are to know beside its state.
fn wanted(shard: &Known) -> Vec<Wanted> {
    let record = shard.record.as_ref();
    let Some((epoch, loss)) = record.and_then(|record| record.possible_loss()) else {
        return Vec::new();
    };
    let message = format!(
        "nobody who could lead had all that was acknowledged: since epoch {epoch}, positions {} to \
         {} may be lost, and what was committed after that was told",
        loss.from, loss.to
    );
    vec![Wanted::new(POSSIBLE_LOSS, true, UNCLEAN_ELECTION, message)]
}

/// How a shard is, in a word.
fn state(shard: &Known) -> &'static str {
    match shard.condition {
        ShardCondition::Unassigned | ShardCondition::Leaderless => return "Leaderless",
        ShardCondition::Electing => return "Electing",
        ShardCondition::Frozen => return "Frozen",
        ShardCondition::Serving => {}
    }
    let Some(record) = &shard.record else { return "Leaderless" };
    if shard.working < record.min_in_sync_replicas as usize {
        "UnderMinInSyncReplicas"
    } else if shard.working < record.replicas.len() {
        "UnderReplicated"
    } else {
        "Healthy"
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::{
        BrokerId, Epoch, FlushMode, Incarnation, LossRange, Member, Position, ShardRecord, Version,
    };

    use super::*;

    #[test]
    fn a_possible_loss_is_told_with_its_range_and_keeps_its_time() {
        let leader = Member { broker: BrokerId(1), incarnation: Incarnation([1; 16]) };
        let record = ShardRecord {
            shard: ShardId(2),
            version: Version::default(),
            epoch: Epoch(6),
            leader: Some(leader),
            isr: vec![leader],
            replicas: vec![BrokerId(1)],
            min_in_sync_replicas: 1,
            flush: FlushMode::Async,
            unclean_epoch: Some(Epoch(5)),
            loss: Some(LossRange { from: Position(70), to: Position(90) }),
            starts: Vec::new(),
            lineage: Default::default(),
        };
        let mut shard = Known {
            id: ShardId(2),
            condition: ShardCondition::Serving,
            record: Some(record),
            working: 1,
            committed: Position(100),
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = status(&shard, &[], at(1)).conditions;
        assert_eq!((first[0].type_.as_str(), first[0].status.as_str()), ("PossibleLoss", "True"));
        assert!(first[0].message.contains("since epoch 5, positions 70 to 90"));
        let later = status(&shard, &first, at(2)).conditions;
        assert_eq!(later, first);
        shard.record = shard.record.map(|record| ShardRecord { unclean_epoch: None, ..record });
        assert_eq!(status(&shard, &first, at(3)).conditions, []);
    }
}
