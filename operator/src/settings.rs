//! What an operator is told when it starts.

use std::time::Duration;

use holdfast_operator_core::Policy;
use holdfast_protocol::{BrokerId, control};
use holdfast_transport::Tls;

/// The longest time between two heartbeats.
const HEARTBEAT_MAX: Duration = Duration::from_millis(500);

/// How many heartbeats may be lost before silence is death.
const HEARTBEATS_PER_DETECTION: u32 = 6;

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Which.
    pub id: BrokerId,
    /// `host:port` of its gRPC.
    pub peer: String,
}

/// What an operator is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is calling, for the logs of brokers.
    pub name: String,
    /// Id of the policy; a broker of another one refuses.
    pub cluster_id: String,
    /// What elections follow.
    pub policy: Policy,
    /// Where the brokers are: all of the policy.
    pub brokers: Vec<BrokerAddress>,
    /// What every broker is told when a session begins.
    pub cluster: control::Cluster,
    /// For how long after the start a broker that was never there may refuse connections
    /// without being taken for dead: for whoever starts brokers together with the operator.
    pub patience: Duration,
    /// How this operator proves who it is, and knows its brokers; `None`: connections are plain.
    pub tls: Option<Tls>,
}

impl Settings {
    /// Time between two heartbeats.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        (self.detection_timeout() / HEARTBEATS_PER_DETECTION).clamp(TICK_MIN, HEARTBEAT_MAX)
    }

    /// Silence after which a broker is dead.
    #[must_use]
    pub fn detection_timeout(&self) -> Duration {
        Duration::from_millis(self.policy.detection_timeout_ms)
    }
}

/// The shortest time between two heartbeats.
const TICK_MIN: Duration = Duration::from_millis(10);
