//! Who is at the other end of a connection, for the services that are asked.

use holdfast_protocol::BrokerId;
use tonic::{Request, Status};

use crate::identity::Role;

/// Who is at the other end, as its certificate proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A plain connection: anyone on this machine.
    Anyone,
    /// Somebody of this cluster.
    Proven(Role),
}

impl Peer {
    /// Who sent `request`. Nobody, where the connection is none of ours.
    ///
    /// # Errors
    /// Where nothing is known of the connection.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let peer = request.extensions().get::<Self>();
        peer.copied().ok_or_else(|| Status::internal("a connection without a known peer"))
    }

    /// Allows the operator alone.
    ///
    /// # Errors
    /// Where it is somebody else.
    pub fn must_be_operator(self) -> Result<(), Status> {
        match self {
            Self::Anyone | Self::Proven(Role::Operator) => Ok(()),
            Self::Proven(role @ Role::Broker(_)) => Err(Status::permission_denied(format!(
                "only the operator may ask this, and the certificate is that of {role}"
            ))),
        }
    }

    /// Allows any broker.
    ///
    /// # Errors
    /// Where it is somebody else.
    pub fn must_be_a_broker(self) -> Result<(), Status> {
        match self {
            Self::Anyone | Self::Proven(Role::Broker(_)) => Ok(()),
            Self::Proven(Role::Operator) => Err(Status::permission_denied(
                "only a broker may ask this, and the certificate is that of the operator",
            )),
        }
    }

    /// Allows the broker `id` alone.
    ///
    /// # Errors
    /// Where it is somebody else.
    pub fn must_be_broker(self, id: BrokerId) -> Result<(), Status> {
        match self {
            Self::Anyone => Ok(()),
            Self::Proven(role) if role == Role::Broker(id) => Ok(()),
            Self::Proven(role) => Err(Status::permission_denied(format!(
                "it says to be broker {id}, and the certificate is that of {role}"
            ))),
        }
    }
}
