//! `status.json`: the state for scripts, replaced whole whenever it changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_operator::store::{Written, write_json};
use holdfast_operator::{PartitionView, TopicView};
use holdfast_operator_core::{Failover, ShardCondition, ShardStatus};
use holdfast_protocol::{BrokerId, Epoch, LossRange};
use serde::Serialize;
use tokio::time::sleep;

use super::state::{Condition, Now, View};

/// Shortest time between two versions of the file.
const WRITE_EVERY: Duration = Duration::from_millis(50);
/// Pause after the file could not be written.
const RETRY_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    pid: Option<u32>,
    policy: String,
    bootstrap: String,
    ready: bool,
    brokers: Vec<Broker>,
    shards: Vec<Shard>,
    topics: Vec<Topic>,
    /// Shards whose replicas are not where they are wanted.
    moving: usize,
    /// The newest failover that nobody planned.
    last_failover: Option<Move>,
    /// The newest moves of leadership, planned ones too, oldest first.
    moves: Vec<Move>,
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Broker {
    id: usize,
    pid: Option<u32>,
    kafka: String,
    state: Condition,
    restarts: u32,
    leads: usize,
    safe_to_restart: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shard {
    shard: u32,
    condition: &'static str,
    leader: Option<u32>,
    epoch: u32,
    isr: Vec<u32>,
    replicas: Vec<u32>,
    committed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    possible_loss: Option<PossibleLoss>,
}

/// What the newest unclean election of a shard may have lost: positions of its log.
#[derive(Clone, PartialEq, Serialize)]
struct PossibleLoss {
    epoch: u32,
    from: u64,
    to: u64,
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Topic {
    name: String,
    id: String,
    declared: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    partitions: Vec<Partition>,
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Partition {
    partition: u32,
    shard: u32,
    leader: Option<u32>,
    epoch: u32,
    isr: Vec<u32>,
    start: u64,
    end: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    possible_loss: Option<PossibleLoss>,
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Move {
    from: u32,
    to: Vec<u32>,
    reason: String,
    planned: bool,
    shards: usize,
    duration_ms: u64,
}

/// Keeps the file as things are, until nothing changes any more.
pub(crate) async fn keep(path: PathBuf, mut view: View) {
    let mut last = None;
    let mut failed = false;
    loop {
        let file = file(&view.now());
        if last.as_ref() != Some(&file) {
            match write(&path, &file) {
                Ok(()) => {
                    failed = false;
                    last = Some(file);
                }
                // Said once: on a full disk it is tried over and over.
                Err(error) if !failed => {
                    failed = true;
                    tracing::warn!("{error:#}");
                }
                Err(_) => {}
            }
        }
        if failed {
            sleep(RETRY_EVERY).await;
        } else {
            sleep(WRITE_EVERY).await;
            if !view.changed().await {
                return;
            }
        }
    }
}

/// Writes that nothing runs any more.
///
/// # Errors
/// Where the file can't be written.
pub(crate) fn write_stopped(path: &Path, view: &View) -> anyhow::Result<()> {
    let mut file = file(&view.again().now());
    file.pid = None;
    file.ready = false;
    for broker in &mut file.brokers {
        broker.pid = None;
        broker.state = Condition::Down;
    }
    write(path, &file)
}

fn write(path: &Path, file: &File) -> anyhow::Result<()> {
    Ok(write_json(path, file, Written::Atomically)?)
}

fn ids(brokers: &[BrokerId]) -> Vec<u32> {
    brokers.iter().map(|broker| broker.0).collect()
}

fn file(now: &Now) -> File {
    let status = &now.snapshot.status;
    File {
        pid: Some(std::process::id()),
        policy: now.about.policy.clone(),
        bootstrap: now.about.bootstrap.clone(),
        ready: now.is_ready(),
        brokers: (0..now.processes.len()).map(|id| broker(now, id)).collect(),
        shards: status.shards.iter().map(shard).collect(),
        topics: now.snapshot.topics.iter().map(topic).collect(),
        moving: status.moves.shards,
        last_failover: status.last_failover.as_ref().map(moved),
        moves: status.recent.iter().map(moved).collect(),
    }
}

fn broker(now: &Now, id: usize) -> Broker {
    let process = now.processes.get(id).cloned().unwrap_or_default();
    let status = now.snapshot.status.brokers.get(id);
    Broker {
        id,
        pid: process.pid,
        kafka: now.about.kafka.get(id).cloned().unwrap_or_default(),
        state: now.condition(id),
        restarts: process.restarts,
        leads: status.map_or(0, |status| status.leads),
        safe_to_restart: status.is_some_and(|status| status.safe_to_restart),
        failure: status.and_then(|status| status.failure.clone()),
    }
}

/// A condition in one word.
fn word(condition: ShardCondition) -> &'static str {
    match condition {
        ShardCondition::Unassigned => "unassigned",
        ShardCondition::Serving => "serving",
        ShardCondition::Electing => "electing",
        ShardCondition::Leaderless => "leaderless",
        ShardCondition::Frozen => "frozen",
    }
}

fn shard(status: &ShardStatus) -> Shard {
    let record = status.record.as_ref();
    let isr = record.map(|r| r.isr.iter().map(|member| member.broker.0).collect());
    Shard {
        shard: status.id.0,
        condition: word(status.condition),
        leader: record.and_then(|record| record.leader).map(|leader| leader.broker.0),
        epoch: record.map_or(0, |record| record.epoch.0),
        isr: isr.unwrap_or_default(),
        replicas: record.map(|record| ids(&record.replicas)).unwrap_or_default(),
        committed: status.committed.0,
        possible_loss: record.and_then(|record| record.possible_loss()).map(possible_loss),
    }
}

fn possible_loss((epoch, loss): (Epoch, LossRange)) -> PossibleLoss {
    PossibleLoss { epoch: epoch.0, from: loss.from.0, to: loss.to.0 }
}

fn topic(topic: &TopicView) -> Topic {
    let partition = |partition: &PartitionView| Partition {
        partition: partition.partition,
        shard: partition.shard.0,
        leader: partition.leader.map(|leader| leader.0),
        epoch: partition.epoch.0,
        isr: ids(&partition.isr),
        start: partition.start,
        end: partition.end,
        possible_loss: partition.possible_loss.map(possible_loss),
    };
    Topic {
        name: topic.name.clone(),
        id: topic.id.to_string(),
        declared: topic.declared,
        problem: topic.problem.clone(),
        partitions: topic.partitions.iter().map(partition).collect(),
    }
}

fn moved(failover: &Failover) -> Move {
    Move {
        from: failover.from.0,
        to: ids(&failover.to),
        reason: failover.reason.to_string(),
        planned: failover.reason.is_planned(),
        shards: failover.shards,
        duration_ms: failover.duration_ms,
    }
}
