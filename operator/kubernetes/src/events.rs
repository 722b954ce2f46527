//! What happens, as Events of Kubernetes: on changes only, one at a time, never in the way of an
//! election.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_api::policy::LastFailover;
use holdfast_operator_core::Event as Told;
use holdfast_protocol::ShardId;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::conditions::cut;
use crate::names::{self, Key, MANAGER};
use crate::store::ShardStore;

/// The longest that one Event may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// The longest note that an Event may have, bytes.
const NOTE_MAX: usize = 1024;

/// Writes Events.
///
/// Each is an object of its own: in a series only the first one's words would be kept, and those
/// say which epoch, and how many milliseconds.
#[derive(Clone)]
pub(crate) struct Recorder {
    client: Client,
    identity: String,
    /// Makes names of Events unique.
    written: Arc<AtomicU64>,
}

impl Recorder {
    pub(crate) fn new(client: Client, identity: &str) -> Self {
        Self { client, identity: identity.to_owned(), written: Arc::default() }
    }

    /// Writes one; a failure is logged and nothing else.
    pub(crate) async fn write(
        &self,
        about: &ObjectReference,
        kind: Kind,
        reason: &str,
        note: String,
    ) {
        let event = self.event(about, kind, reason, note, Timestamp::now());
        let namespace = about.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        match timeout(WRITE_MAX, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!(reason, "an event is not written: {error}"),
            Err(_) => debug!(reason, "an event is not written: no answer"),
        }
    }

    fn event(
        &self,
        about: &ObjectReference,
        kind: Kind,
        reason: &str,
        note: String,
        now: Timestamp,
    ) -> Event {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let name = about.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}.{number:x}", now.as_nanosecond())),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(
                match kind {
                    Kind::Normal => "Normal",
                    Kind::Warning => "Warning",
                }
                .to_owned(),
            ),
            reason: Some(reason.to_owned()),
            action: Some("Reconcile".to_owned()),
            note: Some(cut(&note, NOTE_MAX)),
            regarding: Some(about.clone()),
            reporting_controller: Some(MANAGER.to_owned()),
            reporting_instance: Some(self.identity.clone()),
            ..Event::default()
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

/// The policy that events are about.
pub(crate) struct Regarding {
    pub(crate) key: Key,
    pub(crate) uid: String,
    pub(crate) store: ShardStore,
}

impl Regarding {
    fn policy(&self) -> ObjectReference {
        reference("ReplicationPolicy", &self.key, Some(self.uid.clone()))
    }

    fn shard(&self, shard: ShardId) -> ObjectReference {
        let name = names::shard(&self.key.name, shard.0);
        let key = Key::new(self.key.namespace.clone(), name);
        reference("Shard", &key, self.store.uid(shard))
    }
}

/// A reference to a resource of ours.
pub(crate) fn reference(kind: &str, key: &Key, uid: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{}/{}", holdfast_api::GROUP, holdfast_api::VERSION)),
        kind: Some(kind.to_owned()),
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        uid,
        ..ObjectReference::default()
    }
}

/// Writes what the operator of a policy tells, until it ends.
pub(crate) async fn tell(
    recorder: Recorder,
    regarding: Regarding,
    mut events: broadcast::Receiver<Told>,
    last_failover: Arc<Mutex<Option<LastFailover>>>,
) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => {
                warn!(policy = %regarding.key, missed, "too much happened to tell all of it");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        // Brokers of a new policy are not lost: they were never there.
        if matches!(event, Told::BrokerLost { .. }) && regarding.store.divided().is_none() {
            continue;
        }
        if let Told::FailoverCompleted(failover) = &event
            && !failover.reason.is_planned()
        {
            let failover = LastFailover {
                time: Time(Timestamp::now()),
                from: failover.from.0,
                to: failover.to.first().map(|broker| broker.0),
                reason: failover.reason.to_string(),
                duration_ms: failover.duration_ms,
            };
            *last_failover.lock().unwrap_or_else(PoisonError::into_inner) = Some(failover);
        }
        let about = match shard_of(&event) {
            Some(shard) => regarding.shard(shard),
            None => regarding.policy(),
        };
        recorder.write(&about, kind(&event), event.reason(), event.to_string()).await;
    }
}

/// The shard that an event is about, if it is about one.
fn shard_of(event: &Told) -> Option<ShardId> {
    match event {
        Told::LeaderElected { shard, .. }
        | Told::Leaderless { shard, .. }
        | Told::Resigned { shard, .. }
        | Told::IsrShrunk { shard, .. }
        | Told::IsrExpanded { shard, .. }
        | Told::ReplicasMoving { shard, .. }
        | Told::ReplicasMoved { shard, .. }
        | Told::PossibleLoss { shard, .. }
        | Told::Frozen { shard, .. }
        | Told::Adopted { shard, .. } => Some(*shard),
        Told::BrokerLost { .. }
        | Told::BrokerStopped { .. }
        | Told::BrokerBack { .. }
        | Told::VolumeRolledBack { .. }
        | Told::FailoverCompleted(_) => None,
    }
}

fn kind(event: &Told) -> Kind {
    match event {
        Told::Leaderless { .. }
        | Told::Resigned { .. }
        | Told::PossibleLoss { .. }
        | Told::Frozen { .. }
        | Told::VolumeRolledBack { .. }
        | Told::IsrShrunk { .. }
        | Told::BrokerLost { .. } => Kind::Warning,
        Told::LeaderElected { .. }
        | Told::IsrExpanded { .. }
        | Told::ReplicasMoving { .. }
        | Told::ReplicasMoved { .. }
        | Told::Adopted { .. }
        | Told::BrokerBack { .. }
        | Told::BrokerStopped { .. }
        | Told::FailoverCompleted(_) => Kind::Normal,
    }
}
