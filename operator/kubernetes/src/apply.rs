//! Applies objects as they are to be, by server-side apply, and leaves alone what is so already.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::names::{Key, MANAGER, POLICY_LABEL};

/// The longest that one call may take.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(10);

/// Why something was not written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server refused it, or was not there.
    #[error("can't {action} {kind} {key}: {source}")]
    Api {
        action: &'static str,
        kind: String,
        key: Key,
        #[source]
        source: Box<kube::Error>,
    },
    /// It did not answer.
    #[error("can't {action} {kind} {key}: no answer within {CALL_MAX:?}")]
    Timeout { action: &'static str, kind: String, key: Key },
    /// Somebody else's object has the name.
    #[error(
        "{kind} {key} is there and is not of this policy: delete it, or make a ReplicationPolicy \
         of another name"
    )]
    NameTaken { kind: String, key: Key },
    /// The object of a policy of that name that was deleted.
    #[error("{kind} {key} of the ReplicationPolicy that was deleted is still there")]
    Leftover { kind: String, key: Key },
}

impl Error {
    /// The code that the API server answered with.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Timeout { .. } | Self::NameTaken { .. } | Self::Leftover { .. } => None,
        }
    }
}

/// Calls the API server, with a bound.
pub(crate) async fn call<K, T>(
    action: &'static str,
    key: &Key,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error>
where
    K: Resource<DynamicType = ()>,
{
    let kind = || K::kind(&()).into_owned();
    match timeout(CALL_MAX, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => {
            Err(Error::Api { action, kind: kind(), key: key.clone(), source: Box::new(source) })
        }
        Err(_) => Err(Error::Timeout { action, kind: kind(), key: key.clone() }),
    }
}

/// How to delete just this object, and no other that has its name since.
pub(crate) fn exactly<K: ResourceExt>(object: &K) -> DeleteParams {
    let preconditions = Preconditions { uid: object.uid(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// Deletes just this object; returns whether it was there.
///
/// # Errors
/// Where the API server does not say that it will.
pub(crate) async fn delete<K>(client: &Client, object: &K) -> Result<bool, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let key = Key::of(object);
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    let params = exactly(object);
    match call::<K, _>("delete", &key, api.delete(&key.name, &params)).await {
        Err(error) if error.code() == Some(404) => Ok(false),
        other => other.map(|_| true),
    }
}

/// What was applied last, and what came of it.
struct Applied {
    wanted: Value,
    became: Value,
}

/// Applies objects, and remembers what it applied.
pub(crate) struct Applier {
    client: Client,
    applied: Mutex<BTreeMap<(String, Key), Applied>>,
}

impl Applier {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, applied: Mutex::default() }
    }

    /// Brings `wanted` about, where `current` is what a watch told last.
    ///
    /// # Errors
    /// Where it is not known to be so, or the name is somebody else's.
    pub(crate) async fn apply<K>(&self, wanted: &K, current: Option<&Arc<K>>) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let key = Key::of(wanted);
        let kind = K::kind(&()).into_owned();
        let place = (kind.clone(), key.clone());
        let wanted_value = plain(wanted);
        if let Some(current) = current {
            let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
            let same = |applied: &Applied| {
                applied.wanted == wanted_value && applied.became == plain(&**current)
            };
            if applied.get(&place).is_some_and(same) {
                return Ok(());
            }
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        // The watch shows only what has our label, and may be late.
        let there = call::<K, _>("read", &key, api.get_opt(&key.name)).await?;
        if let Some(there) = &there {
            judge(&kind, &key, there, wanted)?;
        }
        let mut body = wanted.clone();
        if let Some(there) = &there {
            // Not over an object that took its place meanwhile.
            body.meta_mut().uid = there.uid();
        }
        let params = PatchParams::apply(MANAGER).force();
        let body = Patch::Apply(typed(&body));
        let patch = api.patch(&key.name, &params, &body);
        let became = call::<K, _>("apply", &key, patch).await?;
        let applied = Applied { wanted: wanted_value, became: plain(&became) };
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).insert(place, applied);
        Ok(())
    }

    /// Forgets the objects of a policy.
    pub(crate) fn forget(&self, is_gone: impl Fn(&Key) -> bool) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.retain(|(_, key), _| !is_gone(key));
    }
}

/// Whether `there` may be changed into `wanted`.
///
/// # Errors
/// Where it is somebody else's, or of a policy that was deleted.
pub(crate) fn judge<K: Resource>(
    kind: &str,
    key: &Key,
    there: &K,
    wanted: &K,
) -> Result<(), Error> {
    let ours = wanted.owner_references().first().map(|owner| owner.uid.as_str());
    let is_controller = |owner: &&OwnerReference| owner.controller == Some(true);
    let owner = there.owner_references().iter().find(is_controller);
    let same_label = there.labels().get(POLICY_LABEL) == wanted.labels().get(POLICY_LABEL);
    match owner {
        Some(owner) if Some(owner.uid.as_str()) == ours => Ok(()),
        Some(_) if same_label => Err(Error::Leftover { kind: kind.to_owned(), key: key.clone() }),
        // What a policy left behind that was deleted without its objects.
        None if same_label => Ok(()),
        Some(_) | None => Err(Error::NameTaken { kind: kind.to_owned(), key: key.clone() }),
    }
}

/// An object with its kind, as server-side apply wants it.
pub(crate) fn typed<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).expect("an object has string keys only");
    value["apiVersion"] = K::api_version(&()).into();
    value["kind"] = K::kind(&()).into();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    value
}

/// An object without what changes by itself.
fn plain<K: Resource + Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).expect("an object has string keys only");
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    value
}
