//! Three brokers with certificates, and their operator.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_operator::store::LocalStore;
use holdfast_operator::tls::{Bundle, Files, Uses, Wanted, renew};
use holdfast_operator::{BrokerAddress, Operator, Settings, Snapshot};
use holdfast_operator_core::Policy;
use holdfast_protocol::{BrokerId, FlushMode, UncleanElection, command, control};
use holdfast_transport::{Identity, Role, Tls};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::process::{BOUND, CLUSTER, Ports, Process};
use crate::producer::Producer;

pub(crate) const BROKERS: u32 = 3;
/// As many as there are partitions: each is on a shard of its own.
pub(crate) const SHARDS: u32 = 6;
pub(crate) const TOPIC: &str = "orders";

pub(crate) struct Cluster {
    pub(crate) directory: TempDir,
    pub(crate) ports: Vec<Ports>,
    pub(crate) brokers: Vec<Process>,
    pub(crate) operator: Operator,
    /// The operator's side of its connections.
    pub(crate) tls: Tls,
}

pub(crate) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// The certificates of `cluster`, issued by whoever issued `before`.
pub(crate) fn certificates(cluster: &str, before: &Bundle) -> Bundle {
    let wanted = Wanted {
        cluster: cluster.to_owned(),
        brokers: (0..BROKERS).map(BrokerId).collect(),
        authority_since_s: 0,
    };
    renew(before, &wanted, &Uses::new(), now_s()).unwrap().unwrap().bundle
}

pub(crate) fn new_certificates() -> Bundle {
    certificates(CLUSTER, &Bundle::default())
}

/// Puts `files` in place, each at once.
pub(crate) fn write(directory: &Path, files: &Files) {
    fs::create_dir_all(directory).unwrap();
    for (name, bytes) in files {
        let next = directory.join(format!(".{name}"));
        fs::write(&next, bytes).unwrap();
        fs::rename(next, directory.join(name)).unwrap();
    }
}

/// The side of `role` of the cluster.
pub(crate) fn tls(bundle: &Bundle, role: Role) -> Tls {
    let own = Identity::new(CLUSTER, role).unwrap();
    Tls::new(own, &bundle.credentials(role).unwrap()).unwrap()
}

impl Cluster {
    /// Starts all, and waits until every replica is in sync.
    pub(crate) async fn start() -> Self {
        Self::start_with(&new_certificates()).await
    }

    /// The same, with these certificates.
    pub(crate) async fn start_with(bundle: &Bundle) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write(&directory.path().join("tls"), &bundle.brokers());
        let ports: Vec<Ports> = (0..BROKERS).map(|_| Ports::free()).collect();
        let start = |id| start(id, directory.path(), &ports);
        let brokers = (0..BROKERS).map(start).collect();
        let store = LocalStore::open(&directory.path().join("records")).unwrap();
        let tls = tls(bundle, Role::Operator);
        let settings = settings(&ports, tls.clone());
        let operator = Operator::start(settings, store, vec![topic()]).await.unwrap();
        let cluster = Self { directory, ports, brokers, operator, tls };
        cluster.until("all is in sync", Snapshot::is_ready).await;
        cluster.until("all is in sync", |s| s.status.under_replicated == 0).await;
        cluster
    }

    /// A producer to each partition.
    pub(crate) fn producers(&self) -> Vec<Producer> {
        let listeners: Vec<_> = self.ports.iter().map(|ports| ports.kafka).collect();
        let partitions = 0..i32::try_from(SHARDS).unwrap();
        partitions.map(|partition| Producer::start(listeners.clone(), partition)).collect()
    }

    /// Starts broker `id` again.
    pub(crate) fn restart(&mut self, id: u32) {
        self.brokers[id as usize] = start(id, self.directory.path(), &self.ports);
    }

    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl Fn(&Snapshot) -> bool,
    ) -> Arc<Snapshot> {
        let mut snapshots = self.operator.snapshots();
        let waited = timeout(BOUND, snapshots.wait_for(|snapshot| holds(snapshot))).await;
        match waited {
            Ok(snapshot) => Arc::clone(&snapshot.unwrap()),
            Err(_) => {
                let logs: Vec<String> = self.brokers.iter().map(Process::log).collect();
                let status = self.operator.snapshots().borrow().status.clone();
                panic!("not within {BOUND:?}: {what}; {status:#?}\n{}", logs.join("\n"))
            }
        }
    }
}

/// Whether every shard is led, and every replica in sync.
pub(crate) fn is_whole(snapshot: &Snapshot) -> bool {
    snapshot.status.leaderless == 0 && snapshot.status.under_replicated == 0
}

fn start(id: u32, directory: &Path, ports: &[Ports]) -> Process {
    Process::start(id, directory, ports[id as usize], &directory.join("tls"))
}

fn settings(ports: &[Ports], tls: Tls) -> Settings {
    let all = || (0..BROKERS).zip(ports);
    let brokers =
        all().map(|(id, ports)| BrokerAddress { id: BrokerId(id), peer: ports.peer.to_string() });
    let addresses = all().map(|(id, ports)| control::BrokerAddress {
        broker: id,
        peer: ports.peer.to_string(),
        kafka: vec![control::Advertised {
            listener: "internal".to_owned(),
            host: ports.kafka.ip().to_string(),
            port: ports.kafka.port().into(),
        }],
    });
    Settings {
        name: "test".to_owned(),
        cluster_id: CLUSTER.to_owned(),
        policy: Policy {
            brokers: BROKERS,
            staying: BROKERS,
            replicas: BROKERS,
            min_in_sync_replicas: 2,
            shards: SHARDS,
            flush: FlushMode::Sync,
            detection_timeout_ms: 3000,
            move_back_after_ms: 2000,
            unclean_election: UncleanElection::Never,
        },
        brokers: brokers.collect(),
        cluster: control::Cluster {
            brokers: addresses.collect(),
            shards: SHARDS,
            flush_interval_ms: 100,
            replica_lag_ms_max: 10_000,
            ..control::Cluster::default()
        },
        patience: Duration::from_secs(15),
        tls: Some(tls),
    }
}

fn topic() -> command::Topic {
    command::Topic {
        id: vec![7; 16].into(),
        name: TOPIC.to_owned(),
        partitions: SHARDS,
        config: Some(command::TopicConfig {
            message_bytes_max: 1024 * 1024,
            ..command::TopicConfig::default()
        }),
        declared_by: command::Declarer::Yaml.into(),
    }
}
