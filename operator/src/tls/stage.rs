//! How far the replacement of an authority is, for people.

use super::PROPAGATION_S;
use super::bundle::Bundle;

/// Which authorities are trusted, of certificates that [`renew`](super::renew) has seen to. All
/// times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// After step 1: the next authority is trusted beside the present one.
    Prepared {
        /// When the next one was made.
        made_s: i64,
        /// When it is to issue all certificates, if not all are known to trust it before.
        until_s: i64,
    },
    /// After step 2: the present authority has issued all certificates.
    Promoted {
        /// When it was made.
        made_s: i64,
        /// Until when the one before is trusted, if not all are known to need it no more before.
        until_s: i64,
    },
    /// The present authority has issued all certificates, and no other is trusted.
    Alone {
        /// When it was made.
        made_s: i64,
    },
}

impl Stage {
    /// When the next step is due, where one is to follow: without those that don't say whether
    /// they have come along.
    #[must_use]
    pub fn until_s(self) -> Option<i64> {
        match self {
            Self::Prepared { until_s, .. } | Self::Promoted { until_s, .. } => Some(until_s),
            Self::Alone { .. } => None,
        }
    }
}

impl Bundle {
    /// How far the replacement of the authority is; `None` where there is no authority.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        let made_s = self.signer.as_ref()?.certificate.made_s();
        if let Some(next) = &self.next {
            let made_s = next.certificate.made_s();
            return Some(Stage::Prepared { made_s, until_s: made_s + PROPAGATION_S });
        }
        if self.previous.is_empty() {
            return Some(Stage::Alone { made_s });
        }
        let until_s = self.youngest_s().unwrap_or(made_s) + PROPAGATION_S;
        Some(Stage::Promoted { made_s, until_s })
    }
}
