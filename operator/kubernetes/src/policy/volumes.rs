//! Volumes: grown where the policy wants them larger, deleted where it says so and no broker is
//! left on them.

use holdfast_api::policy::Reclaim;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::Error;
use super::observe::Observed;
use super::validate::Verdict;
use crate::apply::{self, call};
use crate::build::quantity;
use crate::context::Context;
use crate::names::{Key, MANAGER};

/// Grows volumes, and deletes those of brokers that are no more.
///
/// # Errors
/// Where the storage class does not allow it, or the API server does not answer.
pub(super) async fn run(
    observed: &Observed,
    verdict: &Verdict,
    ctx: &Context,
) -> Result<(), Error> {
    let storage = &observed.policy.spec.storage;
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(ctx.client.clone(), &observed.key.namespace);
    // A record that is in doubt may be followed by one that names brokers of which it knows nothing.
    let status = observed.running.as_ref().map(|running| &running.snapshot.status);
    let is_certain = status.is_some_and(|status| status.is_certain);
    for (broker, claim) in &observed.claims {
        let key = Key::of(&**claim);
        let in_use = *broker < verdict.brokers || observed.pods.contains_key(broker);
        if in_use {
            let wanted = storage.size.bytes();
            if requested(claim).is_some_and(|is| is < wanted) {
                let size = quantity(storage.size);
                let body = json!({ "spec": { "resources": { "requests": { "storage": size }}}});
                let body = Patch::Merge(body);
                let params =
                    PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
                let grow = api.patch(&key.name, &params, &body);
                call::<PersistentVolumeClaim, _>("grow", &key, grow).await?;
            }
        } else if storage.reclaim == Reclaim::Delete
            && is_certain
            && claim.metadata.deletion_timestamp.is_none()
        {
            apply::delete(&ctx.client, &**claim).await?;
        }
    }
    Ok(())
}

/// What a claim asks for, bytes; `None` where it can't be told.
fn requested(claim: &PersistentVolumeClaim) -> Option<u64> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    let size = serde_json::Value::from(requests.get("storage")?.0.clone());
    let size: holdfast_api::ByteSize = serde_json::from_value(size).ok()?;
    Some(size.bytes())
}
