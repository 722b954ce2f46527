//! What happens, as Events of Kubernetes: on changes only, one at a time, never in the way of an
//! election.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_api::policy::LastFailover;
use holdfast_operator_core::Event;
use holdfast_protocol::ShardId;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::events::{self, EventType, Reporter};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::names::{self, Key, MANAGER};
use crate::store::ShardStore;

/// The longest that one Event may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// Writes Events.
#[derive(Clone)]
pub(crate) struct Recorder(events::Recorder);

impl Recorder {
    pub(crate) fn new(client: Client, identity: &str) -> Self {
        let reporter =
            Reporter { controller: MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self(events::Recorder::new(client, reporter))
    }

    /// Writes one; a failure is logged and nothing else.
    pub(crate) async fn write(
        &self,
        about: &ObjectReference,
        kind: EventType,
        reason: &str,
        note: String,
    ) {
        let event = events::Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        match timeout(WRITE_MAX, self.0.publish(&event, about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(reason, "an event is not written: {error}"),
            Err(_) => debug!(reason, "an event is not written: no answer"),
        }
    }
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
    mut events: broadcast::Receiver<Event>,
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
        if let Event::FailoverCompleted(failover) = &event
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
fn shard_of(event: &Event) -> Option<ShardId> {
    match event {
        Event::LeaderElected { shard, .. }
        | Event::Leaderless { shard, .. }
        | Event::Resigned { shard, .. }
        | Event::IsrShrunk { shard, .. }
        | Event::IsrExpanded { shard, .. }
        | Event::PossibleLoss { shard, .. }
        | Event::Frozen { shard, .. }
        | Event::Adopted { shard, .. } => Some(*shard),
        Event::BrokerLost { .. }
        | Event::BrokerStopped { .. }
        | Event::BrokerBack { .. }
        | Event::FailoverCompleted(_) => None,
    }
}

fn kind(event: &Event) -> EventType {
    match event {
        Event::Leaderless { .. }
        | Event::Resigned { .. }
        | Event::PossibleLoss { .. }
        | Event::Frozen { .. }
        | Event::IsrShrunk { .. }
        | Event::BrokerLost { .. } => EventType::Warning,
        Event::LeaderElected { .. }
        | Event::IsrExpanded { .. }
        | Event::Adopted { .. }
        | Event::BrokerBack { .. }
        | Event::BrokerStopped { .. }
        | Event::FailoverCompleted(_) => EventType::Normal,
    }
}
