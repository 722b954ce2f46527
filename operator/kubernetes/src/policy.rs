//! A ReplicationPolicy, in stages: observe, validate, secure, elect, build, apply, roll,
//! status.
//!
//! Elections come before what may fail for long: a policy whose objects can't be applied still
//! gets leaders.

mod authority;
mod delete;
mod external;
mod observe;
mod roll;
mod secure;
mod shards;
mod status;
mod validate;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use holdfast_api::ReplicationPolicy;
use holdfast_transport::Tls;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use tracing::debug;

use crate::apply;
use crate::build::{self, Plan, Storage};
use crate::claims;
use crate::cluster::Blueprint;
use crate::context::Context;
use crate::finalizer;
use crate::names::{self, Key, POLICY_FINALIZER};
use crate::operators::Start;
use authority::Authority;
use observe::Observed;
use validate::Verdict;

pub(crate) use secure::OperatorTls;
pub(crate) use shards::ShardStatuses;

/// For how long brokers of a new policy may refuse connections without being taken for lost.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a policy is looked at when nothing changes, against anything overlooked.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// How often a change under way is looked at.
const LOOK_SOON: Duration = Duration::from_secs(2);

/// Why a reconciliation did not end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An object of the policy.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// The certificates.
    #[error(transparent)]
    Secure(#[from] secure::Error),
    /// The shard records.
    #[error(transparent)]
    Records(#[from] holdfast_operator::store::Error),
}

impl Error {
    /// The reason in conditions and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Apply(apply::Error::NameTaken { .. }) => "NameTaken",
            Self::Apply(apply::Error::Leftover { .. }) => "WaitsForDeletion",
            Self::Apply(apply::Error::Timeout { .. } | apply::Error::Api { .. }) => "ApplyFailed",
            Self::Secure(secure::Error::Apply(apply::Error::NameTaken { .. })) => "NameTaken",
            Self::Secure(_) => "NoCertificates",
            Self::Records(_) => "RecordsUnreadable",
        }
    }

    /// Whether only somebody else can put it right.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Apply(apply::Error::NameTaken { .. })
                | Self::Secure(secure::Error::Apply(apply::Error::NameTaken { .. }))
        )
    }
}

/// How far a reconciliation came.
struct Outcome {
    verdict: Verdict,
    roll: roll::Step,
    authority: Authority,
    /// What went wrong on the way.
    error: Option<Error>,
}

/// Brings one policy closer to what is wanted.
///
/// # Errors
/// [`Error`]; it is in a condition by then.
pub(crate) async fn reconcile(
    policy: Arc<ReplicationPolicy>,
    ctx: Arc<Context>,
) -> Result<Action, Error> {
    let key = Key::of(&*policy);
    let started = std::time::Instant::now();
    let result = reconcile_key(policy, &key, &ctx).await;
    ctx.metrics.reconciled("ReplicationPolicy", started.elapsed(), result.as_ref().err());
    result
}

async fn reconcile_key(
    policy: Arc<ReplicationPolicy>,
    key: &Key,
    ctx: &Context,
) -> Result<Action, Error> {
    let mut observed = Observed::new(policy, key, ctx);
    let mut blocked = None;
    if observed.policy.metadata.deletion_timestamp.is_some() {
        match delete::run(&observed, ctx).await? {
            delete::Step::Gone => return Ok(Action::await_change()),
            delete::Step::Busy => return Ok(Action::requeue(LOOK_SOON)),
            delete::Step::Blocked(by) => blocked = Some(by),
        }
    } else {
        let policy = &*observed.policy;
        finalizer::set(&ctx.client, policy, POLICY_FINALIZER, true).await?;
    }
    let outcome = proceed(&mut observed, ctx).await;
    // Elections and what was applied have changed what there is to see.
    observed.look_at_operator(ctx);
    let written = status::write(&observed, &outcome, blocked.as_ref(), ctx).await;
    let shards = ctx.shards.write(&observed, ctx).await;
    let again = match (&outcome.roll, shards) {
        (roll::Step::Done, None) => LOOK_AGAIN,
        (roll::Step::Done, Some(later)) => later,
        (roll::Step::Wait(_) | roll::Step::Stuck(_) | roll::Step::Replace { .. }, _) => LOOK_SOON,
    };
    let due = outcome.authority.due_in(Timestamp::now().as_second());
    let again = due.map_or(again, |due| again.min(due));
    match outcome.error {
        Some(error) => Err(error),
        None => {
            written?;
            Ok(Action::requeue(again))
        }
    }
}

async fn proceed(observed: &mut Observed, ctx: &Context) -> Outcome {
    let mut outcome = Outcome {
        verdict: Verdict::default(),
        roll: roll::Step::Done,
        authority: Authority::default(),
        error: None,
    };
    if let Err(error) = steps(observed, ctx, &mut outcome).await {
        debug!(policy = %observed.key, "not done: {error}");
        outcome.error = Some(error);
    }
    outcome
}

async fn steps(observed: &mut Observed, ctx: &Context, outcome: &mut Outcome) -> Result<(), Error> {
    observed.look_at_records(ctx).await?;
    outcome.verdict = validate::validate(observed);
    if outcome.verdict.is_fatal() {
        return Ok(());
    }
    let tls = secure::run(observed, outcome.verdict.brokers, &mut outcome.authority, ctx).await?;
    elect(observed, &outcome.verdict, tls, ctx).await?;
    observed.look_at_operator(ctx);
    if observed.policy.spec.paused {
        return Ok(());
    }
    apply(observed, &outcome.verdict, ctx).await?;
    outcome.roll = roll::run(observed, &outcome.verdict, ctx).await?;
    volumes::run(observed, &outcome.verdict, ctx).await?;
    Ok(())
}

/// Sees to it that the brokers have an operator that knows what is wanted.
async fn elect(
    observed: &Observed,
    verdict: &Verdict,
    tls: Tls,
    ctx: &Context,
) -> Result<(), Error> {
    let blueprint = blueprint(observed, verdict.brokers, ctx);
    let start = Start {
        uid: observed.policy.uid().unwrap_or_default(),
        settings: blueprint.settings(tls),
        store: ctx.operators.store(&observed.key, observed.policy.spec.shards),
        topics: claims::declarations(&observed.topics),
    };
    ctx.operators.ensure(&observed.key, start).await?;
    Ok(())
}

fn blueprint<'a>(observed: &'a Observed, brokers: u32, ctx: &'a Context) -> Blueprint<'a> {
    Blueprint {
        identity: &ctx.settings.lease.identity,
        domain: &ctx.settings.cluster_domain,
        key: &observed.key,
        spec: &observed.policy.spec,
        brokers,
        external: external::addresses(observed, brokers),
        patience: if observed.records.is_empty() { PATIENCE } else { Duration::ZERO },
    }
}

/// Applies the objects of the policy, in the order in which they need each other.
async fn apply(observed: &Observed, verdict: &Verdict, ctx: &Context) -> Result<(), Error> {
    let policy = &*observed.policy;
    let tls_secret = names::tls_secret(&observed.key.name);
    let plan = Plan {
        key: &observed.key,
        spec: &policy.spec,
        owner: build::owner(policy),
        brokers: verdict.brokers,
        image: &ctx.settings.image,
        pull: &ctx.settings.pull,
        tls_secret: Some(&tls_secret),
        storage: observed.template_storage().unwrap_or_else(|| Storage::wanted(&policy.spec)),
    };
    let objects = build::objects(&plan);
    for service in &objects.services {
        let current = observed.services.get(&service.name_any());
        ctx.applier.apply(service, current).await?;
    }
    ctx.applier.apply(&objects.network, observed.network.as_ref()).await?;
    if let Some(budget) = &objects.disruption {
        ctx.applier.apply(budget, observed.disruption.as_ref()).await?;
    }
    ctx.applier.apply(&objects.stateful_set, observed.stateful_set.as_ref()).await?;
    delete::superfluous(observed, &objects, ctx).await?;
    Ok(())
}
