//! The status of a Topic: leaders at once, numbers not more often than every few seconds.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_api::topic::{PartitionStatus, TopicStatus};
use holdfast_operator::{PartitionView, TopicView};
use holdfast_protocol::ShardId;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use super::{Error, Observed};
use crate::apply;
use crate::conditions::{DELETION_BLOCKED, READY, RECONCILING, STALLED, Wanted, conditions};
use crate::context::Context;
use crate::losses::{self, Hit, Loss, Standing};
use crate::names::{self, Key};

/// Shortest time between two writes of a status of which only numbers changed.
const NUMBERS_EVERY: Duration = Duration::from_secs(15);
/// The most groups whose lag is in a status.
const GROUPS_MAX: usize = 256;

/// When the status of each Topic was written last.
#[derive(Default)]
pub(crate) struct Pace(Mutex<BTreeMap<Key, Instant>>);

impl Pace {
    /// How long numbers of this Topic still have to wait.
    fn left(&self, key: &Key) -> Duration {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.get(key).map_or(Duration::ZERO, |at| NUMBERS_EVERY.saturating_sub(at.elapsed()))
    }

    fn note(&self, key: Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Instant::now());
    }

    /// Forgets Topics that are gone.
    pub(crate) fn retain(&self, is_there: impl Fn(&Key) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| is_there(key));
    }
}

/// Writes the status where it changed; returns after which time there is more to write.
pub(super) async fn write(
    observed: &Observed,
    ctx: &Context,
) -> Result<Option<Duration>, apply::Error> {
    let topic = &*observed.topic;
    let before = ctx.topic_status.current(topic, topic.status.as_ref()).unwrap_or_default();
    let generation = topic.metadata.generation;
    let view = observed.view.as_ref().filter(|view| view.wanted && observed.rival.is_none());
    let status = TopicStatus {
        observed_generation: generation,
        conditions: conditions(
            &wanted(observed, view, ctx),
            &before.conditions,
            generation,
            Timestamp::now(),
        ),
        partitions: view.map_or_else(Vec::new, partitions),
        bytes: view.map(|view| view.bytes).filter(|bytes| *bytes > 0),
        lag: view.map_or_else(BTreeMap::new, |view| {
            view.lag.clone().into_iter().take(GROUPS_MAX).collect()
        }),
    };
    if status == before {
        return Ok(None);
    }
    let key = Key::of(topic);
    let left = ctx.pace.left(&key);
    if !left.is_zero() && without_numbers(&status) == without_numbers(&before) {
        return Ok(Some(left));
    }
    ctx.topic_status.write(topic, status).await?;
    ctx.pace.note(key);
    Ok(None)
}

/// Says why the messages of a Topic that is being deleted are not deleted yet.
pub(super) async fn write_deleting(
    observed: &Observed,
    error: &Error,
    ctx: &Context,
) -> Result<(), apply::Error> {
    let topic = &*observed.topic;
    let before = ctx.topic_status.current(topic, topic.status.as_ref()).unwrap_or_default();
    let message = format!("{error}; spec.deletionPolicy: Retain lets it go without that");
    let wanted = [
        Wanted::new(READY, false, error.reason(), message.clone()),
        Wanted::new(DELETION_BLOCKED, true, error.reason(), message),
    ];
    let generation = topic.metadata.generation;
    let status = TopicStatus {
        observed_generation: generation,
        conditions: conditions(&wanted, &before.conditions, generation, Timestamp::now()),
        ..before.clone()
    };
    if status != before {
        ctx.topic_status.write(topic, status).await?;
    }
    Ok(())
}

/// A status without what changes with every message.
fn without_numbers(status: &TopicStatus) -> TopicStatus {
    let mut plain = TopicStatus { bytes: None, lag: BTreeMap::new(), ..status.clone() };
    for partition in &mut plain.partitions {
        partition.start_offset = 0;
        partition.end_offset = 0;
    }
    plain
}

fn partitions(view: &TopicView) -> Vec<PartitionStatus> {
    let partition = |partition: &PartitionView| PartitionStatus {
        partition: partition.partition,
        shard: partition.shard.0,
        leader: partition.leader.map(|leader| leader.0),
        epoch: partition.epoch.0,
        isr: partition.isr.iter().map(|broker| broker.0).collect(),
        start_offset: partition.start,
        end_offset: partition.end,
    };
    view.partitions.iter().map(partition).collect()
}

/// How it is, and what may be missing of it.
fn wanted(observed: &Observed, view: Option<&TopicView>, ctx: &Context) -> Vec<Wanted> {
    let mut wanted = judge(observed);
    let policy = super::policy_key(&observed.topic);
    let acknowledgement = |shard| ctx.acknowledgement(&policy, shard);
    let hits = view.map_or_else(Vec::new, |view| hits(view, &policy, acknowledgement));
    wanted.extend(losses::of_topic(&hits));
    wanted
}

/// What the newest unclean elections of its shards may have lost, and which partitions those
/// shards hold.
fn hits(
    view: &TopicView,
    policy: &Key,
    acknowledgement: impl Fn(ShardId) -> Option<String>,
) -> Vec<Hit> {
    let mut hits: BTreeMap<ShardId, Hit> = BTreeMap::new();
    for partition in &view.partitions {
        let (shard, Some((epoch, range))) = (partition.shard, partition.possible_loss) else {
            continue;
        };
        let hit = hits.entry(shard).or_insert_with(|| {
            let name = names::shard(&policy.name, shard.0);
            Hit {
                loss: Loss { shard: Key::new(policy.namespace.clone(), name), epoch, range },
                standing: Standing::of(Some(epoch), acknowledgement(shard).as_deref()),
                partitions: Vec::new(),
            }
        });
        hit.partitions.push(partition.partition);
    }
    hits.into_values().collect()
}

fn judge(observed: &Observed) -> Vec<Wanted> {
    let policy = &observed.topic.spec.policy;
    if let Some(rival) = &observed.rival {
        let message = format!(
            "the Topic {} is older and has the name {} on {policy}: delete one of them",
            rival.name_any(),
            observed.topic.topic_name()
        );
        return stalled("NameTaken", &message);
    }
    if observed.policy.is_none() {
        let message = format!(
            "there is no ReplicationPolicy {policy} in this namespace: make one, or delete this \
             Topic and make it anew with another spec.policy"
        );
        return stalled("PolicyNotFound", &message);
    }
    match &observed.view {
        None => working(None, "Starting", "the brokers are not called yet"),
        Some(view) if view.problem.is_some() && !view.declared => {
            stalled("Refused", view.problem.as_deref().unwrap_or_default())
        }
        Some(view) if !view.declared || !view.wanted => {
            working(false, "NotDeclared", "the brokers have not taken it yet")
        }
        Some(view) => match view.partitions.iter().filter(|p| p.leader.is_none()).count() {
            0 => vec![
                Wanted::new(READY, true, "Ready", "every partition has a leader"),
                Wanted::new(RECONCILING, false, "Done", ""),
                Wanted::new(STALLED, false, "NotStalled", ""),
            ],
            without => {
                let all = view.partitions.len();
                let message = format!("{without} of {all} partitions have no leader");
                working(false, "Leaderless", &message)
            }
        },
    }
}

fn working(ready: impl Into<Option<bool>>, reason: &'static str, message: &str) -> Vec<Wanted> {
    vec![
        Wanted::new(READY, ready, reason, message),
        Wanted::new(RECONCILING, true, reason, message),
        Wanted::new(STALLED, false, "NotStalled", ""),
    ]
}

fn stalled(reason: &'static str, message: &str) -> Vec<Wanted> {
    vec![
        Wanted::new(READY, false, reason, message),
        Wanted::new(RECONCILING, false, "Stalled", ""),
        Wanted::new(STALLED, true, reason, message),
    ]
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::{BrokerId, Epoch, LossRange, Position, TopicId};

    use super::*;

    #[test]
    fn a_topic_tells_which_partitions_may_have_lost_what() {
        let partition = |partition, shard, lost: Option<(u32, u64, u64)>| PartitionView {
            partition,
            shard: ShardId(shard),
            leader: Some(BrokerId(0)),
            epoch: Epoch(9),
            isr: vec![BrokerId(0)],
            start: 0,
            end: 0,
            possible_loss: lost.map(|(epoch, from, to)| {
                (Epoch(epoch), LossRange { from: Position(from), to: Position(to) })
            }),
        };
        let view = TopicView {
            id: TopicId([1; 16]),
            name: "orders".to_owned(),
            wanted: true,
            declared: true,
            problem: None,
            partitions: vec![
                partition(0, 2, Some((4, 100, 120))),
                partition(1, 3, None),
                partition(2, 2, Some((4, 100, 120))),
                partition(3, 4, Some((7, 5, 5))),
            ],
            bytes: 0,
            lag: BTreeMap::new(),
        };
        let policy = Key::new("shop", "orders");
        let told = |acknowledged: &[(u32, &str)]| {
            let value = |shard| {
                let found = acknowledged.iter().find(|(of, _)| ShardId(*of) == shard);
                found.map(|(_, value)| (*value).to_owned())
            };
            losses::of_topic(&hits(&view, &policy, value)).unwrap()
        };
        let none = told(&[]);
        assert_eq!((none.kind, none.holds), ("PossibleLoss", Some(true)));
        assert!(none.message.contains(
            "partitions 0,2 (shard orders-2) since epoch 4, positions 100 to 120; partitions 3 \
             (shard orders-4) since epoch 7, positions 5 to 5"
        ));
        // Each shard is acknowledged by itself, by its own epoch.
        let one = told(&[(2, "4"), (4, "4")]);
        assert_eq!(one.holds, Some(true));
        assert!(one.message.contains("partitions 3 (shard orders-4)"), "{}", one.message);
        assert!(!one.message.contains("orders-2"), "{}", one.message);
        let all = told(&[(2, "4"), (4, "7")]);
        assert_eq!((all.holds, all.reason), (Some(false), "Acknowledged"));
        let whole = TopicView { partitions: vec![partition(1, 3, None)], ..view.clone() };
        assert_eq!(losses::of_topic(&hits(&whole, &policy, |_| None)), None);
    }
}
