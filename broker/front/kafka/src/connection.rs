//! One connection: a reader that takes requests in order, and a writer that answers in order.
//!
//! The reader hands appends to the broker as they come, so that several are under way; all
//! other requests run when their turn to be answered comes, as Kafka runs one request of a
//! connection at a time. Invariants: answers leave in the order of the requests; the bytes of a
//! frame are taken from the bounds of the connection and of the door before they are read, and
//! given back when its answer is written.

mod reader;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use holdfast_service::Service;
use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::codec::Error;
use crate::context::{Client, Context};
use crate::reply::Reply;

/// A request on its way to its answer.
pub(super) struct Slot {
    reply: BoxFuture<'static, Reply>,
    /// Which API, and when it was read.
    begun: (ApiKey, Instant),
    /// Its bytes' share in the bounds; given back when the answer is written.
    held: Held,
}

/// What a request holds of the connection's, the door's and the decoder's bounds.
#[derive(Default)]
pub(super) struct Held(Vec<OwnedSemaphorePermit>);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client closed it.
    #[error("the client closed the connection")]
    Closed,
    /// Nothing was heard for the idle timeout.
    #[error("nothing was heard for {0:?}")]
    Idle(std::time::Duration),
    /// A frame was begun and not finished in time.
    #[error("a frame of {0} bytes was begun and not finished in time")]
    Stalled(usize),
    /// A length that no frame has.
    #[error("a frame of {length} bytes can't be: at most {most} are taken")]
    FrameLength {
        /// As told.
        length: i32,
        /// The most that is taken.
        most: usize,
    },
    /// The request can't be read.
    #[error("malformed request: {0}")]
    Malformed(#[from] Error),
    /// The handler demands it.
    #[error("{0}")]
    Refused(String),
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    /// The door closes.
    #[error("the door closes")]
    Shutdown,
}

impl End {
    /// Whether the client did something that it should not have done.
    fn is_fault(&self) -> bool {
        match self {
            Self::Stalled(_) | Self::FrameLength { .. } | Self::Malformed(_) | Self::Refused(_) => {
                true
            }
            Self::Closed | Self::Idle(_) | Self::Broken(_) | Self::Shutdown => false,
        }
    }
}

/// Serves one connection until it ends.
pub(super) async fn run<S, I, O>(
    context: Arc<Context<S>>,
    (input, output): (I, O),
    peer: SocketAddr,
) where
    S: Service,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin + Send + 'static,
{
    tracing::debug!(%peer, "a client connected");
    let metrics = Arc::clone(&context.options.metrics);
    metrics.opened();
    let (slots, queue) = mpsc::channel(context.options.requests_in_flight_max);
    let idle_timeout = context.options.idle_timeout;
    let drain_timeout = context.options.drain_timeout;
    let stop = CancellationToken::new();
    let writer =
        tokio::spawn(writer::run(output, queue, idle_timeout, stop.clone(), Arc::clone(&metrics)));
    let bytes = Arc::new(Semaphore::new(context.options.connection_bytes_max));
    let client = Arc::new(Client { context, peer, bytes });
    // Boxed: the reader's state is large, and a connection lives long.
    let end = Box::pin(reader::run(Arc::clone(&client), input, slots)).await;
    // The reader has dropped its end of the queue, so that the writer ends after the last
    // answer; it is not waited for longer than the drain timeout.
    let mut writer = writer;
    let written = match tokio::time::timeout(drain_timeout, &mut writer).await {
        Ok(written) => written,
        Err(_) => {
            stop.cancel();
            writer.await
        }
    };
    metrics.ended(log_end(peer, &end, written));
}

/// Says why a connection ended; gives whether it was a fault of the client.
fn log_end(
    peer: SocketAddr,
    end: &End,
    written: Result<Result<(), End>, tokio::task::JoinError>,
) -> bool {
    let end = match &written {
        Ok(Ok(())) => end,
        // A writer that fails ends the reader too, which then knows less of the reason.
        Ok(Err(failed)) if !end.is_fault() => failed,
        Ok(Err(_)) => end,
        Err(error) => {
            tracing::error!(%peer, %error, "a request ended by a fault of this broker");
            end
        }
    };
    if end.is_fault() {
        tracing::warn!(%peer, reason = %end, "connection closed");
    } else {
        tracing::debug!(%peer, reason = %end, "connection closed");
    }
    end.is_fault()
}
