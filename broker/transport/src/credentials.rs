//! What one holder needs: whom it trusts, its certificate, and the key of it.
//!
//! In a directory of its own a holder has `tls.crt` and `tls.key`. All brokers of a cluster may
//! also share one directory: there each finds its own as `broker-<id>.crt` and `broker-<id>.key`.

use std::fmt;

use crate::identity::Role;

/// File of the trusted authorities' certificates (PEM); more than one while one replaces another.
pub const AUTHORITIES_FILE: &str = "ca.crt";
/// File of the certificate (PEM).
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// File of the certificate's private key (PEM, PKCS#8).
pub const KEY_FILE: &str = "tls.key";

/// The names of `role`'s certificate and key in a directory that it shares.
#[must_use]
pub fn shared_files(role: Role) -> (String, String) {
    let holder = match role {
        Role::Operator => "operator".to_owned(),
        Role::Broker(id) => format!("broker-{id}"),
    };
    (format!("{holder}.crt"), format!("{holder}.key"))
}

/// What one holder needs, each as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Certificates of the trusted authorities, one or more.
    pub authorities: Vec<u8>,
    /// The certificate, its issuers behind it if there are any.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is for nobody's log.
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
