//! The status of a policy: what is true of it now.

use holdfast_api::policy::{BrokerTotals, Endpoints, ReplicationPolicyStatus, ShardTotals};
use holdfast_operator_core::{BrokerState, ShardCondition, Status};
use holdfast_protocol::Member;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;

use super::observe::{Observed, is_ready};
use super::roll::Step;
use super::{Outcome, blueprint};
use crate::apply;
use crate::conditions::{
    AUTHORITY_CURRENT, BALANCED, DELETION_BLOCKED, READY, RECONCILING, STALLED, Wanted, conditions,
    holds,
};
use crate::context::Context;
use crate::events::Kind;
use crate::names::{self, CONTAINER};

/// Why it is not balanced.
const REPLICAS_MOVE: &str = "ReplicasMove";

/// Writes the status, where it changed.
pub(super) async fn write(
    observed: &Observed,
    outcome: &Outcome,
    blocked: Option<&String>,
    ctx: &Context,
) -> Result<(), apply::Error> {
    let policy = &*observed.policy;
    let before = ctx.policy_status.current(policy, policy.status.as_ref()).unwrap_or_default();
    let mut wanted = judge(observed, outcome);
    if let Some(by) = blocked {
        wanted.push(Wanted::new(DELETION_BLOCKED, true, "TopicsExist", by.clone()));
    }
    let generation = policy.metadata.generation;
    let status = ReplicationPolicyStatus {
        observed_generation: generation,
        conditions: conditions(&wanted, &before.conditions, generation, Timestamp::now()),
        ..numbers(observed, outcome, &before, ctx)
    };
    if status == before {
        return Ok(());
    }
    let newly_blocked =
        holds(&status.conditions, DELETION_BLOCKED) && !holds(&before.conditions, DELETION_BLOCKED);
    let newly_stalled = holds(&status.conditions, STALLED) && !holds(&before.conditions, STALLED);
    let newly_refused = outcome.authority.wish.refused.as_ref().filter(|refused| {
        let told = before.conditions.iter().find(|condition| condition.type_ == AUTHORITY_CURRENT);
        told.is_none_or(|told| !told.message.starts_with(&refused.message))
    });
    ctx.policy_status.write(policy, status).await?;
    let about = policy.object_ref(&());
    if let (true, Some(by)) = (newly_blocked, blocked) {
        ctx.recorder.write(&about, Kind::Warning, "DeletionBlocked", by.clone()).await;
    }
    if let Some(refused) = newly_refused {
        let note = refused.message.clone();
        ctx.recorder.write(&about, Kind::Warning, refused.reason, note).await;
    }
    if let (true, Some(stalled)) = (newly_stalled, wanted.iter().find(|w| w.kind == STALLED)) {
        let note = stalled.message.clone();
        ctx.recorder.write(&about, Kind::Warning, stalled.reason, note).await;
    }
    Ok(())
}

/// What can be counted.
fn numbers(
    observed: &Observed,
    outcome: &Outcome,
    before: &ReplicationPolicyStatus,
    ctx: &Context,
) -> ReplicationPolicyStatus {
    let running = observed.running.as_ref();
    let status = running.map(|running| &running.snapshot.status);
    let failover = running.and_then(|running| running.last_failover.clone());
    let blueprint = blueprint(observed, outcome.verdict.brokers, ctx);
    ReplicationPolicyStatus {
        selector: Some(names::query(&names::selector(&observed.key.name))),
        brokers: Some(brokers(observed)),
        shards: status.map(shards),
        endpoints: Some(Endpoints {
            kafka: Some(blueprint.bootstrap()),
            kafka_external: blueprint.external_bootstrap(),
        }),
        last_failover: failover.or_else(|| before.last_failover.clone()),
        safe_to_restart: status.map(is_safe_to_restart),
        ..ReplicationPolicyStatus::default()
    }
}

/// Whether any one broker may be stopped: every shard is served, and would be without it.
fn is_safe_to_restart(status: &Status) -> bool {
    status.leaderless == 0 && status.brokers.iter().all(|broker| broker.safe_to_restart)
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

fn brokers(observed: &Observed) -> BrokerTotals {
    let statuses = observed.pods.values().filter_map(|pod| pod.status.as_ref());
    let containers = statuses.filter_map(|status| status.container_statuses.as_ref()).flatten();
    let ours = containers.filter(|container| container.name == CONTAINER);
    BrokerTotals {
        total: count(observed.pods.len()),
        ready: count(observed.pods.values().filter(|pod| is_ready(pod)).count()),
        restarts: ours.map(|c| u64::try_from(c.restart_count).unwrap_or(0)).sum(),
    }
}

fn shards(status: &Status) -> ShardTotals {
    ShardTotals {
        total: count(status.shards.len()),
        leaderless: count(status.leaderless),
        under_replicated: count(status.under_replicated),
        under_min_in_sync_replicas: count(status.under_min_isr),
    }
}

/// All conditions that a policy always has.
fn judge(observed: &Observed, outcome: &Outcome) -> Vec<Wanted> {
    let (reason, message) = missing(observed, outcome);
    let ready = match reason {
        None => Wanted::new(READY, true, "Ready", "every broker and every shard serves"),
        // Nothing is known yet, which is no failure.
        Some("Starting") => Wanted::new(READY, None, "Starting", message.clone()),
        Some(reason) => Wanted::new(READY, false, reason, message.clone()),
    };
    let stalled = stalled(outcome);
    let working = reason.is_some() && stalled.is_none() && !observed.policy.spec.paused;
    let reconciling = match reason {
        Some(reason) if working => Wanted::new(RECONCILING, true, reason, message),
        _ if observed.policy.spec.paused => {
            let message = "spec.paused is true: pods and volumes are left as they are";
            Wanted::new(RECONCILING, false, "Paused", message)
        }
        _ => Wanted::new(RECONCILING, false, "Done", ""),
    };
    let stalled = match stalled {
        Some((reason, message)) => Wanted::new(STALLED, true, reason, message),
        None => Wanted::new(STALLED, false, "NotStalled", ""),
    };
    vec![ready, reconciling, stalled, balanced(observed, outcome), outcome.authority.condition()]
}

/// Whether replicas are where they are wanted; if not, what they wait for.
fn balanced(observed: &Observed, outcome: &Outcome) -> Wanted {
    let Some(status) = observed.running.as_ref().map(|running| &running.snapshot.status) else {
        return Wanted::new(BALANCED, None, "Starting", "the brokers are not called yet");
    };
    if let Some(message) = moving(status) {
        return Wanted::new(BALANCED, false, REPLICAS_MOVE, message);
    }
    if !status.is_certain {
        let message = "too few brokers have told which records they know";
        return Wanted::new(BALANCED, None, "Starting", message);
    }
    let (wanted, runs) = (observed.policy.spec.brokers, outcome.verdict.brokers);
    if wanted < runs {
        let message = format!("{runs} brokers hold replicas and {wanted} are to");
        return Wanted::new(BALANCED, false, REPLICAS_MOVE, message);
    }
    Wanted::new(BALANCED, true, "Balanced", "every replica is where it is wanted")
}

/// Which replicas move, and what they wait for.
fn moving(status: &Status) -> Option<String> {
    let moves = &status.moves;
    let message = || {
        let left = format!(
            "{} of {} shards have replicas that are not where they are wanted",
            moves.shards,
            status.shards.len()
        );
        match moves.waits {
            Some((shard, obstacle)) => format!("{left}; shard {shard}: {obstacle}"),
            None => left,
        }
    };
    (moves.shards > 0).then(message)
}

/// What does not happen without somebody's help.
fn stalled(outcome: &Outcome) -> Option<(&'static str, String)> {
    if let Some(fatal) = &outcome.verdict.fatal {
        return Some((fatal.reason, fatal.message.clone()));
    }
    if let Some(error) = outcome.error.as_ref().filter(|error| error.is_final()) {
        return Some((error.reason(), error.to_string()));
    }
    if let Step::Stuck(why) = &outcome.roll {
        return Some(("BrokerDoesNotStart", why.clone()));
    }
    let refused = outcome.verdict.refused.first()?;
    let all: Vec<&str> = outcome.verdict.refused.iter().map(|p| p.message.as_str()).collect();
    Some((refused.reason, all.join("; ")))
}

/// Why shards have no leader, and what to do where waiting does not help.
fn leaderless(status: &Status, policy: &str) -> String {
    let message = format!("{} of {} shards have no leader", status.leaderless, status.shards.len());
    let live = |member: &Member| {
        let broker = status.brokers.iter().find(|broker| broker.id == member.broker);
        broker.is_some_and(|broker| broker.state == BrokerState::Live)
    };
    let lost = status.shards.iter().filter(|shard| {
        let record =
            shard.record.as_ref().filter(|_| shard.condition == ShardCondition::Leaderless);
        record.is_some_and(|record| record.isr.iter().all(live))
    });
    match lost.count() {
        0 => message,
        lost => format!(
            "{message}; of {lost} the brokers are there and the logs that were in sync are not, as \
             with new or damaged volumes: bring the volumes back, or take the most complete log \
             with spec.failover.uncleanElection: AllReported, or, to begin with no data, delete \
             the ReplicationPolicy, its volumes and its Shards (label \
             holdfast.dev/policy={policy}) and make it anew"
        ),
    }
}

/// What is not as wanted, the worst first.
fn missing(observed: &Observed, outcome: &Outcome) -> (Option<&'static str>, String) {
    if let Some(fatal) = &outcome.verdict.fatal {
        return (Some(fatal.reason), fatal.message.clone());
    }
    let Some(status) = observed.running.as_ref().map(|running| &running.snapshot.status) else {
        return match &outcome.error {
            Some(error) => (Some(error.reason()), error.to_string()),
            None => (Some("Starting"), "the brokers are not called yet".to_owned()),
        };
    };
    let shards = status.shards.len();
    if status.shards.iter().all(|shard| shard.record.is_none()) && outcome.error.is_none() {
        let why = match &outcome.roll {
            Step::Stuck(why) => return (Some("BrokerDoesNotStart"), why.clone()),
            Step::Wait(why) => why.clone(),
            Step::Done | Step::Replace { .. } => "the first leaders are elected".to_owned(),
        };
        return (Some("Starting"), why);
    }
    if status.leaderless > 0 {
        return (Some("Leaderless"), leaderless(status, &observed.key.name));
    }
    if status.under_min_isr > 0 {
        let message =
            format!("{} of {shards} shards take no acks=all writes", status.under_min_isr);
        return (Some("UnderMinInSyncReplicas"), message);
    }
    if let Some(error) = &outcome.error {
        return (Some(error.reason()), error.to_string());
    }
    match &outcome.roll {
        Step::Done => {}
        Step::Replace { broker, .. } => {
            return (Some("RollingUpdate"), format!("broker {broker} is being replaced"));
        }
        Step::Wait(why) => return (Some("BrokersNotReady"), why.clone()),
        Step::Stuck(why) => return (Some("BrokerDoesNotStart"), why.clone()),
    }
    if let Some(refused) = outcome.verdict.refused.first() {
        return (Some(refused.reason), refused.message.clone());
    }
    let wanted = count(status.brokers.len());
    let ready = brokers(observed).ready;
    if ready < wanted {
        return (Some("BrokersNotReady"), format!("{ready} of {wanted} brokers are ready"));
    }
    if let Some(message) = moving(status) {
        return (Some(REPLICAS_MOVE), message);
    }
    if status.under_replicated > 0 {
        let message =
            format!("{} of {shards} shards have a replica behind", status.under_replicated);
        return (Some("UnderReplicated"), message);
    }
    (None, String::new())
}
