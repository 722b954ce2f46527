//! Writes the status of resources, where it changed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::apply::{Error, call};
use crate::names::{Key, MANAGER};

/// What was written last, over which version of the resource.
type Written<S> = BTreeMap<Key, (String, S)>;

/// Writes the status of resources of one kind.
pub(crate) struct StatusWriter<K, S> {
    client: Client,
    written: Mutex<Written<S>>,
    kind: std::marker::PhantomData<fn(K)>,
}

impl<K, S> StatusWriter<K, S>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
    S: Clone + Debug + PartialEq + Serialize,
{
    pub(crate) fn new(client: Client) -> Self {
        Self { client, written: Mutex::default(), kind: std::marker::PhantomData }
    }

    /// The status as it is now: what the watch told, or what was written over just that.
    pub(crate) fn current(&self, object: &K, told: Option<&S>) -> Option<S> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let version = object.resource_version().unwrap_or_default();
        let own = written.get(&Key::of(object)).filter(|(over, _)| *over == version);
        own.map(|(_, status)| status).or(told).cloned()
    }

    /// Writes `status`; the caller has seen that it is another one than `current`.
    ///
    /// # Errors
    /// Where it is not known to be written.
    pub(crate) async fn write(&self, object: &K, status: S) -> Result<(), Error> {
        let key = Key::of(object);
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": key.name, "namespace": key.namespace, "uid": object.uid() },
            "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        let body = Patch::Apply(body);
        let patch = api.patch_status(&key.name, &params, &body);
        call::<K, _>("write the status of", &key, patch).await?;
        let version = object.resource_version().unwrap_or_default();
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (version, status));
        Ok(())
    }

    /// Forgets resources that are gone.
    pub(crate) fn retain(&self, is_there: impl Fn(&Key) -> bool) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|key, _| is_there(key));
    }
}
