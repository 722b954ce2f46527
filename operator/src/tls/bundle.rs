//! All certificates of a cluster, as files.

use std::collections::BTreeMap;
use std::fmt;

use holdfast_protocol::BrokerId;
use holdfast_transport::{AUTHORITIES_FILE, Credentials, Role, shared_files};

use super::certificate::{Authority, Certificate, Leaf};

/// Files by name, as a Secret has them.
pub type Files = BTreeMap<String, Vec<u8>>;

const SIGNER: (&str, &str) = ("authority.crt", "authority.key");
const NEXT: (&str, &str) = ("next.crt", "next.key");
const PREVIOUS: &str = "previous.crt";
/// Authorities that are trusted beside the present one; the oldest are forgotten first.
const PREVIOUS_MAX: usize = 3;

/// All certificates of a cluster.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Who issues.
    pub(super) signer: Option<Authority>,
    /// Who will issue next, and is trusted already.
    pub(super) next: Option<Authority>,
    /// Who issued before, and is still trusted.
    pub(super) previous: Vec<Certificate>,
    pub(super) operator: Option<Leaf>,
    pub(super) brokers: BTreeMap<BrokerId, Leaf>,
    /// The authorities that brokers were told of, as it was read.
    published: Vec<u8>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys are for nobody's log.
        f.debug_struct("Bundle")
            .field("brokers", &self.brokers.keys())
            .field("next", &self.next.is_some())
            .field("previous", &self.previous.len())
            .finish_non_exhaustive()
    }
}

impl Bundle {
    /// What was written before: the operator's own files, and those of the brokers. What is
    /// missing or can't be read is made anew by `renew`.
    #[must_use]
    pub fn read(private: &Files, brokers: &Files) -> Self {
        let of = |files: &Files, name: &str| files.get(name).cloned().unwrap_or_default();
        let authority = |(certificate, key): (&str, &str)| {
            Authority::read(&of(private, certificate), &of(private, key))
        };
        let leaf = |files: &Files, role: Role| {
            let (certificate, key) = shared_files(role);
            Leaf::read(&of(files, &certificate), &of(files, &key))
        };
        let ids = brokers.keys().filter_map(|name| {
            let id = name.strip_prefix("broker-")?.strip_suffix(".crt")?;
            id.parse().ok().map(BrokerId)
        });
        let leaves = ids.filter_map(|id| Some((id, leaf(brokers, Role::Broker(id))?)));
        Self {
            signer: authority(SIGNER),
            next: authority(NEXT),
            previous: Certificate::read(&of(private, PREVIOUS)),
            operator: leaf(private, Role::Operator),
            brokers: leaves.collect(),
            published: of(brokers, AUTHORITIES_FILE),
        }
    }

    /// What only the operator may have. To be written first.
    #[must_use]
    pub fn private(&self) -> Files {
        let mut files = Files::new();
        let authorities = [(SIGNER, &self.signer), (NEXT, &self.next)];
        for ((certificate, key), authority) in authorities {
            if let Some(authority) = authority {
                files.insert(certificate.to_owned(), authority.certificate.pem.clone().into());
                files.insert(key.to_owned(), authority.key.as_bytes().to_vec());
            }
        }
        if !self.previous.is_empty() {
            files.insert(PREVIOUS.to_owned(), concat(self.previous.iter()));
        }
        if let Some(leaf) = &self.operator {
            put(&mut files, Role::Operator, leaf);
        }
        files
    }

    /// What brokers have, all of them together.
    #[must_use]
    pub fn brokers(&self) -> Files {
        let mut files = Files::from([(AUTHORITIES_FILE.to_owned(), self.trusted())]);
        for (id, leaf) in &self.brokers {
            put(&mut files, Role::Broker(*id), leaf);
        }
        files
    }

    /// What `role` proves itself with.
    #[must_use]
    pub fn credentials(&self, role: Role) -> Option<Credentials> {
        Some(self.leaf(role)?.credentials(&self.trusted()))
    }

    pub(super) fn leaf(&self, role: Role) -> Option<&Leaf> {
        match role {
            Role::Operator => self.operator.as_ref(),
            Role::Broker(id) => self.brokers.get(&id),
        }
    }

    pub(super) fn put(&mut self, role: Role, leaf: Leaf) {
        match role {
            Role::Operator => self.operator = Some(leaf),
            Role::Broker(id) => drop(self.brokers.insert(id, leaf)),
        }
    }

    /// When the youngest certificate was issued, seconds since 1970.
    pub(super) fn youngest_s(&self) -> Option<i64> {
        let leaves = self.operator.iter().chain(self.brokers.values());
        leaves.map(|leaf| leaf.certificate.made_s()).max()
    }

    /// Whether brokers have been told of `authority`.
    pub(super) fn publishes(&self, authority: &Certificate) -> bool {
        Certificate::read(&self.published).contains(authority)
    }

    /// Whether brokers have been told of all authorities, and of no other.
    pub(super) fn is_published(&self) -> bool {
        self.published == self.trusted()
    }

    /// Authorities that must be trusted for a while where a new one takes over at once.
    pub(super) fn still_trusted(&self, now_s: i64) -> Vec<Certificate> {
        let mut trusted = Certificate::read(&self.published);
        let known = self.signer.iter().chain(&self.next).map(|authority| &authority.certificate);
        for authority in known.chain(&self.previous) {
            if !trusted.contains(authority) {
                trusted.push(authority.clone());
            }
        }
        trusted.retain(|authority| authority.is_valid(now_s));
        let extra = trusted.len().saturating_sub(PREVIOUS_MAX);
        trusted.split_off(extra)
    }

    /// `ca.crt`.
    fn trusted(&self) -> Vec<u8> {
        let known = self.signer.iter().chain(&self.next).map(|authority| &authority.certificate);
        concat(known.chain(&self.previous))
    }
}

fn concat<'a>(certificates: impl Iterator<Item = &'a Certificate>) -> Vec<u8> {
    let pems: Vec<&str> = certificates.map(|certificate| certificate.pem.as_str()).collect();
    pems.concat().into_bytes()
}

fn put(files: &mut Files, role: Role, leaf: &Leaf) {
    let (certificate, key) = shared_files(role);
    files.insert(certificate, leaf.certificate.pem.clone().into_bytes());
    files.insert(key, leaf.key.as_bytes().to_vec());
}
