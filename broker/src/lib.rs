//! Joins the replication core, the log and the network into a running broker.
//!
//! [`run`] opens the volume and its replicas, listens for peers and the operator (gRPC), for
//! clients (`holdfast-kafka`) and for probes (HTTP), and stops in order when it is told to.
//! What a broker leads it learns from an operator; until one has called it serves nothing.

mod ablation;
mod clock;
mod control;
mod http;
mod node;
mod outbox;
mod peer;
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
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tracing::{error, info};

use node::Node;

pub use settings::Settings;
pub use shard::OpenError;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error(transparent)]
    Volume(#[from] holdfast_log::Error),
    /// A replica on it.
    #[error(transparent)]
    Open(#[from] OpenError),
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
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a broker until `stop` is done.
///
/// # Errors
/// [`Error`], where it can't start.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let volume = Volume::open(&settings.data, &boot_id())?;
    let peer = listen("peers and the operator", settings.peer).await?;
    let http = listen("metrics and probes", settings.http).await?;
    let mut kafka = Vec::new();
    for (name, address) in &settings.kafka {
        kafka.push((name.clone(), listen("Kafka clients", *address).await?));
    }
    let node = Arc::new(Node::new(settings, volume));
    {
        let node = Arc::clone(&node);
        let opened = tokio::task::block_in_place(move || node.open_known());
        opened?;
    }
    serve_grpc(&node, peer);
    node.spawn(http::serve(Arc::clone(&node), http));
    for (name, listener) in kafka {
        serve_kafka(&node, name, listener);
    }
    info!(broker = %node.broker(), boot = node.boot().counter, "broker is up");
    stop.await;
    close(&node).await;
    Ok(())
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| Error::Listen { what, address, source })
}

fn serve_grpc(node: &Arc<Node>, listener: TcpListener) {
    let peers = PeerServer::new(peer::server::PeerService(Arc::clone(node)))
        .max_decoding_message_size(peer::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(peer::MESSAGE_BYTES_MAX);
    let control = ControlServer::new(control::ControlService(Arc::clone(node)));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = tonic::transport::Server::builder()
        .initial_stream_window_size(8 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .add_service(peers)
        .add_service(control)
        .serve_with_incoming(incoming);
    node.spawn(async move {
        if let Err(error) = served.await {
            error!(%error, "the gRPC listener ended");
        }
    });
}

fn serve_kafka(node: &Arc<Node>, name: String, listener: TcpListener) {
    let service = service::Broker::new(Arc::clone(node));
    let options = holdfast_kafka::Options::new(name);
    let stopping = node.stopping.clone();
    // The door ends by itself once it is told to: it still writes the answers that it owes.
    node.tasks.spawn(async move {
        if let Err(error) = holdfast_kafka::serve(service, listener, options, stopping).await {
            error!(%error, "the Kafka listener ended");
        }
    });
}

/// Stops taking anything, closes every replica, and notes that it was in order.
async fn close(node: &Arc<Node>) {
    info!("stopping");
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
