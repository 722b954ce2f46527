//! Connections to brokers: mutual TLS where the settings have certificates.

use std::error::Error;
use std::io;
use std::time::Duration;

use holdfast_protocol::control::control_client::ControlClient;
use holdfast_transport::{CONNECTION_WINDOW_BYTES, Role, STREAM_WINDOW_BYTES};
use tonic::transport::Channel;

use crate::settings::{BrokerAddress, Settings};

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

/// Connects to `broker`, and to nobody else who may be at its address now.
pub(crate) async fn dial(
    settings: &Settings,
    broker: &BrokerAddress,
    timeout: Duration,
) -> Result<Client, DialError> {
    let endpoint = holdfast_transport::endpoint(&broker.peer)
        .map_err(|error| DialError::Other(error.to_string()))?
        .connect_timeout(timeout)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let role = Role::Broker(broker.id);
    match holdfast_transport::connect(endpoint, settings.tls.as_ref(), role).await {
        Ok(channel) => Ok(ControlClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)),
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
