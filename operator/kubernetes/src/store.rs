//! The record store: one Shard resource a shard, written by compare-and-swap.
//!
//! Invariants: a record is written only over the version that the planner read, and only over the
//! very object that this process read it in (`resourceVersion`); a shard is created only where
//! there is none. What people annotate is kept, but for their acknowledgement of a loss, which goes
//! in the very write that notes a later one. Whatever is not a clear yes or no of the API server is an error, which the
//! planner takes as unknown. Records have no owner: they outlive the policy that they are of,
//! since the messages on its volumes do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_api::Shard;
use holdfast_api::shard::{PossibleLoss, ShardSpec, ShardStatus};
use holdfast_operator::store::{Error, RecordStore, Swap};
use holdfast_protocol::{ShardId, ShardRecord, Version};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

use crate::apply::exactly;
use crate::names::{self, ACKNOWLEDGE_ANNOTATION, Key, MANAGER, POLICY_LABEL, SHARDS_ANNOTATION};
use crate::record;

/// The longest that the API server may take for one call.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How often a write is tried when somebody else changed the object, but not its record.
const ATTEMPTS_MAX: usize = 4;

/// The records of one policy. Clones share what was read.
#[derive(Clone)]
pub(crate) struct ShardStore {
    api: Api<Shard>,
    policy: String,
    shards: u32,
    /// The object that each record was read in.
    read: Arc<Mutex<BTreeMap<ShardId, Shard>>>,
}

/// Into how many shards a record says that its policy is divided.
fn divided(object: &Shard) -> u32 {
    let told = object.annotations().get(SHARDS_ANNOTATION);
    let told = told.and_then(|shards| shards.parse().ok()).unwrap_or(0);
    told.max(object.spec.shard + 1)
}

/// A record that can't be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("no answer within {CALL_MAX:?}")]
    Timeout,
    #[error("{0} can't be read: {1}; restore it, or delete it so that the brokers' own is adopted")]
    Damaged(String, holdfast_protocol::ids::ParseUuidError),
    #[error("{0} is of another policy or shard: delete it")]
    Stranger(String),
    #[error("others keep changing {0}")]
    Contended(String),
}

impl ShardStore {
    pub(crate) fn new(client: Client, policy: &Key, shards: u32) -> Self {
        Self {
            api: Api::namespaced(client, &policy.namespace),
            policy: policy.name.clone(),
            shards,
            read: Arc::default(),
        }
    }

    /// All records, and into how many shards they say that the policy is divided.
    ///
    /// # Errors
    /// Where they can't be read.
    pub(crate) async fn load(&self) -> Result<(Vec<ShardRecord>, Option<u32>), Error> {
        let of_policy = format!("{POLICY_LABEL}={}", self.policy);
        let params = ListParams::default().labels(&of_policy);
        let listed = self.call("list the shard records", self.api.list(&params)).await?;
        let records: Vec<ShardRecord> = listed
            .items
            .into_iter()
            .map(|object| self.remember(object))
            .collect::<Result<_, _>>()?;
        Ok((records, self.divided()))
    }

    /// Into how many shards the records that were read say that the policy is divided.
    pub(crate) fn divided(&self) -> Option<u32> {
        self.lock().values().map(divided).max()
    }

    /// Writes what people see of a shard.
    ///
    /// # Errors
    /// Where it is not known to be written.
    pub(crate) async fn write_status(
        &self,
        shard: ShardId,
        status: &ShardStatus,
    ) -> Result<(), Error> {
        let name = names::shard(&self.policy, shard.0);
        let patch = Patch::Merge(json!({ "status": status }));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let write = self.api.patch_status(&name, &params, &patch);
        let object = self.call("write the status of a shard", write).await?;
        let mut read = self.lock();
        // The record is as it was read, so the next write of it goes over this object.
        if let Some(known) = read.get_mut(&shard)
            && known.spec == object.spec
            && known.uid() == object.uid()
        {
            *known = object;
        }
        Ok(())
    }

    /// The conditions of the resource that a record was read in.
    pub(crate) fn conditions(&self, shard: ShardId) -> Vec<Condition> {
        let read = self.lock();
        let status = read.get(&shard).and_then(|object| object.status.as_ref());
        status.map_or_else(Vec::new, |status| status.conditions.clone())
    }

    /// The uid of the resource that a record was read in.
    pub(crate) fn uid(&self, shard: ShardId) -> Option<String> {
        self.lock().get(&shard).and_then(ResourceExt::uid)
    }

    /// Deletes all records: the volumes that they speak of are gone.
    ///
    /// # Errors
    /// Where they are not known to be deleted.
    pub(crate) async fn delete_all(&self) -> Result<(), Error> {
        let of_policy = format!("{POLICY_LABEL}={}", self.policy);
        let listed = ListParams::default().labels(&of_policy);
        let listed = self.call("list the shard records", self.api.list(&listed)).await?;
        for object in listed.items {
            let name = object.name_any();
            let just_this = exactly(&object);
            let gone = self.api.delete(&name, &just_this);
            match self.call("delete a shard record", gone).await {
                Err(error) if !has_code(&error, 404) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn call<T>(
        &self,
        action: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        match timeout(CALL_MAX, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(remote(action, error)),
            Err(_) => Err(remote(action, Unusable::Timeout)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ShardId, Shard>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, object: Shard) -> Result<ShardRecord, Error> {
        let name = object.name_any();
        let shard = ShardId(object.spec.shard);
        if object.spec.policy != self.policy || name != names::shard(&self.policy, shard.0) {
            return Err(remote("use a shard record", Unusable::Stranger(name)));
        }
        let record = record::record(&object.spec)
            .map_err(|error| remote("use a shard record", Unusable::Damaged(name, error)))?;
        self.lock().insert(shard, object);
        Ok(record)
    }

    async fn fetch(&self, shard: ShardId) -> Result<Option<ShardRecord>, Error> {
        let name = names::shard(&self.policy, shard.0);
        let found = self.call("read a shard record", self.api.get_opt(&name)).await?;
        match found {
            Some(object) => self.remember(object).map(Some),
            None => {
                self.lock().remove(&shard);
                Ok(None)
            }
        }
    }

    async fn create(&self, record: ShardRecord) -> Result<Swap, Error> {
        let name = names::shard(&self.policy, record.shard.0);
        let mut object = Shard::new(&name, record::spec(&self.policy, &record));
        object.metadata.labels = Some(names::labels(&self.policy));
        let divided = (SHARDS_ANNOTATION.to_owned(), self.shards.to_string());
        object.metadata.annotations = Some([divided].into());
        let params = params();
        let create = self.api.create(&params, &object);
        match self.call("create a shard record", create).await {
            Ok(object) => self.written(object, &record),
            Err(error) if has_code(&error, 409) => {
                Ok(Swap::Conflict(self.fetch(record.shard).await?))
            }
            Err(error) => Err(error),
        }
    }

    async fn replace(&self, expected: Version, record: ShardRecord) -> Result<Swap, Error> {
        let shard = record.shard;
        let name = names::shard(&self.policy, shard.0);
        let params = params();
        for _ in 0..ATTEMPTS_MAX {
            let known = self.lock().get(&shard).cloned();
            let is_expected = |object: &Shard| version(object) == expected;
            let Some(mut object) = known.filter(is_expected) else {
                let current = self.fetch(shard).await?;
                if current.as_ref().map(|record| record.version) == Some(expected) {
                    continue;
                }
                return Ok(Swap::Conflict(current));
            };
            let before = std::mem::replace(&mut object.spec, record::spec(&self.policy, &record));
            if loss(&before) != loss(&object.spec) {
                // What was written before a loss was known can't acknowledge it.
                object.annotations_mut().remove(ACKNOWLEDGE_ANNOTATION);
            }
            object.metadata.managed_fields = None;
            let replace = self.api.replace(&name, &params, &object);
            match self.call("write a shard record", replace).await {
                Ok(object) => return self.written(object, &record),
                Err(error) if has_code(&error, 409) || has_code(&error, 404) => {
                    // Somebody changed the object; whether the record too shows the next round.
                    self.lock().remove(&shard);
                }
                Err(error) => {
                    self.lock().remove(&shard);
                    return Err(error);
                }
            }
        }
        Err(remote("write a shard record", Unusable::Contended(name)))
    }

    fn written(&self, object: Shard, record: &ShardRecord) -> Result<Swap, Error> {
        let stored = self.remember(object)?;
        // An API server that prunes or changes what it was given has not written the record.
        Ok(if stored == *record { Swap::Done } else { Swap::Conflict(Some(stored)) })
    }
}

impl RecordStore for ShardStore {
    async fn list(&self) -> Result<Vec<ShardRecord>, Error> {
        Ok(self.load().await?.0)
    }

    async fn read(&self, shard: ShardId) -> Result<Option<ShardRecord>, Error> {
        self.fetch(shard).await
    }

    async fn compare_and_swap(
        &self,
        expected: Option<Version>,
        record: ShardRecord,
    ) -> Result<Swap, Error> {
        match expected {
            None => self.create(record).await,
            Some(expected) => self.replace(expected, record).await,
        }
    }
}

/// The newest unclean election, and what it may have lost.
fn loss(spec: &ShardSpec) -> (Option<u32>, Option<&PossibleLoss>) {
    (spec.unclean_epoch, spec.possible_loss.as_ref())
}

fn version(object: &Shard) -> Version {
    record::version(&object.spec)
}

fn params() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn remote(action: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Remote { action: action.to_owned(), source: Box::new(source) }
}

/// Whether the API server answered with this code.
fn has_code(error: &Error, code: u16) -> bool {
    let Error::Remote { source, .. } = error else { return false };
    let status = match source.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => status,
        _ => return false,
    };
    status.code == code
}
