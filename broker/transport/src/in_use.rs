//! Which certificates a holder uses, told apart by their fingerprints.

use std::collections::BTreeSet;
use std::fmt;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

/// The SHA-256 of a certificate (DER).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    /// That of the certificate with this DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(bytes)
    }

    /// As it was told, where that is one.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The certificates that new connections are made and taken with, as client and as server alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Those of the authorities that are trusted.
    pub authorities: BTreeSet<Fingerprint>,
    /// The one that the holder proves itself with; nothing where it told what is no fingerprint.
    pub leaf: Option<Fingerprint>,
}
