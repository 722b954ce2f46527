//! What the operator is told when it starts.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

pub use crate::lease::Settings as LeaseSettings;

/// What the operator is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The only namespace to look at; all of them without it.
    pub namespace: Option<String>,
    /// The image of the brokers.
    pub image: String,
    /// How nodes get it.
    pub pull: Pull,
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    pub http: SocketAddr,
    /// Which of several operators is active.
    pub lease: LeaseSettings,
    /// The domain of the cluster's DNS, such as cluster.local.
    pub cluster_domain: String,
}

/// The longest name of a Secret.
const SECRET_NAME_MAX: usize = 253;

/// How nodes get the image of the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pull {
    /// When they pull it; without it, as Kubernetes chooses by the image's tag.
    pub policy: Option<PullPolicy>,
    /// Secrets with what registries ask for, in the namespace of each policy.
    pub secrets: Vec<SecretName>,
}

/// When a node pulls an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Whenever a container starts.
    Always,
    /// Where the node does not have it.
    IfNotPresent,
    /// Not at all: somebody else puts it there.
    Never,
}

impl PullPolicy {
    const ALL: [Self; 3] = [Self::Always, Self::IfNotPresent, Self::Never];

    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl FromStr for PullPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or(Error::PullPolicy)
    }
}

/// The name of a Secret, as Kubernetes allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName(String);

impl FromStr for SecretName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let outer = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let label = |label: &str| {
            let bytes = label.as_bytes();
            bytes.first().is_some_and(|first| outer(*first))
                && bytes.last().is_some_and(|last| outer(*last))
                && bytes.iter().all(|byte| outer(*byte) || *byte == b'-')
        };
        if text.len() <= SECRET_NAME_MAX && text.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::SecretName)
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a setting can't be. The text is not repeated: whoever reads it says where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No pull policy.
    #[error("a pull policy must be Always, IfNotPresent or Never: write one of them")]
    PullPolicy,
    /// No name of a Secret.
    #[error(
        "the name of a Secret must be at most 253 lower case letters, digits, dots and hyphens: \
         give the names of Secrets, separated by commas alone"
    )]
    SecretName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies_are_those_of_kubernetes() {
        for policy in PullPolicy::ALL {
            assert_eq!(policy.as_str().parse(), Ok(policy));
        }
        for bad in ["", "always", "Always ", "Sometimes"] {
            assert_eq!(bad.parse::<PullPolicy>(), Err(Error::PullPolicy), "{bad:?}");
        }
    }

    #[test]
    fn names_of_secrets_are_those_that_kubernetes_allows() {
        let longest = "a".repeat(SECRET_NAME_MAX);
        for good in ["a", "registry", "my-registry.example.com", "0", &longest] {
            assert_eq!(good.parse::<SecretName>().map(|name| name.to_string()), Ok(good.into()));
        }
        let longer = "a".repeat(SECRET_NAME_MAX + 1);
        for bad in ["", " a", "a,b", "A", "a_b", "-a", "a-", "a..b", ".a", "a.", "a.-b", &longer] {
            assert_eq!(bad.parse::<SecretName>(), Err(Error::SecretName), "{bad:?}");
        }
    }
}
