//! Joins the replication core, the log and the network into a running broker.
//!
//! [`run`] opens the volume and its replicas, listens for peers and the operator (gRPC), for
//! clients (`holdfast-kafka`) and for probes (HTTP), and stops in order when it is told to.
//! What a broker leads it learns from an operator; until one has called it serves nothing.

mod ablation;
mod clock;
mod control;
mod files;
mod http;
mod inspect;
mod leaving;
mod node;
mod outbox;
mod peer;
mod refusals;
mod scrub;
mod service;
mod settings;
mod shard;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast_log::Volume;
use holdfast_protocol::control::control_server::ControlServer;
use holdfast_protocol::peer::peer_server::PeerServer;
use holdfast_transport::{
    CONNECTION_STREAMS_MAX, CONNECTION_WINDOW_BYTES, HEADER_BYTES_MAX, Identity, Role,
    STREAM_WINDOW_BYTES, Tls,
};
use tokio::net::TcpListener;
use tracing::{error, info, warn};

use node::Node;

pub use settings::Settings;
pub use shard::OpenError;

/// The driver of one shard, for who runs it otherwise than [`run`] does: the simulated cluster, and
/// the fuzzer, which also speaks the peer protocol to it.
pub mod driver {
    pub use crate::peer::wire;
    pub use crate::shard::{
        AppendCommand, Ask, CheckpointImage, Driver, Effects, Image, Input, Report, View,
    };
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error(transparent)]
    Volume(#[from] holdfast_log::Error),
    /// A replica on it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The cluster's id, where certificates are used.
    #[error(transparent)]
    Identity(#[from] holdfast_transport::IdentityError),
    /// The certificates.
    #[error(transparent)]
    Certificates(#[from] holdfast_transport::ReadError),
    /// A port.
    #[error("can't listen on {address} for {what}: {source}; free the port or choose another")]
    Listen {
        /// What would be served there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// How long replicas may take to close in order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the doors may take to answer what clients have asked. They bound themselves by less.
const DOORS_TIMEOUT: Duration = Duration::from_secs(3);
/// How long clients are turned away while the catalog has no leader: then a broker that knows of
/// most topics is better than none.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(10);
/// How long clients wait for that before they are turned away: at a start of the whole cluster it is a
/// moment, and some clients give up when all that they know of turn them away.
const CATALOG_PATIENCE: Duration = Duration::from_millis(500);
/// A silent connection of a peer or operator is probed after this, and closed after as long
/// again.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Runs a broker until `stop` is done.
///
/// # Errors
/// [`Error`], where it can't start.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let tls = certificates(&settings)?;
    let stop_timeout = settings.stop_timeout;
    let volume = Volume::open(&settings.data, &boot_id())?;
    let peer = listen("peers and the operator", settings.peer).await?;
    let http = listen("metrics and probes", settings.http).await?;
    let mut kafka = Vec::new();
    for (name, address) in &settings.kafka {
        kafka.push((name.clone(), listen("Kafka clients", *address).await?));
    }
    let node = Arc::new(Node::new(settings, tls, volume));
    {
        let node = Arc::clone(&node);
        tokio::task::block_in_place(move || node.open_known())?;
    }
    serve_grpc(&node, peer);
    node.spawn(http::serve(Arc::clone(&node), http));
    node.spawn(scrub::run(Arc::clone(&node)));
    let connections = files::connections_max(kafka.len());
    for (name, listener) in kafka {
        serve_kafka(&node, name, listener, connections);
    }
    info!(broker = %node.broker(), boot = node.boot().counter, "broker is up");
    stop.await;
    info!("leaving: others take over");
    let released = node.leaving.leave(stop_timeout).await;
    info!(?released, "stopping");
    close(&node).await;
    Ok(())
}

/// How this broker proves who it is, where it is told to.
fn certificates(settings: &Settings) -> Result<Option<Tls>, Error> {
    let Some(directory) = &settings.tls else { return Ok(None) };
    let own = Identity::new(&settings.cluster, Role::Broker(settings.broker))?;
    let tls = holdfast_transport::open(own, directory)?;
    info!(directory = %directory.display(), own = %tls.own(), "peers and operators prove who they are");
    Ok(Some(tls))
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| Error::Listen { what, address, source })
}

fn serve_grpc(node: &Arc<Node>, listener: TcpListener) {
    let peers = PeerServer::new(peer::server::PeerService(Arc::clone(node)))
        .max_decoding_message_size(peer::REQUEST_BYTES_MAX)
        .max_encoding_message_size(peer::MESSAGE_BYTES_MAX);
    let control = ControlServer::new(control::ControlService(Arc::clone(node)))
        .max_decoding_message_size(control::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(control::MESSAGE_BYTES_MAX);
    if let (Some(tls), Some(directory)) = (node.tls(), node.tls_directory()) {
        let following = holdfast_transport::follow(tls.clone(), directory);
        node.spawn(async move { match following.await {} });
    }
    let (accepting, incoming) = holdfast_transport::accept(listener, node.tls().cloned());
    node.spawn(accepting);
    let served = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(CONNECTION_STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(peers)
        .add_service(control)
        .serve_with_incoming(incoming);
    node.spawn(async move {
        if let Err(error) = served.await {
            error!(%error, "the gRPC listener ended");
        }
    });
}

fn serve_kafka(node: &Arc<Node>, name: String, listener: TcpListener, connections: usize) {
    let service = service::Broker::new(Arc::clone(node));
    let mut options = holdfast_kafka::Options::new(name.clone());
    options.connections_max = options.connections_max.min(connections);
    node.note_door(name, Arc::clone(&options.metrics));
    let stopping = node.doors.closing.clone();
    let current = Arc::clone(node);
    // The door ends by itself once it is told to: it still writes the answers that it owes.
    node.doors.tasks.spawn(async move {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = turn_away(&listener, &current) => current.doors.opened(),
        }
        if let Err(error) = holdfast_kafka::serve(service, listener, options, stopping).await {
            error!(%error, "the Kafka listener ended");
        }
    });
}

/// Leaves connections unanswered for a moment, and then closes them, until the catalog has caught up
/// with the cluster: a broker that was killed would deny topics that were made shortly before, and
/// clients believe that. They try another.
async fn turn_away(listener: &TcpListener, node: &Node) {
    let caught_up = tokio::time::timeout(CATALOG_TIMEOUT, async {
        if tokio::time::timeout(CATALOG_PATIENCE, node.await_catalog()).await.is_ok() {
            return;
        }
        tokio::select! {
            () = node.await_catalog() => {}
            () = async { while listener.accept().await.is_ok() {} } => node.await_catalog().await,
        }
    });
    if caught_up.await.is_err() {
        warn!("the catalog has no leader to catch up with: topics made last may be missing here");
    }
}

/// Takes nothing new and answers what was asked, then closes every replica, and notes that it
/// was in order.
async fn close(node: &Arc<Node>) {
    node.doors.closing.cancel();
    node.doors.tasks.close();
    if tokio::time::timeout(DOORS_TIMEOUT, node.doors.tasks.wait()).await.is_err() {
        warn!("some clients wait for answers that they will not get");
    }
    let closed = async {
        for handle in node.shards() {
            handle.stop().await;
        }
    };
    let in_order = tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_ok();
    node.stopping.cancel();
    if in_order {
        node.close_volume();
    } else {
        error!("replicas did not close in time; the next start will recover them");
    }
}

/// The kernel's id of this boot: as long as it is the same, the page cache survived.
fn boot_id() -> String {
    let id = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"));
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}
