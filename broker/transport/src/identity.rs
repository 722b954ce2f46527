//! Who a certificate speaks for.
//!
//! A certificate names its holder by one DNS name (a subject alternative name) under
//! `holdfast.internal`: `operator.<cluster>.holdfast.internal`, or
//! `broker-<id>.<cluster>.holdfast.internal`; a cluster `<namespace>/<name>` is
//! `<name>.<namespace>` there. No resolver ever sees these names: they are what the ordinary
//! check of a server's name is done with, whatever address was dialled.

use std::fmt;

use holdfast_protocol::BrokerId;
use rustls::pki_types::CertificateDer;

/// Under what all names are. `internal` is reserved for private use.
const SUFFIX: &str = "holdfast.internal";
/// The longest part of a DNS name, characters (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

/// A namespace and a name.
const PARTS_MAX: usize = 2;

/// What somebody does in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It decides who leads.
    Operator,
    /// It keeps the data.
    Broker(BrokerId),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("the operator"),
            Self::Broker(id) => write!(f, "broker {id}"),
        }
    }
}

/// Who a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    cluster: String,
    role: Role,
}

/// Why there is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster's id can't be a part of a name.
    #[error(
        "cluster id `{0}` can't stand in a certificate: use `name` or `namespace/name`, each of \
         at most 63 of a-z, 0-9 and `-`, beginning and ending with a letter or digit"
    )]
    ClusterId(String),
    /// The certificate is none.
    #[error("the certificate can't be read: {0}")]
    Malformed(String),
    /// The certificate names nobody of ours, or more than one.
    #[error("the certificate names neither an operator nor a broker of a cluster: {0}")]
    Stranger(String),
}

impl Identity {
    /// `role` in the cluster `cluster`.
    ///
    /// # Errors
    /// Where the cluster's id can't be a part of a DNS name.
    pub fn new(cluster: &str, role: Role) -> Result<Self, Error> {
        let mut parts = cluster.split('/');
        if !(parts.by_ref().take(PARTS_MAX).all(is_label) && parts.next().is_none()) {
            return Err(Error::ClusterId(cluster.to_owned()));
        }
        Ok(Self { cluster: cluster.to_owned(), role })
    }

    /// Who the certificate speaks for.
    ///
    /// # Errors
    /// Where it speaks for nobody, or for several.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| Error::Malformed(error.to_string()))?;
        let names: Vec<&str> = parsed.valid_dns_names().collect();
        let [name] = names.as_slice() else {
            return Err(Error::Stranger(names.join(", ")));
        };
        Self::parse(name).ok_or_else(|| Error::Stranger((*name).to_owned()))
    }

    fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_suffix(SUFFIX)?.strip_suffix('.')?;
        let (holder, cluster) = rest.split_once('.')?;
        let parts: Vec<&str> = cluster.rsplit('.').collect();
        let role = match holder.strip_prefix("broker-") {
            Some(id) => Role::Broker(BrokerId(id.parse().ok()?)),
            None => (holder == "operator").then_some(Role::Operator)?,
        };
        let identity = Self::new(&parts.join("/"), role).ok()?;
        // One name for one holder: not `broker-007`.
        (identity.name() == name).then_some(identity)
    }

    /// The name in the certificate.
    #[must_use]
    pub fn name(&self) -> String {
        let parts: Vec<&str> = self.cluster.rsplit('/').collect();
        let cluster = parts.join(".");
        match self.role {
            Role::Operator => format!("operator.{cluster}.{SUFFIX}"),
            Role::Broker(id) => format!("broker-{id}.{cluster}.{SUFFIX}"),
        }
    }

    /// Id of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// What it does there.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The same cluster's `role`.
    #[must_use]
    pub fn other(&self, role: Role) -> Self {
        Self { cluster: self.cluster.clone(), role }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of cluster `{}`", self.role, self.cluster)
    }
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let outer = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    bytes.len() <= LABEL_MAX
        && bytes.iter().all(inner)
        && outer(bytes.first())
        && outer(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_who_and_nothing_else_is_a_name() {
        for (cluster, role, name) in [
            ("orders", Role::Operator, "operator.orders.holdfast.internal"),
            ("o-1", Role::Broker(BrokerId(12)), "broker-12.o-1.holdfast.internal"),
            ("shop/orders", Role::Operator, "operator.orders.shop.holdfast.internal"),
        ] {
            let identity = Identity::new(cluster, role).unwrap();
            assert_eq!(identity.name(), name);
            assert_eq!(Identity::parse(name), Some(identity));
        }
        for name in [
            "operator.holdfast.internal",
            "operator.orders.holdfast.internal.",
            "operator.orders.evil.internal",
            "operator.a.b.c.holdfast.internal",
            "operator..b.holdfast.internal",
            "broker-.orders.holdfast.internal",
            "broker-1.orders.xholdfast.internal",
            "broker-01.orders.holdfast.internal",
            "broker--1.orders.holdfast.internal",
            "broker-+1.orders.holdfast.internal",
            "broker-1.-orders.holdfast.internal",
            "*.orders.holdfast.internal",
            "admin.orders.holdfast.internal",
        ] {
            assert_eq!(Identity::parse(name), None, "{name}");
        }
        for cluster in
            ["", "a.b", "a/b/c", "/a", "a/", "Orders", "-a", "a_b", "a b", &"a".repeat(64)]
        {
            let refused = Identity::new(cluster, Role::Operator);
            assert_eq!(refused, Err(Error::ClusterId(cluster.to_owned())));
        }
    }
}
