//! The certificates of a policy: made, renewed and replaced in two Secrets, one for the operator
//! alone and one that all brokers mount.
//!
//! What to change follows from what was read, and is written only over just that: two operators,
//! or one with a stale watch, never replace each other's authority. Nor does the operator itself use
//! anything but what was read: by a late watch it would go back behind a step that all others took.
//!
//! Of the two operators the active one alone holds certificates; another reads them when it takes over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_operator::tls::{self, Bundle, Files, Renewal, Use, Uses};
use holdfast_protocol::BrokerId;
use holdfast_transport::{Credentials, Identity, InUse, Role, Tls};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};
use tracing::info;

use super::authority::{Authority, Wish};
use super::observe::Observed;
use crate::apply::{self, call, judge};
use crate::build;
use crate::cache;
use crate::context::Context;
use crate::events::Kind;
use crate::names::{self, Key, MANAGER};

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A Secret.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// They can't be made.
    #[error(transparent)]
    Make(#[from] tls::Error),
    /// The policy's name can't stand in one.
    #[error(transparent)]
    Identity(#[from] holdfast_transport::IdentityError),
    /// What was made can't be used.
    #[error("the certificates can't be used: {0}")]
    Use(#[from] holdfast_transport::Error),
    /// What was made lacks the operator's own.
    #[error("there is no certificate for the operator")]
    Missing,
}

/// What the operator proves itself with, by policy.
#[derive(Default)]
pub(crate) struct OperatorTls(Mutex<BTreeMap<Key, (Credentials, Tls)>>);

impl OperatorTls {
    /// The operator's side of connections to the brokers of a policy; connections that are there
    /// stay, new ones are made with `credentials`.
    fn with(&self, key: &Key, credentials: Credentials) -> Result<Tls, Error> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, tls)) = known.get_mut(key) {
            if *before != credentials {
                tls.replace(&credentials)?;
                *before = credentials;
            }
            return Ok(tls.clone());
        }
        let identity = Identity::new(&names::cluster_id(key), Role::Operator)?;
        let tls = Tls::new(identity, &credentials)?;
        known.insert(key.clone(), (credentials, tls.clone()));
        Ok(tls)
    }

    /// Whether `credentials` are what connections to the brokers of a policy are made with.
    fn uses(&self, key: &Key, credentials: Option<&Credentials>) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(|(known, _)| known) == credentials
    }

    /// What connections to the brokers of a policy are made with, where there is something.
    fn in_use(&self, key: &Key) -> Option<InUse> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(|(_, tls)| tls.in_use())
    }

    /// Forgets a policy.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The two Secrets, as they are.
struct Secrets {
    private: Option<Arc<Secret>>,
    brokers: Option<Arc<Secret>>,
}

impl Secrets {
    fn bundle(&self) -> Bundle {
        Bundle::read(&files(self.private.as_deref()), &files(self.brokers.as_deref()))
    }
}

/// Sees to the certificates of `brokers` brokers, and to a person's wish for another authority.
/// How far that is stands in `authority`.
///
/// # Errors
/// Where they can't be made or written.
pub(super) async fn run(
    observed: &Observed,
    brokers: u32,
    authority: &mut Authority,
    ctx: &Context,
) -> Result<Tls, Error> {
    let key = &observed.key;
    let asked = observed.policy.annotations().get(names::ROTATE_ANNOTATION);
    let wish = Wish::read(asked.map(String::as_str), Timestamp::now());
    let wanted = tls::Wanted {
        cluster: names::cluster_id(key),
        brokers: (0..brokers).map(BrokerId).collect(),
        authority_since_s: wish.since_s,
    };
    let told = Secrets {
        private: cache::get(&ctx.cache.secrets, &private_key(key)),
        brokers: cache::get(&ctx.cache.secrets, &brokers_key(key)),
    };
    let mut bundle = told.bundle();
    let mut uses = uses(observed, ctx);
    let in_use = ctx.tls.uses(key, bundle.credentials(Role::Operator).as_ref());
    if !in_use || tls::renew(&bundle, &wanted, &uses, now_s())?.is_some() {
        // The watch may be late: what is changed is changed from what is read now.
        let there = read(key, ctx).await?;
        bundle = there.bundle();
        if let Some(renewal) = tls::renew(&bundle, &wanted, &uses, now_s())? {
            write(observed, &there, &renewal, ctx).await?;
            bundle = renewal.bundle;
        }
    }
    let credentials = bundle.credentials(Role::Operator).ok_or(Error::Missing);
    let tls = credentials.and_then(|credentials| ctx.tls.with(key, credentials));
    if let Ok(tls) = &tls {
        uses.insert(Role::Operator, Use::Told(tls.in_use()));
    }
    let waits = bundle.waits(&wanted, &uses);
    *authority = Authority { wish, stage: bundle.stage(), waits };
    tls
}

/// What holders tell of the certificates that they use. Without sessions nobody has told anything yet.
fn uses(observed: &Observed, ctx: &Context) -> Uses {
    let now = tokio::time::Instant::now();
    let mut uses =
        observed.running.as_ref().map(|view| view.snapshot.uses(now)).unwrap_or_default();
    if let Some(in_use) = ctx.tls.in_use(&observed.key) {
        uses.insert(Role::Operator, Use::Told(in_use));
    }
    uses
}

fn now_s() -> i64 {
    Timestamp::now().as_second()
}

fn private_key(policy: &Key) -> Key {
    Key::new(policy.namespace.clone(), names::private_secret(&policy.name))
}

fn brokers_key(policy: &Key) -> Key {
    Key::new(policy.namespace.clone(), names::tls_secret(&policy.name))
}

fn files(secret: Option<&Secret>) -> Files {
    let data = secret.and_then(|secret| secret.data.as_ref()).into_iter().flatten();
    data.map(|(name, bytes)| (name.clone(), bytes.0.clone())).collect()
}

async fn read(policy: &Key, ctx: &Context) -> Result<Secrets, Error> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &policy.namespace);
    let get = async |key: Key| {
        let found = call::<Secret, _>("read", &key, api.get_opt(&key.name)).await;
        found.map(|secret| secret.map(Arc::new))
    };
    Ok(Secrets {
        private: get(private_key(policy)).await?,
        brokers: get(brokers_key(policy)).await?,
    })
}

/// Writes both, the private one first, so that no key of an authority is ever lost.
async fn write(
    observed: &Observed,
    there: &Secrets,
    renewal: &Renewal,
    ctx: &Context,
) -> Result<(), Error> {
    let key = &observed.key;
    let owner = build::owner(&observed.policy);
    let private = (private_key(key), there.private.as_deref(), renewal.bundle.private());
    let brokers = (brokers_key(key), there.brokers.as_deref(), renewal.bundle.brokers());
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    for (place, current, files) in [private, brokers] {
        let data = files.into_iter().map(|(name, bytes)| (name, ByteString(bytes))).collect();
        let mut next = Secret { data: Some(data), ..Secret::default() };
        next.metadata.name = Some(place.name.clone());
        next.metadata.labels = Some(names::labels(&key.name));
        next.metadata.owner_references = Some(vec![owner.clone()]);
        if let Some(current) = current {
            judge("Secret", &place, current, &next)?;
            if current.data == next.data {
                continue;
            }
            next.metadata.resource_version = current.resource_version();
            let replace = api.replace(&place.name, &params, &next);
            call::<Secret, _>("write", &place, replace).await?;
        } else {
            call::<Secret, _>("create", &place, api.create(&params, &next)).await?;
        }
    }
    let changes: Vec<String> = renewal.changes.iter().map(ToString::to_string).collect();
    let note = changes.join("; ");
    info!(policy = %key, "certificates: {note}");
    let about = observed.policy.object_ref(&());
    ctx.recorder.write(&about, Kind::Normal, "CertificatesRenewed", note).await;
    Ok(())
}
