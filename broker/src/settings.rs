//! How a broker is started: what its process is told, as opposed to what the operator says later.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_protocol::BrokerId;

/// The settings of one broker process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which broker of the policy this is.
    pub broker: BrokerId,
    /// Id of the policy; peers and operators of another are refused.
    pub cluster: String,
    /// Where its data lies.
    pub data: PathBuf,
    /// Where it listens for peers and for the operator (gRPC).
    pub peer: SocketAddr,
    /// Where it listens for Kafka clients, by listener name.
    pub kafka: Vec<(String, SocketAddr)>,
    /// Where it serves `/metrics`, `/livez` and `/readyz`.
    pub http: SocketAddr,
    /// Directory of `ca.crt`, `tls.crt` and `tls.key`: with it, peers and operators prove who
    /// they are, and this broker does. Without it, anyone who reaches its port is let in.
    pub tls: Option<PathBuf>,
    /// How long it goes on serving after it was told to stop, while others take over what it
    /// leads.
    pub stop_timeout: Duration,
    /// How often everything on the volume is read, to find rot in time; `None` for never.
    pub scrub_every: Option<Duration>,
}
