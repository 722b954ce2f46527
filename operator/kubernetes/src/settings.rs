//! What the operator is told when it starts.

use std::net::SocketAddr;

pub use crate::lease::Settings as LeaseSettings;

/// What the operator is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The only namespace to look at; all of them without it.
    pub namespace: Option<String>,
    /// The image of the brokers.
    pub image: String,
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    pub http: SocketAddr,
    /// Which of several operators is active.
    pub lease: LeaseSettings,
    /// The domain of the cluster's DNS, such as cluster.local.
    pub cluster_domain: String,
}
