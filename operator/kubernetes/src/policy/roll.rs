//! Replaces pods that were made from an older template: one at a time, those with the fewest
//! leaders first, each asked before and waited for after.
//!
//! Who was asked is replaced in any case: it is in sync nowhere until it has started anew. But not
//! while another broker is behind, whatever was so when it was asked.
//!
//! A broker that does not start stops the roll there. Once the template is another one again, its
//! pod is replaced at once: it serves nobody.

use std::time::Duration;

use holdfast_operator_core::{BrokerState, BrokerStatus};
use holdfast_protocol::BrokerId;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use tokio::time::timeout;

use super::Error;
use super::observe::{Observed, is_ready};
use super::validate::Verdict;
use crate::apply;
use crate::context::Context;
use crate::events::Kind;
use crate::names::{CONTAINER, REVISION_LABEL};

/// The longest that leaderships may take to move before the broker is asked again.
const PREPARE_MAX: Duration = Duration::from_secs(10);

/// Reasons to wait for which a container never starts without somebody's help.
const HOPELESS: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "CrashLoopBackOff",
];

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Every pod is as wanted, and ready.
    Done,
    /// This pod is to be replaced; `asked`: after its leaderships have moved.
    Replace { broker: u32, asked: bool },
    /// Something has to happen first.
    Wait(String),
    /// It does not happen without somebody's help.
    Stuck(String),
}

/// A broker's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PodLook {
    broker: u32,
    outdated: bool,
    ready: bool,
    deleting: bool,
    /// Why it does not start.
    problem: Option<String>,
}

/// What is known when the next step is chosen.
struct Look<'a> {
    pods: Vec<PodLook>,
    wanted: u32,
    brokers: &'a [BrokerStatus],
    /// Shards with a replica that is not in sync, or that nobody serves.
    behind: usize,
}

/// Takes the next step.
///
/// # Errors
/// Where a pod can't be deleted.
pub(super) async fn run(
    observed: &Observed,
    verdict: &Verdict,
    ctx: &Context,
) -> Result<Step, Error> {
    let Some(revision) = observed.stateful_set.as_deref().and_then(update_revision) else {
        return Ok(Step::Wait("the StatefulSet is being made".to_owned()));
    };
    let status = observed.running.as_ref().map(|running| &running.snapshot.status);
    let look = Look {
        pods: observed.pods.iter().map(|(id, pod)| look(*id, pod, &revision)).collect(),
        wanted: verdict.brokers,
        brokers: status.map_or(&[], |status| status.brokers.as_slice()),
        behind: status.map_or(0, |status| status.under_replicated.max(status.leaderless)),
    };
    let step = next(&look);
    if let Step::Replace { broker, asked } = &step {
        return replace(observed, *broker, *asked, ctx).await;
    }
    Ok(step)
}

/// The revision that pods are to be made from; `None` while Kubernetes has not seen the newest
/// template.
fn update_revision(set: &k8s_openapi::api::apps::v1::StatefulSet) -> Option<String> {
    let status = set.status.as_ref()?;
    let seen = status.observed_generation? >= set.metadata.generation?;
    status.update_revision.clone().filter(|_| seen)
}

fn look(broker: u32, pod: &Pod, revision: &str) -> PodLook {
    PodLook {
        broker,
        outdated: pod.labels().get(REVISION_LABEL).is_none_or(|label| label != revision),
        ready: is_ready(pod),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        problem: problem(pod),
    }
}

/// Why a pod does not start, if Kubernetes says so.
fn problem(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let unscheduled = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        return Some(format!("unschedulable: {}", condition.message.as_deref().unwrap_or("")));
    }
    let container = status.container_statuses.iter().flatten().find(|c| c.name == CONTAINER)?;
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| HOPELESS.contains(reason))?;
    Some(match waiting.message.as_deref() {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    })
}

fn next(look: &Look<'_>) -> Step {
    if let Some(pod) = look.pods.iter().find(|pod| pod.deleting) {
        return Step::Wait(format!("broker {} is being stopped", pod.broker));
    }
    let there = |broker: &u32| look.pods.iter().any(|pod| pod.broker == *broker);
    if let Some(missing) = (0..look.wanted).find(|broker| !there(broker)) {
        return Step::Wait(format!("the pod of broker {missing} is being made"));
    }
    let status =
        |pod: &PodLook| look.brokers.iter().find(|broker| broker.id == BrokerId(pod.broker));
    let live = |pod: &&PodLook| status(pod).is_some_and(|broker| broker.state == BrokerState::Live);
    // What serves nobody needs no asking, and its replacement may be the cure.
    let useless = |pod: &&PodLook| {
        pod.outdated
            && !pod.ready
            && !live(pod)
            && (pod.problem.is_some() || !look.brokers.is_empty())
    };
    if let Some(pod) = look.pods.iter().find(useless) {
        return Step::Replace { broker: pod.broker, asked: false };
    }
    if let Some((pod, why)) =
        look.pods.iter().find_map(|pod| pod.problem.as_ref().map(|why| (pod, why)))
    {
        return Step::Stuck(format!("broker {} does not start: {why}", pod.broker));
    }
    if let Some(pod) = look.pods.iter().find(|pod| !pod.ready) {
        return Step::Wait(format!("broker {} is not ready yet", pod.broker));
    }
    let outdated: Vec<&PodLook> = look.pods.iter().filter(|pod| pod.outdated).collect();
    let asked = look.pods.iter().find(|pod| status(pod).is_some_and(|broker| broker.stopping));
    if outdated.is_empty() && asked.is_none() {
        return Step::Done;
    }
    let left = match outdated.len() {
        0 => "a broker was told to stop".to_owned(),
        some => format!("{some} of {} brokers are to be replaced", look.pods.len()),
    };
    if let Some(pod) = look.pods.iter().find(|pod| !live(pod)) {
        return Step::Wait(format!("{left}; broker {} is not there yet", pod.broker));
    }
    // It takes part in nothing before it has started anew, whatever its template is by now.
    if let Some(pod) = asked {
        return match status(pod).is_some_and(|broker| broker.others_in_sync) {
            true => Step::Replace { broker: pod.broker, asked: true },
            false => Step::Wait(format!("{left}; {} shards are not in sync yet", look.behind)),
        };
    }
    if look.behind > 0 {
        return Step::Wait(format!("{left}; {} shards are not in sync yet", look.behind));
    }
    let leads = |pod: &PodLook| status(pod).map_or(0, |broker| broker.leads);
    let fewest = outdated.into_iter().min_by_key(|pod| (leads(pod), pod.broker));
    match fewest {
        Some(pod) => Step::Replace { broker: pod.broker, asked: true },
        None => Step::Done,
    }
}

async fn replace(
    observed: &Observed,
    broker: u32,
    asked: bool,
    ctx: &Context,
) -> Result<Step, Error> {
    let Some(pod) = observed.pods.get(&broker) else {
        return Ok(Step::Wait(format!("the pod of broker {broker} is gone")));
    };
    if asked {
        let Some(running) = &observed.running else {
            return Ok(Step::Wait("the operator of the policy does not run yet".to_owned()));
        };
        let moved = timeout(PREPARE_MAX, running.handle.prepare_stop(BrokerId(broker))).await;
        match moved {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                // Somebody else may have died while it moved.
                let why = format!("broker {broker} is needed: others are not in sync yet");
                return Ok(Step::Wait(why));
            }
            Ok(Err(_)) | Err(_) => {
                return Ok(Step::Wait(format!("what broker {broker} leads is moved to others")));
            }
        }
    }
    match apply::delete(&ctx.client, &**pod).await {
        // Somebody else replaced it, and the watch will tell.
        Ok(false) => {}
        Err(error) if error.code() == Some(409) => {}
        other => {
            other?;
            let about = observed.policy.object_ref(&());
            let note = format!(
                "broker {broker} is replaced: its pod is of an older template, or it was told to stop"
            );
            ctx.recorder.write(&about, Kind::Normal, "BrokerReplaced", note).await;
        }
    }
    Ok(Step::Wait(format!("broker {broker} is being replaced")))
}

#[cfg(test)]
mod tests;
