//! Finalizers: set before anything is made that has to be undone, removed when it is undone.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::apply::{Error, call};
use crate::names::Key;

/// Sets or removes a finalizer, if that changes anything; fails where the resource is no longer
/// the one that was read.
pub(crate) async fn set<K>(
    client: &Client,
    object: &K,
    finalizer: &str,
    wanted: bool,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let before = object.finalizers();
    if before.iter().any(|known| known == finalizer) == wanted {
        return Ok(());
    }
    let mut after: Vec<&str> = before.iter().map(String::as_str).collect();
    if wanted {
        after.push(finalizer);
    } else {
        after.retain(|known| *known != finalizer);
    }
    let key = Key::of(object);
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    let body = json!({ "metadata": {
        "finalizers": after,
        "uid": object.uid(),
        "resourceVersion": object.resource_version(),
    }});
    let (params, body) = (PatchParams::default(), Patch::Merge(body));
    let patch = api.patch(&key.name, &params, &body);
    match call::<K, _>("set the finalizers of", &key, patch).await {
        // It is gone already.
        Err(error) if !wanted && error.code() == Some(404) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Whether the namespace is being deleted: then nothing may wait. Where it can't be read, it is
/// taken to stay.
pub(crate) async fn namespace_is_ending(client: &Client, namespace: &str) -> bool {
    let api: Api<Namespace> = Api::all(client.clone());
    let key = Key::new("", namespace);
    let found = call::<Namespace, _>("read", &key, api.get_opt(namespace)).await;
    match found {
        Ok(Some(namespace)) => namespace.metadata.deletion_timestamp.is_some(),
        Ok(None) => true,
        Err(_) => false,
    }
}
