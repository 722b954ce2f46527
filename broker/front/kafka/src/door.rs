//! Accepts connections and closes them again, all of them before it returns.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_service::Service;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::context::Context;
use crate::options::Options;

/// How long to wait after an accept that failed: mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves Kafka clients on `listener` until `shutdown` is cancelled; then answers what was
/// asked, for at most [`Options::drain_timeout`], closes, and returns.
///
/// # Errors
/// Where the listener has no address: it was never bound.
pub async fn serve<S: Service>(
    service: S,
    listener: TcpListener,
    options: Options,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, listener = options.listener_name, "the Kafka door is open");
    let context = Arc::new(Context::new(service, options, shutdown));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                report(ended);
            }
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => admit(&mut connections, &context, socket, peer),
                Err(error) => {
                    tracing::warn!(%error, "a connection can't be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
    tracing::info!(%address, "the Kafka door is closed");
    Ok(())
}

/// A door whose connections somebody else brings, over whatever carries bytes: no listener, and no
/// bound on how many there are.
pub struct Door<S>(Arc<Context<S>>);

impl<S: Service> Door<S> {
    /// A door before `service`, until `shutdown` is cancelled.
    #[must_use]
    pub fn new(service: S, options: Options, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Context::new(service, options, shutdown)))
    }

    /// Serves one connection until it ends.
    pub fn serve<I, O>(
        &self,
        connection: (I, O),
        peer: SocketAddr,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        I: AsyncRead + Unpin + Send + 'static,
        O: AsyncWrite + Unpin + Send + 'static,
    {
        connection::run(Arc::clone(&self.0), connection, peer)
    }
}

impl<S> std::fmt::Debug for Door<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Door").field(&self.0.options.listener_name).finish()
    }
}

fn admit<S: Service>(
    connections: &mut JoinSet<()>,
    context: &Arc<Context<S>>,
    socket: TcpStream,
    peer: SocketAddr,
) {
    let most = context.options.connections_max;
    if connections.len() >= most {
        tracing::warn!(%peer, most, "too many connections: this one is closed");
        context.options.metrics.refused();
        return;
    }
    // An answer is written whole; waiting for more only delays it.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "the connection was gone before it was served");
        return;
    }
    connections.spawn(connection::run(Arc::clone(context), socket.into_split(), peer));
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended by a fault of this broker");
    }
}
