//! A Topic: observed in the catalog of its policy's brokers, declared by its policy, deleted here.

mod status;

use std::sync::Arc;
use std::time::Duration;

use holdfast_api::{DeletionPolicy, ReplicationPolicy, Topic};
use holdfast_operator::{DeleteTopic, TopicView};
use kube::ResourceExt;
use kube::runtime::controller::Action;
use tracing::info;

use crate::apply;
use crate::cache;
use crate::claims;
use crate::context::Context;
use crate::finalizer;
use crate::names::{Key, TOPIC_FINALIZER};

pub(crate) use status::Pace;

/// How often a Topic is looked at when nothing changes.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Why a reconciliation did not end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The resource itself.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// The brokers did not delete its messages.
    #[error(transparent)]
    Delete(#[from] DeleteTopic),
}

impl Error {
    /// The reason in conditions and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Apply(_) => "ApplyFailed",
            Self::Delete(DeleteTopic::Refused(_)) => "DeletionRefused",
            Self::Delete(DeleteTopic::Again(_)) => "NotDeletedYet",
        }
    }
}

/// What there is of a Topic.
struct Observed {
    topic: Arc<Topic>,
    policy: Option<Arc<ReplicationPolicy>>,
    /// Another Topic that has the name.
    rival: Option<Arc<Topic>>,
    /// What the brokers say, where they were asked.
    view: Option<TopicView>,
}

/// Brings one Topic closer to what is wanted.
///
/// # Errors
/// [`Error`]; it is in a condition by then.
pub(crate) async fn reconcile(topic: Arc<Topic>, ctx: Arc<Context>) -> Result<Action, Error> {
    let started = std::time::Instant::now();
    let result = reconcile_topic(topic, &ctx).await;
    ctx.metrics.reconciled("Topic", started.elapsed(), result.as_ref().err());
    result
}

async fn reconcile_topic(topic: Arc<Topic>, ctx: &Context) -> Result<Action, Error> {
    let policy = policy_key(&topic);
    let observed = observe(topic, &policy, ctx);
    if observed.topic.metadata.deletion_timestamp.is_some() {
        let deleted = delete(&observed, &policy, ctx).await;
        if let Err(error) = &deleted {
            status::write_deleting(&observed, error, ctx).await?;
        }
        return deleted.map(|()| Action::await_change());
    }
    let keeps = observed.topic.spec.deletion_policy == DeletionPolicy::Delete;
    finalizer::set(&ctx.client, &*observed.topic, TOPIC_FINALIZER, keeps).await?;
    let later = status::write(&observed, ctx).await?;
    Ok(Action::requeue(later.unwrap_or(LOOK_AGAIN)))
}

fn policy_key(topic: &Topic) -> Key {
    Key::new(topic.namespace().unwrap_or_default(), topic.spec.policy.clone())
}

fn observe(topic: Arc<Topic>, policy: &Key, ctx: &Context) -> Observed {
    let claimants = ctx.topics_of(policy);
    let name = topic.topic_name();
    let view = ctx
        .operators
        .view(policy)
        .and_then(|running| running.snapshot.topics.iter().find(|view| view.name == name).cloned());
    Observed {
        policy: cache::get(&ctx.cache.policies, policy),
        rival: claims::rival(&claimants, &topic).cloned(),
        view,
        topic,
    }
}

/// Deletes the messages where that is asked for, and lets the resource go.
async fn delete(observed: &Observed, policy: &Key, ctx: &Context) -> Result<(), Error> {
    let topic = &*observed.topic;
    if !topic.finalizers().iter().any(|known| known == TOPIC_FINALIZER) {
        return Ok(());
    }
    let wanted = topic.spec.deletion_policy == DeletionPolicy::Delete;
    // The messages are the rival's, or there is nobody who could delete them.
    let mine = observed.rival.is_none() && observed.policy.is_some();
    if wanted && mine && !finalizer::namespace_is_ending(&ctx.client, &policy.namespace).await {
        let Some(running) = ctx.operators.view(policy) else {
            return Err(DeleteTopic::Again("the brokers are not called yet".to_owned()).into());
        };
        // It must not be declared again by an operator that does not know of the deletion yet.
        running.handle.set_topics(claims::declarations(&ctx.topics_of(policy)));
        running.handle.delete_topic(&topic.topic_name()).await?;
        info!(topic = topic.topic_name(), %policy, "deleted, with its messages");
    }
    finalizer::set(&ctx.client, topic, TOPIC_FINALIZER, false).await?;
    Ok(())
}
