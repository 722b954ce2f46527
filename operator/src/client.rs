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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use holdfast_operator_core::Policy;
    use holdfast_protocol::{BrokerId, FlushMode, UncleanElection, control};
    use holdfast_transport::{Identity, Tls};

    use super::*;
    use crate::tls::{Bundle, Uses, Wanted, renew};

    fn tls() -> Tls {
        let now_s = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        let wanted =
            Wanted { cluster: "orders".to_owned(), brokers: Vec::new(), authority_since_s: 0 };
        let bundle =
            renew(&Bundle::default(), &wanted, &Uses::new(), now_s).unwrap().unwrap().bundle;
        let own = Identity::new("orders", Role::Operator).unwrap();
        Tls::new(own, &bundle.credentials(Role::Operator).unwrap()).unwrap()
    }

    fn settings(tls: Option<Tls>) -> Settings {
        Settings {
            name: "test".to_owned(),
            cluster_id: "orders".to_owned(),
            policy: Policy {
                brokers: 1,
                staying: 1,
                replicas: 1,
                min_in_sync_replicas: 1,
                shards: 1,
                flush: FlushMode::Sync,
                detection_timeout_ms: 3000,
                move_back_after_ms: 2000,
                unclean_election: UncleanElection::Never,
            },
            brokers: Vec::new(),
            cluster: control::Cluster::default(),
            patience: Duration::ZERO,
            tls,
        }
    }

    #[tokio::test]
    async fn nobody_there_is_told_from_somebody_who_proves_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let peer = listener.local_addr().unwrap().to_string();
        let broker = BrokerAddress { id: BrokerId(0), peer };
        let timeout = Duration::from_millis(200);
        let silent = dial(&settings(Some(tls())), &broker, timeout).await;
        assert!(matches!(silent, Err(DialError::Other(_))), "{silent:?}");
        drop(listener);
        for tls in [None, Some(tls())] {
            let refused = dial(&settings(tls), &broker, timeout).await;
            assert!(matches!(refused, Err(DialError::Refused)), "{refused:?}");
        }
    }
}
