//! Takes connections, and lets in who proves to be of the cluster.
//!
//! Everything that a stranger can make this side keep is bounded by a constant of `bounds`. Why
//! one is refused is told once for each address, and again when the reason changes.

mod connection;
mod refusals;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use crate::bounds::{
    CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX,
};
use crate::identity::Identity;
use crate::peer::Peer;
use crate::tls::Tls;
use crate::trust::{OUTDATED, Proof, Trusted, chain_of};
pub use connection::Connection;
use refusals::Refusals;

/// Connections that are let in and wait to be served.
const WAITING_MAX: usize = 16;
/// How long to wait after an accept that failed: mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Let = io::Result<Connection>;

/// Takes connections on `listener`: those let in come out of the stream for as long as the
/// future runs. Without `tls`, anyone is let in.
pub fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
) -> (impl Future<Output = ()> + Send, ReceiverStream<Let>) {
    let (tx, rx) = mpsc::channel(WAITING_MAX);
    let door = Door {
        tls,
        tx,
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        handshakes: JoinSet::new(),
        by_address: HashMap::new(),
        refusals: Refusals::default(),
    };
    (door.run(listener), ReceiverStream::new(rx))
}

struct Door {
    tls: Option<Tls>,
    tx: mpsc::Sender<Let>,
    places: Arc<Semaphore>,
    handshakes: JoinSet<(SocketAddr, Result<(), String>)>,
    by_address: HashMap<IpAddr, usize>,
    refusals: Refusals,
}

impl Door {
    async fn run(mut self, listener: TcpListener) {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.join_next(), if !self.handshakes.is_empty() => {
                    match ended {
                        Ok((from, ended)) => self.note(from, ended),
                        Err(error) => warn!(%error, "a handshake ended by a fault of this process"),
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((socket, from)) => self.admit(socket, from),
                    Err(error) => {
                        warn!(%error, "a connection can't be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = self.tx.closed() => return,
            }
        }
    }

    fn admit(&mut self, socket: TcpStream, from: SocketAddr) {
        let address = from.ip();
        let of_address = self.by_address.get(&address).copied().unwrap_or(0);
        if self.handshakes.len() >= HANDSHAKES_MAX || of_address >= HANDSHAKES_PER_ADDRESS_MAX {
            self.refusals.tell(from, "too many handshakes are under way");
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.refusals.tell(from, "too many connections are open");
            return;
        };
        *self.by_address.entry(address).or_default() += 1;
        let (tls, tx) = (self.tls.clone(), self.tx.clone());
        self.handshakes.spawn(async move { (from, greet(socket, tls, place, &tx).await) });
    }

    fn note(&mut self, from: SocketAddr, ended: Result<(), String>) {
        if let Some(count) = self.by_address.get_mut(&from.ip()) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&from.ip());
            }
        }
        if let Err(reason) = ended {
            self.refusals.tell(from, &reason);
        }
    }
}

/// Finds out who it is, and lets it in.
///
/// # Errors
/// Why it is refused.
async fn greet(
    socket: TcpStream,
    tls: Option<Tls>,
    place: OwnedSemaphorePermit,
    tx: &mpsc::Sender<Let>,
) -> Result<(), String> {
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "a connection was gone before it was served");
        return Ok(());
    }
    let connection = match tls {
        None => Connection::plain(socket, place),
        Some(tls) => {
            let proven = timeout(HANDSHAKE_TIMEOUT, prove(socket, &tls, place)).await;
            proven.map_err(|_| format!("no handshake within {HANDSHAKE_TIMEOUT:?}"))??
        }
    };
    // Nobody serves any more: the end.
    let _ = tx.send(Ok(connection)).await;
    Ok(())
}

async fn prove(
    socket: TcpStream,
    tls: &Tls,
    place: OwnedSemaphorePermit,
) -> Result<Connection, String> {
    let acceptor = TlsAcceptor::from(tls.server());
    let stream = acceptor.accept(socket).await.map_err(|error| explain(&error))?;
    let chain = chain_of(stream.get_ref().1);
    let certificate = chain.first().ok_or("it has no certificate")?;
    let identity = Identity::of_certificate(certificate).map_err(|error| error.to_string())?;
    if identity.cluster() != tls.own().cluster() {
        return Err(format!("its certificate is that of {identity}, and this is {}", tls.own()));
    }
    let standing = tls.look_after(Proof::Client(chain)).ok_or(OUTDATED)?;
    let stream = Trusted { stream, standing };
    Ok(Connection::proven(stream, Peer::Proven(identity.role()), place))
}

/// Why a handshake failed, in words that say what to do.
fn explain(error: &io::Error) -> String {
    use rustls::{CertificateError, Error, InvalidMessage};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::NoCertificatesPresented) => "it has no certificate".to_owned(),
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is of no authority that is trusted here".to_owned()
        }
        Some(Error::InvalidCertificate(error)) => format!("its certificate is not taken: {error}"),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS".to_owned()
        }
        Some(Error::AlertReceived(alert)) => {
            format!("it does not take this broker's certificate: {alert:?}")
        }
        Some(error) => error.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it left in the middle of the handshake".to_owned()
        }
        None => error.to_string(),
    }
}
