//! gRPC connections among operator and brokers: plain on one machine, mutual TLS everywhere else.
//!
//! Who somebody is stands in the certificate ([`Identity`]): which cluster, and operator or
//! broker N of it. The one who dials says whom it means and takes nobody else; the one who is
//! dialled takes nobody without a certificate of a trusted authority and of its own cluster, and
//! asks by [`Peer`] who may call what. Certificates are replaced while connections are open
//! ([`Tls::replace`], [`follow`]): new connections use the new ones. Those that are open go on with
//! what they began with, until they end or the other end's authority is trusted no more.

mod accept;
mod bounds;
mod credentials;
mod dial;
mod directory;
mod identity;
mod in_use;
mod peer;
mod tls;
mod trust;

pub use accept::{Connection, accept};
pub use bounds::{
    CONNECTION_STREAMS_MAX, CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX, HANDSHAKE_TIMEOUT,
    HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, HEADER_BYTES_MAX, STREAM_WINDOW_BYTES,
};
pub use credentials::{AUTHORITIES_FILE, CERTIFICATE_FILE, Credentials, KEY_FILE, shared_files};
pub use dial::{connect, endpoint, handshake};
pub use directory::{ReadError, follow, open, read};
pub use identity::{Error as IdentityError, Identity, Role};
pub use in_use::{Fingerprint, InUse};
pub use peer::Peer;
pub use tls::{AUTHORITIES_MAX, Error, Tls};
