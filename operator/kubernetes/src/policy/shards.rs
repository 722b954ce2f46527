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
use crate::conditions::{POSSIBLE_LOSS, Wanted, conditions};
use crate::context::Context;
use crate::events::{Kind, reference};
use crate::losses::{self, ACKNOWLEDGED, ACKNOWLEDGEMENT_REFUSED, Loss, Standing};
use crate::names::{self, Key};

/// The reason of the Event that tells of an acknowledgement.
const LOSS_ACKNOWLEDGED: &str = "LossAcknowledged";

/// Shortest time between two writes of a status of which only the position changed.
const POSITIONS_EVERY: Duration = Duration::from_secs(15);

type Written = BTreeMap<(Key, ShardId), (Instant, ShardStatus)>;

/// What was written last.
#[derive(Default)]
pub(crate) struct ShardStatuses(Mutex<Written>);

impl ShardStatuses {
    /// Writes what changed; returns after which time there is more to write.
    pub(super) async fn write(&self, observed: &Observed, ctx: &Context) -> Option<Duration> {
        let running = observed.running.as_ref()?;
        let mut later: Option<Duration> = None;
        let mut open = 0;
        for shard in &running.snapshot.status.shards {
            if shard.record.is_none() {
                continue;
            }
            let acknowledgement = ctx.acknowledgement(&observed.key, shard.id);
            let lost = Lost::new(&observed.key, shard, acknowledgement.as_deref());
            open += usize::from(lost.is_open);
            let before = running.store.conditions(shard.id);
            let status = status(shard, lost.condition.as_ref(), &before, Timestamp::now());
            match self.due(&observed.key, shard.id, &status) {
                Due::Never => {}
                Due::In(pause) => later = Some(later.map_or(pause, |known| known.min(pause))),
                Due::Now => match running.store.write_status(shard.id, &status).await {
                    Ok(()) => {
                        let news = news(&before, &status.conditions);
                        self.note(&observed.key, shard.id, status);
                        if let Some((kind, reason, note)) = news {
                            let uid = running.store.uid(shard.id);
                            let about = reference("Shard", &lost.resource, uid);
                            ctx.recorder.write(&about, kind, reason, note).await;
                        }
                    }
                    // It is for people; the next look writes it.
                    Err(error) => debug!(policy = %observed.key, "{error}"),
                },
            }
        }
        ctx.metrics.set_losses(&observed.key, open);
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

/// What people are to know of a shard's loss.
struct Lost {
    /// The Shard.
    resource: Key,
    condition: Option<Wanted>,
    /// Whether there is one that nobody has acknowledged.
    is_open: bool,
}

impl Lost {
    fn new(policy: &Key, shard: &Known, acknowledgement: Option<&str>) -> Self {
        let name = names::shard(&policy.name, shard.id.0);
        let resource = Key::new(policy.namespace.clone(), name);
        let lost = shard.record.as_ref().and_then(|record| record.possible_loss());
        let loss = lost.map(|(epoch, range)| Loss { shard: resource.clone(), epoch, range });
        let standing = Standing::of(loss.as_ref().map(|loss| loss.epoch), acknowledgement);
        let condition = losses::of_shard(&resource, loss.as_ref(), acknowledgement);
        Self { resource, condition, is_open: loss.is_some() && standing.is_open() }
    }
}

/// What happened between two conditions of a loss, by what a person wrote.
fn news(before: &[Condition], after: &[Condition]) -> Option<(Kind, &'static str, String)> {
    let of = |conditions: &[Condition]| {
        conditions.iter().find(|condition| condition.type_ == POSSIBLE_LOSS).cloned()
    };
    let after = of(after)?;
    let same = of(before).is_some_and(|before| {
        (before.reason.as_str(), &before.message) == (after.reason.as_str(), &after.message)
    });
    match after.reason.as_str() {
        _ if same => None,
        ACKNOWLEDGED => Some((Kind::Normal, LOSS_ACKNOWLEDGED, after.message)),
        ACKNOWLEDGEMENT_REFUSED => Some((Kind::Warning, ACKNOWLEDGEMENT_REFUSED, after.message)),
        _ => None,
    }
}

fn status(
    shard: &Known,
    lost: Option<&Wanted>,
    before: &[Condition],
    now: Timestamp,
) -> ShardStatus {
    let record = shard.record.as_ref();
    let isr = record.map(|record| {
        let brokers: Vec<String> =
            record.isr.iter().map(|member| member.broker.to_string()).collect();
        brokers.join(",")
    });
    ShardStatus {
        observed_generation: None,
        conditions: conditions(lost.map_or(&[], std::slice::from_ref), before, None, now),
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
        let policy = Key::new("shop", "orders");
        let at = |second| Timestamp::from_second(second).unwrap();
        let told = |shard: &Known, value, before: &[Condition], second| {
            let lost = Lost::new(&policy, shard, value);
            (status(shard, lost.condition.as_ref(), before, at(second)).conditions, lost.is_open)
        };
        let (first, open) = told(&shard, None, &[], 1);
        assert_eq!((first[0].type_.as_str(), first[0].status.as_str()), ("PossibleLoss", "True"));
        assert!(open && first[0].message.contains("since epoch 5, positions 70 to 90"));
        assert_eq!(told(&shard, None, &first, 2), (first.clone(), true));
        assert_eq!(news(&[], &first), None, "the election itself is told by another Event");

        let (refused, open) = told(&shard, Some("6"), &first, 3);
        assert!(open && refused[0].last_transition_time == first[0].last_transition_time);
        let (kind, reason, _) = news(&first, &refused).unwrap();
        assert_eq!((kind, reason), (Kind::Warning, "AcknowledgementRefused"));
        assert_eq!(news(&refused, &refused), None);
        assert!(news(&refused, &told(&shard, Some("x"), &refused, 4).0).is_some());

        let (done, open) = told(&shard, Some("5"), &refused, 5);
        assert_eq!((done[0].status.as_str(), open), ("False", false));
        assert_eq!(done[0].last_transition_time.0, at(5));
        let (kind, reason, _) = news(&refused, &done).unwrap();
        assert_eq!((kind, reason), (Kind::Normal, "LossAcknowledged"));

        // The next one is told, whatever was acknowledged before.
        let record = shard.record.take().unwrap();
        shard.record = Some(ShardRecord { unclean_epoch: Some(Epoch(6)), ..record });
        let (again, open) = told(&shard, Some("5"), &done, 6);
        assert_eq!((again[0].status.as_str(), open), ("True", true));
        assert_eq!(again[0].last_transition_time.0, at(6));
        assert_eq!(news(&done, &again), None);
        shard.record = shard.record.map(|record| ShardRecord { unclean_epoch: None, ..record });
        assert_eq!(told(&shard, None, &again, 7), (Vec::new(), false));
    }
}
