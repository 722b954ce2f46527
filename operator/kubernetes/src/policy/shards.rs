//! The status of Shard resources: a summary for people, written on change; positions, which
//! always change, not more often than every few seconds.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_api::shard::ShardStatus;
use holdfast_operator_core::{ShardCondition, ShardStatus as Known};
use holdfast_protocol::ShardId;
use tokio::time::Instant;
use tracing::debug;

use super::observe::Observed;
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
            let status = status(shard);
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

fn status(shard: &Known) -> ShardStatus {
    let record = shard.record.as_ref();
    let isr = record.map(|record| {
        let brokers: Vec<String> =
            record.isr.iter().map(|member| member.broker.to_string()).collect();
        brokers.join(",")
    });
    ShardStatus {
        observed_generation: None,
        conditions: Vec::new(),
        state: Some(state(shard).to_owned()),
        in_sync: isr,
        committed: Some(shard.committed.0),
    }
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
