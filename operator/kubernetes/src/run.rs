//! The operator's process: competes for the Lease, and is active while it holds it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_api::{ReplicationPolicy, Topic};
use kube::api::ListParams;
use kube::{Api, Config};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::client::client;
use crate::controller;
use crate::finalizer;
use crate::http::{self, Readiness};
use crate::lease::Competitor;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// The longest that a stopped operator goes on for a namespace that ends.
const LINGER_MAX: Duration = Duration::from_secs(20);
/// Time between two looks at what is left in it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why the operator does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not know where the API server is.
    #[error("no API server is known: run it in a pod, or set KUBECONFIG: {0}")]
    Config(#[source] kube::config::InferConfigError),
    /// What it knows of the API server can't be used.
    #[error("the API server can't be called: {0}")]
    Client(#[source] kube::Error),
    /// The port for metrics and probes.
    #[error("can't listen on {address} for metrics and probes: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Runs an operator until `stop` is done.
///
/// # Errors
/// [`Error`], where it can't start.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let config = Config::infer().await.map_err(Error::Config)?;
    let metrics = Arc::new(Metrics::new());
    let client = client(config, Arc::clone(&metrics)).map_err(Error::Client)?;
    let address = settings.http;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| Error::Listen { address, source })?;
    serve(settings, client, metrics, listener, stop).await;
    Ok(())
}

/// Where the operator's own namespace is being deleted, waits until nothing in it is held by a
/// finalizer of ours, or it has to go.
async fn linger(client: &kube::Client, namespace: &str) {
    if !finalizer::namespace_is_ending(client, namespace).await {
        return;
    }
    let cleared = async {
        let policies: Api<ReplicationPolicy> = Api::namespaced(client.clone(), namespace);
        let topics: Api<Topic> = Api::namespaced(client.clone(), namespace);
        loop {
            let all = ListParams::default();
            if let (Ok(policies), Ok(topics)) = (policies.list(&all).await, topics.list(&all).await)
                && policies.items.is_empty()
                && topics.items.is_empty()
            {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    };
    if timeout(LINGER_MAX, cleared).await.is_err() {
        warn!(namespace, "it ends, and resources in it may still be held by finalizers");
    }
}

/// Runs an operator with a client of its own.
async fn serve(
    settings: Settings,
    client: kube::Client,
    metrics: Arc<Metrics>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) {
    let (readiness, told) = watch::channel(Readiness::Starting);
    let stopping = CancellationToken::new();
    let idle = CancellationToken::new();
    let (competitor, mut active) = Competitor::new(client.clone(), settings.lease.clone());
    let mut heard = competitor.heard();
    let mut tasks = JoinSet::new();
    tasks.spawn(http::serve(listener, Arc::clone(&metrics), told, stopping.clone()));
    tasks.spawn(competitor.run(stopping.clone(), idle.clone()));
    info!(identity = settings.lease.identity, image = settings.image, "operator is up");
    tokio::pin!(stop);
    loop {
        let is_active = *active.borrow_and_update();
        metrics.set_active(is_active);
        if is_active {
            let ended = CancellationToken::new();
            let acting = controller::run(
                settings.clone(),
                client.clone(),
                Arc::clone(&metrics),
                readiness.clone(),
                ended.clone(),
            );
            tokio::pin!(acting);
            let last = tokio::select! {
                () = &mut acting => false,
                _ = active.wait_for(|active| !active) => false,
                () = &mut stop => true,
            };
            if last {
                // Nobody else will let go of what is in a namespace that ends with this process.
                tokio::select! {
                    () = &mut acting => {}
                    () = linger(&client, &settings.lease.namespace) => {}
                }
            }
            ended.cancel();
            acting.await;
            metrics.set_active(false);
            if last {
                break;
            }
            continue;
        }
        let now = if *heard.borrow() { Readiness::Waiting } else { Readiness::Starting };
        readiness.send_replace(now);
        tokio::select! {
            _ = active.changed() => {}
            _ = heard.changed() => {}
            () = &mut stop => break,
        }
    }
    // Nothing acts any more, so another operator may.
    idle.cancel();
    stopping.cancel();
    while tasks.join_next().await.is_some() {}
    info!("stopped");
}
