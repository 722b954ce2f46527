//! Dials another process of the cluster.

use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Error};

use crate::bounds::HEADER_BYTES_MAX;
use crate::identity::Role;
use crate::tls::Tls;
use crate::trust::{OUTDATED, Proof, Trusted, chain_of};

/// What is dialled at `address` (`host:port`), to be given its timeouts and windows.
///
/// # Errors
/// Where the address is none.
pub fn endpoint(address: &str) -> Result<Endpoint, Error> {
    // The scheme is what is said inside of the connection, be it encrypted or not.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.tcp_nodelay(true).http2_max_header_list_size(HEADER_BYTES_MAX))
}

/// Connects now. With `tls`, only to one who proves to be `role` of the same cluster.
///
/// # Errors
/// Where nobody listens, or somebody else, or one who does not take this side's certificate.
pub async fn connect(endpoint: Endpoint, tls: Option<&Tls>, role: Role) -> Result<Channel, Error> {
    let Some(tls) = tls.cloned() else {
        return endpoint.connect().await;
    };
    let authority = endpoint.uri().authority().map(ToString::to_string).unwrap_or_default();
    let authority: Arc<str> = authority.into();
    let connector = tower::service_fn(move |_| dial(Arc::clone(&authority), tls.clone(), role));
    endpoint.connect_with_connector(connector).await
}

async fn dial(
    address: Arc<str>,
    tls: Tls,
    role: Role,
) -> io::Result<TokioIo<Trusted<TlsStream<TcpStream>>>> {
    let stream = handshake(&address, &tls, role).await?;
    let name = tls.name_of(role).map_err(io::Error::other)?;
    let standing = tls.look_after(Proof::Server(chain_of(stream.get_ref().1), name));
    let standing = standing.ok_or_else(|| io::Error::other(OUTDATED))?;
    Ok(TokioIo::new(Trusted { stream, standing }))
}

/// The encrypted connection itself, for whoever speaks something else on it.
///
/// # Errors
/// Where nobody listens, or somebody else.
pub async fn handshake(address: &str, tls: &Tls, role: Role) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let name = tls.name_of(role).map_err(io::Error::other)?;
    let connected = TlsConnector::from(tls.client()).connect(name, socket).await;
    connected.map_err(|error| {
        let text = format!("{address} does not prove to be {}: {error}", tls.own().other(role));
        io::Error::new(error.kind(), text)
    })
}
