//! The TLS configurations of one holder, replaced while connections are open.
//!
//! TLS 1.3 alone, and no resumption: a resumed session would outlive the authority that it was
//! begun under.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tracing::info;

use crate::credentials::{AUTHORITIES_FILE, CERTIFICATE_FILE, Credentials, KEY_FILE};
use crate::identity::{self, Identity, Role};
use crate::in_use::{Fingerprint, InUse};
use crate::trust::{Open, Proof, Standing};

/// What HTTP/2 is called in a handshake.
const ALPN: &[u8] = b"h2";
/// The most authorities that are trusted at once; two, while one replaces another.
pub const AUTHORITIES_MAX: usize = 8;

/// Why credentials are not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is no PEM.
    #[error("{file} can't be read as PEM: {source}")]
    Pem {
        /// Which.
        file: &'static str,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Nobody is trusted, or too many.
    #[error("{AUTHORITIES_FILE} holds {0} certificates; it must hold 1 to {AUTHORITIES_MAX}")]
    Authorities(usize),
    /// The parts don't fit together.
    #[error("{what}: {source}")]
    Mismatch {
        /// Which parts.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// An authority can't be used.
    #[error("{AUTHORITIES_FILE} can't be used to check others: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The certificate names nobody.
    #[error("{CERTIFICATE_FILE}: {0}")]
    Identity(#[from] identity::Error),
    /// The certificate is somebody else's.
    #[error("{CERTIFICATE_FILE} is the certificate of {found}, and this is {own}")]
    NotOurs {
        /// Who this is.
        own: Identity,
        /// Whose certificate it is.
        found: Identity,
    },
}

/// The TLS side of one holder. Clones share what they use.
#[derive(Clone, Debug)]
pub struct Tls {
    own: Identity,
    current: Arc<ArcSwap<Configs>>,
    open: Arc<Open>,
}

#[derive(Debug)]
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// Who judge those that are open already.
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
    in_use: InUse,
}

impl Tls {
    /// The side of `own`, by what it was given.
    ///
    /// # Errors
    /// Where that is incomplete, does not fit together, or is somebody else's.
    pub fn new(own: Identity, credentials: &Credentials) -> Result<Self, Error> {
        let configs = Configs::new(&own, credentials)?;
        let current = Arc::new(ArcSwap::from_pointee(configs));
        Ok(Self { own, current, open: Arc::default() })
    }

    /// From now on new connections are made and taken with `credentials`. Of those that are open,
    /// the ones end whose other end is not trusted by them: both sides make them anew.
    ///
    /// # Errors
    /// As of [`Tls::new`]; then nothing changes.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), Error> {
        self.current.store(Arc::new(Configs::new(&self.own, credentials)?));
        let ended = self.open.review(|proof| self.trusts(proof));
        if ended > 0 {
            info!(
                ended,
                "connections ended whose certificates are of no authority that is trusted"
            );
        }
        Ok(())
    }

    /// Looks after a connection to somebody who has proven itself just now; nothing, where it is
    /// not trusted any more by now.
    pub(crate) fn look_after(&self, proof: Proof) -> Option<Arc<Standing>> {
        self.open.add(proof, |proof| self.trusts(proof))
    }

    fn trusts(&self, proof: &Proof) -> bool {
        let current = self.current.load();
        let now = UnixTime::now();
        match proof {
            Proof::Client(chain) => chain.split_first().is_some_and(|(leaf, others)| {
                current.clients.verify_client_cert(leaf, others, now).is_ok()
            }),
            Proof::Server(chain, name) => chain.split_first().is_some_and(|(leaf, others)| {
                current.servers.verify_server_cert(leaf, others, name, &[], now).is_ok()
            }),
        }
    }

    /// Who this is.
    #[must_use]
    pub fn own(&self) -> &Identity {
        &self.own
    }

    /// What new connections are made and taken with now.
    #[must_use]
    pub fn in_use(&self) -> InUse {
        self.current.load().in_use.clone()
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.load().client)
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// The name that `role` of this cluster must prove.
    pub(crate) fn name_of(&self, role: Role) -> Result<ServerName<'static>, rustls::Error> {
        ServerName::try_from(self.own.other(role).name())
            .map_err(|error| rustls::Error::General(error.to_string()))
    }
}

impl Configs {
    fn new(own: &Identity, credentials: &Credentials) -> Result<Self, Error> {
        let (authorities, trusted) = authorities(&credentials.authorities)?;
        let chain = certificates(&credentials.certificate, CERTIFICATE_FILE)?;
        if let Some(leaf) = chain.first() {
            let found = Identity::of_certificate(leaf)?;
            if found != *own {
                return Err(Error::NotOurs { own: own.clone(), found });
            }
        }
        let key = PrivateKeyDer::from_pem_slice(&credentials.key)
            .map_err(|source| Error::Pem { file: KEY_FILE, source })?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities), provider());
        let clients = clients.build()?;
        let servers =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&authorities), provider());
        let leaf = chain.first().map(|leaf| Fingerprint::of(leaf));
        Ok(Self {
            in_use: InUse { authorities: trusted, leaf },
            client: Arc::new(client(authorities, chain.clone(), key.clone_key())?),
            server: Arc::new(server(Arc::clone(&clients), chain, key)?),
            clients,
            servers: servers.build()?,
        })
    }
}

fn certificates(pem: &[u8], file: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Pem { file, source })
}

fn authorities(pem: &[u8]) -> Result<(Arc<RootCertStore>, BTreeSet<Fingerprint>), Error> {
    let found = certificates(pem, AUTHORITIES_FILE)?;
    if found.is_empty() || found.len() > AUTHORITIES_MAX {
        return Err(Error::Authorities(found.len()));
    }
    let fingerprints = found.iter().map(|authority| Fingerprint::of(authority)).collect();
    let mut authorities = RootCertStore::empty();
    for certificate in found {
        authorities.add(certificate).map_err(|source| Error::Mismatch {
            what: "ca.crt holds what is no authority's certificate",
            source,
        })?;
    }
    Ok((Arc::new(authorities), fingerprints))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

const NO_VERSION: &str = "the provider has no TLS 1.3";
const NO_MATCH: &str = "tls.crt and tls.key don't belong together";

fn client(
    authorities: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| Error::Mismatch { what: NO_VERSION, source })?
        .with_root_certificates(authorities)
        .with_client_auth_cert(chain, key)
        .map_err(|source| Error::Mismatch { what: NO_MATCH, source })?;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn server(
    clients: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| Error::Mismatch { what: NO_VERSION, source })?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|source| Error::Mismatch { what: NO_MATCH, source })?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}
