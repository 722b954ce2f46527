//! Connections to brokers. The one place where mutual TLS will be added.

use std::error::Error;
use std::io;
use std::time::Duration;

use holdfast_protocol::control::control_client::ControlClient;
use tonic::transport::{Channel, Endpoint};

/// The largest message from a broker, bytes: reports of all shards, or a catalog.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(crate) type Client = ControlClient<Channel>;

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// Anything else, which proves nothing.
    #[error("{0}")]
    Other(String),
}

/// Connects to the broker at `peer` (`host:port`).
pub(crate) async fn dial(peer: &str, timeout: Duration) -> Result<Client, DialError> {
    let endpoint = Endpoint::from_shared(format!("http://{peer}"))
        .map_err(|error| DialError::Other(error.to_string()))?
        .connect_timeout(timeout)
        .tcp_nodelay(true);
    match endpoint.connect().await {
        Ok(channel) => Ok(ControlClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)),
        Err(error) if is_refusal(&error) => Err(DialError::Refused),
        Err(error) => Err(DialError::Other(chain(&error))),
    }
}

/// Whether the kernel at the other end said that nobody listens.
fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// The error and all that caused it, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}
