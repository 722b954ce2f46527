//! Everything that is shown, from the operator and from the processes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_api::policy::FlushMode;
use holdfast_operator::Snapshot;
use holdfast_operator_core::{BrokerState, Event};
use tokio::sync::{broadcast, watch};

use super::addresses::Addresses;
use super::desired::Desired;

/// One broker's process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id; `None` while it does not run.
    pub(crate) pid: Option<u32>,
    /// How many times it was started again.
    pub(crate) restarts: u32,
    /// How it ended the last time, unasked.
    pub(crate) last_end: Option<String>,
}

/// How a broker does, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Condition {
    /// It runs, and the operator has heard what it holds.
    Ready,
    /// It runs, and the operator has not heard of it yet.
    Starting,
    /// It runs, and does not answer.
    Silent,
    /// It does not run.
    Down,
}

impl Condition {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Silent => "silent",
            Self::Down => "down",
        }
    }
}

/// What does not change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) policy: String,
    pub(crate) settings: String,
    pub(crate) data: PathBuf,
    pub(crate) bootstrap: String,
    pub(crate) kafka: Vec<String>,
    /// What of the YAML has no effect here, a line each.
    pub(crate) ignored: Vec<String>,
}

impl About {
    pub(crate) fn new(data: &Path, desired: &Desired, addresses: &Addresses) -> Self {
        let spec = &desired.policy.spec;
        let flush = match spec.flush.mode {
            FlushMode::Sync => "every acknowledged message flushed".to_owned(),
            FlushMode::Async => format!("flushed every {}", spec.flush.interval),
        };
        Self {
            policy: desired.policy.metadata.name.clone().unwrap_or_default(),
            settings: format!(
                "{} replicas, {} in sync needed, {flush}",
                spec.replicas, spec.min_in_sync_replicas
            ),
            data: data.to_owned(),
            bootstrap: addresses.bootstrap(),
            kafka: (0..desired.brokers).map(|id| addresses.kafka(id).to_string()).collect(),
            ignored: desired.ignored.clone(),
        }
    }
}

/// Everything that is shown.
pub(crate) struct View {
    pub(crate) operator: watch::Receiver<Arc<Snapshot>>,
    pub(crate) brokers: watch::Receiver<Vec<Process>>,
    pub(crate) events: broadcast::Receiver<Event>,
    pub(crate) about: About,
}

impl View {
    /// Another look at the same.
    pub(crate) fn again(&self) -> Self {
        Self {
            operator: self.operator.clone(),
            brokers: self.brokers.clone(),
            events: self.events.resubscribe(),
            about: self.about.clone(),
        }
    }

    /// The state as it is now.
    pub(crate) fn now(&mut self) -> Now {
        Now {
            snapshot: Arc::clone(&self.operator.borrow_and_update()),
            processes: self.brokers.borrow_and_update().clone(),
            disk_free: free_bytes(&self.about.data),
            about: self.about.clone(),
        }
    }

    /// Waits until something changes; `false` when nothing will any more.
    pub(crate) async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.operator.changed() => changed.is_ok(),
            changed = self.brokers.changed() => changed.is_ok(),
        }
    }
}

/// The state at one moment.
#[derive(Clone)]
pub(crate) struct Now {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) processes: Vec<Process>,
    /// What the disk of the data directory has left, bytes, where it says so.
    pub(crate) disk_free: Option<u64>,
    pub(crate) about: About,
}

/// What a user may still write on the disk that `path` is on, bytes.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

impl Now {
    /// How a broker does.
    pub(crate) fn condition(&self, broker: usize) -> Condition {
        let runs = self.processes.get(broker).is_some_and(|process| process.pid.is_some());
        let state = self.snapshot.status.brokers.get(broker).map(|broker| broker.state);
        match (runs, state) {
            (false, _) => Condition::Down,
            (true, Some(BrokerState::Live)) => Condition::Ready,
            (true, Some(BrokerState::Dead(holdfast_operator_core::Loss::Silent))) => {
                Condition::Silent
            }
            (true, Some(BrokerState::Unknown | BrokerState::Dead(_)) | None) => Condition::Starting,
        }
    }

    /// Whether clients can use all of it.
    pub(crate) fn is_ready(&self) -> bool {
        let all = (0..self.processes.len()).all(|id| self.condition(id) == Condition::Ready);
        all && self.snapshot.is_ready()
    }
}
