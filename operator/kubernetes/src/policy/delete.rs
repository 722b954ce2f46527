//! The end of a policy, and of objects that it no longer wants.
//!
//! With `storage.reclaim: Retain` only what can be made again goes: volumes and shard records
//! stay, and a policy of the same name takes them up. With `Delete`, in this order: brokers,
//! volumes, records; so that at no time brokers with data meet a policy without records.

use std::collections::BTreeSet;

use holdfast_api::policy::Reclaim;
use holdfast_api::{ReplicationPolicy, Topic};
use kube::ResourceExt;
use tracing::info;

use super::Error;
use super::observe::Observed;
use crate::apply;
use crate::build::Objects;
use crate::context::Context;
use crate::finalizer;
use crate::names::{POD_NAME_LABEL, POLICY_FINALIZER};

/// How many Topics a message names.
const NAMED_MAX: usize = 5;

/// How far a deletion came.
pub(super) enum Step {
    /// Nothing is left to do.
    Gone,
    /// Something is being deleted.
    Busy,
    /// These Topics are on it.
    Blocked(String),
}

/// Takes the next step of a policy's deletion.
///
/// # Errors
/// Where the API server does not do what it is asked for.
pub(super) async fn run(observed: &Observed, ctx: &Context) -> Result<Step, Error> {
    let policy = &*observed.policy;
    if !policy.finalizers().iter().any(|known| known == POLICY_FINALIZER) {
        ctx.operators.stop(&observed.key).await;
        return Ok(Step::Gone);
    }
    if !finalizer::namespace_is_ending(&ctx.client, &observed.key.namespace).await {
        if let Some(by) = blocked_by(&observed.topics) {
            return Ok(Step::Blocked(by));
        }
        if policy.spec.storage.reclaim == Reclaim::Delete && !is_cleared(observed, ctx).await? {
            return Ok(Step::Busy);
        }
    }
    ctx.operators.stop(&observed.key).await;
    ctx.forget_policy(&observed.key);
    finalizer::set::<ReplicationPolicy>(&ctx.client, policy, POLICY_FINALIZER, false).await?;
    info!(policy = %observed.key, "deleted");
    Ok(Step::Gone)
}

/// The Topics that keep a policy, in words.
fn blocked_by(topics: &[std::sync::Arc<Topic>]) -> Option<String> {
    let names: Vec<String> = topics.iter().map(|topic| topic.name_any()).collect();
    if names.is_empty() {
        return None;
    }
    let mut named = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX {
        named = format!("{named} and {} more", names.len() - NAMED_MAX);
    }
    Some(format!("{} Topics are on it: delete {named}", names.len()))
}

/// Whether brokers, volumes and records are gone; deletes what is next.
async fn is_cleared(observed: &Observed, ctx: &Context) -> Result<bool, Error> {
    let key = &observed.key;
    if let Some(set) = &observed.stateful_set
        && set.metadata.deletion_timestamp.is_none()
    {
        apply::delete(&ctx.client, &**set).await?;
        return Ok(false);
    }
    if observed.stateful_set.is_some() || !observed.pods.is_empty() {
        return Ok(false);
    }
    ctx.operators.stop(key).await;
    if !observed.claims.is_empty() {
        for claim in observed.claims.values() {
            if claim.metadata.deletion_timestamp.is_none() {
                apply::delete(&ctx.client, &**claim).await?;
            }
        }
        return Ok(false);
    }
    ctx.operators.store(key, observed.policy.spec.shards).delete_all().await?;
    Ok(true)
}

/// Deletes objects of the policy that are not among `wanted`: Services of brokers that are no
/// more, or of a listener that was taken away; the budget of a policy with one broker.
///
/// # Errors
/// Where the API server does not say that it will.
pub(super) async fn superfluous(
    observed: &Observed,
    wanted: &Objects,
    ctx: &Context,
) -> Result<(), Error> {
    let names: BTreeSet<String> = wanted.services.iter().map(ResourceExt::name_any).collect();
    let uid = observed.policy.uid();
    let owned = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
        owners.iter().any(|owner| Some(&owner.uid) == uid.as_ref())
    };
    for (name, service) in &observed.services {
        let selects_a_pod = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref())
            .is_some_and(|selector| selector.contains_key(POD_NAME_LABEL));
        if !names.contains(name) && selects_a_pod && owned(service.owner_references()) {
            apply::delete(&ctx.client, &**service).await?;
        }
    }
    if let (None, Some(budget)) = (&wanted.disruption, &observed.disruption)
        && owned(budget.owner_references())
    {
        apply::delete(&ctx.client, &**budget).await?;
    }
    Ok(())
}
