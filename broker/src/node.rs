//! What every part of a running broker shares: its shards, its peers, what the operator said.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use holdfast_core::replica::IsrRequest;
use holdfast_core::state::CatalogState;
use holdfast_log::{Boot, Volume};
use holdfast_protocol::topic::Catalog;
use holdfast_protocol::{BrokerId, Epoch, ShardId, control};
use holdfast_service::{ClusterView, ListenerAddress, ShardView};
use holdfast_transport::{Fingerprint, Peer, Tls};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tracing::error;

use crate::Settings;
use crate::leaving::Leaving;
use crate::outbox::Outbox;
use crate::peer::client::Links;
use crate::refusals::Refusals;
use crate::scrub::Scrub;
use crate::shard::{self, Handle};

/// Leaves 53 bits, which every reader of JSON takes as they are.
const PROCESS_SHIFT: u32 = 11;
/// Exit code of a broker whose volume was put back to an older state: it starts anew.
const VOLUME_ROLLED_BACK: i32 = 75;

/// The shared heart of a broker.
#[derive(Debug)]
pub(crate) struct Node {
    settings: Settings,
    tls: Option<Tls>,
    volume: Mutex<Option<Volume>>,
    boot: Boot,
    /// Tells this process from others that count the same boot.
    process: u64,
    shards: RwLock<BTreeMap<ShardId, Handle>>,
    cluster: ArcSwap<ClusterView>,
    told: ArcSwap<control::Cluster>,
    catalog: ArcSwap<CatalogState>,
    topics: watch::Sender<Arc<Catalog>>,
    /// The catalog is as new as any was when this process began.
    is_current: watch::Sender<bool>,
    /// What the doors count, by listener.
    counted: Mutex<BTreeMap<String, Arc<holdfast_kafka::Metrics>>>,
    pub(crate) links: Links,
    /// Wishes for other in-sync replicas, on their way to the operator.
    pub(crate) isr_requests: Outbox<IsrRequest>,
    /// Epochs in which this broker can't go on leading, and why.
    pub(crate) resignations: Outbox<(Epoch, String)>,
    /// Rings when a shard's report changed in a way that the operator should know at once.
    pub(crate) reports_changed: Notify,
    refusals: Refusals,
    pub(crate) leaving: Leaving,
    /// What scrubs have read and found.
    pub(crate) scrub: Scrub,
    /// The clients' listeners; they end first.
    pub(crate) doors: Doors,
    /// Producer ids that were given, by whichever listener: no two may give the same.
    pub(crate) producers: AtomicU64,
    pub(crate) stopping: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// The clients' listeners.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    pub(crate) closing: CancellationToken,
    pub(crate) tasks: TaskTracker,
    open: AtomicUsize,
}

impl Doors {
    /// One more takes clients.
    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }
}

impl Node {
    pub(crate) fn new(settings: Settings, tls: Option<Tls>, volume: Volume) -> Self {
        let cluster =
            ClusterView { cluster_id: settings.cluster.clone(), ..ClusterView::default() };
        Self {
            boot: volume.boot(),
            process: uuid::Uuid::new_v4().as_u64_pair().0 >> PROCESS_SHIFT,
            volume: Mutex::new(Some(volume)),
            settings,
            tls,
            shards: RwLock::default(),
            cluster: ArcSwap::from_pointee(cluster),
            told: ArcSwap::default(),
            catalog: ArcSwap::default(),
            topics: watch::Sender::default(),
            is_current: watch::Sender::default(),
            counted: Mutex::default(),
            links: Links::default(),
            isr_requests: Outbox::default(),
            resignations: Outbox::default(),
            reports_changed: Notify::new(),
            refusals: Refusals::default(),
            leaving: Leaving::default(),
            scrub: Scrub::default(),
            doors: Doors::default(),
            producers: AtomicU64::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// The catalog has caught up with the cluster.
    pub(crate) fn catalog_is_current(&self) {
        self.is_current.send_if_modified(|current| !std::mem::replace(current, true));
    }

    /// Waits until the catalog has caught up with the cluster.
    pub(crate) async fn await_catalog(&self) {
        let mut current = self.is_current.subscribe();
        // It can't end while this node lives.
        let _ = current.wait_for(|current| *current).await;
    }

    /// Whether clients are served wherever they may come in.
    pub(crate) fn serves_clients(&self) -> bool {
        self.doors.open.load(Ordering::Relaxed) >= self.settings.kafka.len()
    }

    /// Runs a task until the broker stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Has what a door counts told with the rest.
    pub(crate) fn note_door(&self, listener: String, metrics: Arc<holdfast_kafka::Metrics>) {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).insert(listener, metrics);
    }

    /// What the doors count, as text for Prometheus.
    pub(crate) fn render_doors(&self, out: &mut String) {
        let doors = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        holdfast_kafka::metrics::render(&doors, out);
    }

    pub(crate) fn broker(&self) -> BrokerId {
        self.settings.broker
    }

    /// How this broker proves who it is, and checks others.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(crate) fn tls_directory(&self) -> Option<PathBuf> {
        self.settings.tls.clone()
    }

    /// Where its data lies.
    pub(crate) fn data(&self) -> &std::path::Path {
        &self.settings.data
    }

    /// How often everything on the volume is read; `None` for never.
    pub(crate) fn scrub_every(&self) -> Option<Duration> {
        self.settings.scrub_every
    }

    pub(crate) fn boot(&self) -> Boot {
        self.boot
    }

    /// What this broker tells an operator of itself first.
    pub(crate) fn hello(&self) -> control::BrokerHello {
        control::BrokerHello {
            broker: self.broker().0,
            boot_counter: self.boot.counter,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: self.process,
            renewed: self.boot.renews_all(),
            unanswered: self.unanswered(),
            certificates: self.certificates(),
        }
    }

    /// Which certificates this broker uses at this moment.
    pub(crate) fn certificates(&self) -> Option<control::CertificatesInUse> {
        let in_use = self.tls.as_ref()?.in_use();
        let wire = |fingerprint: Fingerprint| fingerprint.0.to_vec().into();
        Some(control::CertificatesInUse {
            authorities: in_use.authorities.into_iter().map(wire).collect(),
            leaf: in_use.leaf.map(wire).unwrap_or_default(),
        })
    }

    /// For how long each broker that leads a shard followed here has not answered.
    fn unanswered(&self) -> Vec<control::Unanswered> {
        let records = self.shards().into_iter().filter_map(|handle| handle.view.report().record);
        let leaders: BTreeSet<BrokerId> =
            records.filter_map(|record| record.leader).map(|leader| leader.broker).collect();
        let asked = leaders.into_iter().filter_map(|broker| {
            let for_ms = self.links.unanswered(broker)?.as_millis();
            let for_ms = u64::try_from(for_ms).unwrap_or(u64::MAX);
            Some(control::Unanswered { broker: broker.0, for_ms })
        });
        asked.collect()
    }

    /// Ends the process, so that the next one gives every replica another name: the volume was put
    /// back to an older state since the start that is counted by `counter`.
    ///
    /// # Errors
    /// Where that could not be noted on the volume.
    pub(crate) fn renew_volume(&self, counter: u64) -> Result<(), holdfast_log::Error> {
        let volume = self.volume.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a volume this process ends already, and is found out again in its next life.
        let Some(volume) = volume.as_ref() else { return Ok(()) };
        volume.renew(counter)?;
        error!(
            counted = self.boot.counter,
            remembered = counter,
            "the volume was put back to an older state; starting anew, so that nobody takes its \
             replicas for what they were: they must catch up again"
        );
        std::process::exit(VOLUME_ROLLED_BACK)
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.settings.cluster
    }

    /// Passes on how a call of `caller` was judged, and tells a refusal once.
    pub(crate) fn admit(&self, caller: Peer, judged: Result<(), Status>) -> Result<(), Status> {
        self.refusals.admit(caller, judged)
    }

    pub(crate) fn check_cluster(&self, cluster: &str) -> Result<(), Status> {
        if cluster == self.settings.cluster {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "this broker is of cluster `{}`, not of `{cluster}`",
            self.settings.cluster
        )))
    }

    pub(crate) fn shard(&self, shard: ShardId) -> Option<Handle> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    pub(crate) fn shards(&self) -> Vec<Handle> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Opens the shard, unless it is open.
    pub(crate) fn open_shard(self: &Arc<Self>, shard: ShardId) -> Result<(), shard::OpenError> {
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        if shards.contains_key(&shard) {
            return Ok(());
        }
        let dir = {
            let volume = self.volume.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(volume) = volume.as_ref() else { return Ok(()) };
            volume.shard_dir(shard)
        };
        shards.insert(shard, shard::open(self, shard, &dir)?);
        Ok(())
    }

    /// Opens every shard that has data on the volume, and settles it then.
    pub(crate) fn open_known(self: &Arc<Self>) -> Result<(), shard::OpenError> {
        let known = {
            let volume = self.volume.lock().unwrap_or_else(PoisonError::into_inner);
            volume.as_ref().map_or(Ok(Vec::new()), Volume::shards)?
        };
        known.into_iter().try_for_each(|shard| self.open_shard(shard))?;
        let volume = self.volume.lock().unwrap_or_else(PoisonError::into_inner);
        volume.as_ref().map_or(Ok(()), Volume::settle)?;
        Ok(())
    }

    /// Notes that the broker ended in order.
    pub(crate) fn close_volume(&self) {
        let volume = self.volume.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = volume.map(Volume::close_cleanly) {
            tracing::warn!(%error, "the volume could not be closed in order");
        }
    }

    pub(crate) fn cluster(&self) -> Arc<ClusterView> {
        self.cluster.load_full()
    }

    pub(crate) fn told(&self) -> Arc<control::Cluster> {
        self.told.load_full()
    }

    pub(crate) fn catalog(&self) -> Arc<CatalogState> {
        self.catalog.load_full()
    }

    /// The topics, and a bell for when they change.
    pub(crate) fn topics(&self) -> watch::Receiver<Arc<Catalog>> {
        self.topics.subscribe()
    }

    pub(crate) fn publish_catalog(&self, catalog: CatalogState) {
        let topics = Arc::new(catalog.topics().clone());
        self.catalog.store(Arc::new(catalog));
        self.topics.send_replace(topics);
    }

    /// Where `broker` takes gRPC.
    pub(crate) fn peer_address(&self, broker: BrokerId) -> Option<String> {
        let told = self.told.load();
        let address = told.brokers.iter().find(|address| address.broker == broker.0)?;
        Some(address.peer.clone())
    }

    /// Takes what the operator says of the cluster.
    pub(crate) fn publish_cluster(&self, told: control::Cluster) {
        self.cluster.rcu(|view| {
            let mut view = ClusterView::clone(view);
            view.addresses = told.brokers.iter().flat_map(addresses).collect();
            view.clients_may_declare_topics = told.clients_may_declare_topics;
            view.topics_are_auto_created = told.topics_are_auto_created;
            view.client_topics_max = told.client_topics_max;
            view.client_topic_retention_ms = told.client_topic_retention_ms;
            view.client_topic_partitions = told.client_topic_partitions.max(1);
            view.client_topic_partitions_max = told.client_topic_partitions_max.max(1);
            view.shards.resize(told.shards as usize, ShardView::default());
            view
        });
        self.told.store(Arc::new(told));
    }

    /// Takes newer records of who leads what.
    pub(crate) fn publish_shards(&self, records: &[holdfast_protocol::ShardRecord]) {
        // Actors publish at the same time: none may undo what another has put in.
        self.cluster.rcu(|view| {
            let mut view = ClusterView::clone(view);
            for record in records {
                let at = record.shard.0 as usize;
                let Some(shard) = view.shards.get_mut(at) else { continue };
                if record.version < shard.version {
                    continue;
                }
                view.min_in_sync_replicas = record.min_in_sync_replicas;
                *shard = ShardView {
                    leader: record.leader.map(|leader| leader.broker),
                    epoch: record.epoch,
                    version: record.version,
                    isr: record.isr.iter().map(|member| member.broker).collect(),
                    replicas: record.replicas.clone(),
                };
            }
            view
        });
    }
}

fn addresses(wire: &control::BrokerAddress) -> impl Iterator<Item = ListenerAddress> + '_ {
    wire.kafka.iter().map(|kafka| ListenerAddress {
        broker: BrokerId(wire.broker),
        listener: kafka.listener.clone(),
        host: kafka.host.clone(),
        port: u16::try_from(kafka.port).unwrap_or(0),
    })
}
