//! Which brokers have a session, and which certificates they say that they use.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_protocol::BrokerId;
use holdfast_transport::InUse;
use tokio::time::Instant;

use crate::tls::Use;

/// After so long without a session a broker is away. Shorter, it may be on its way: its session
/// broke a moment ago, or this operator has only begun to call it.
pub const AWAY_AFTER: Duration = Duration::from_secs(30);

/// What is known of one broker. Nothing of it outlives the session that it was said in: the
/// process may be another one by then, with other files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    /// It has a session, and says that it uses these certificates; `None` where it says nothing.
    Session(Option<InUse>),
    /// It has none since then, or since the operator began to call it.
    Lost(Instant),
}

impl Contact {
    /// What that tells of the certificates that the broker uses.
    #[must_use]
    pub fn tells(&self, now: Instant) -> Use {
        match self {
            Self::Session(Some(in_use)) => Use::Told(in_use.clone()),
            Self::Session(None) => Use::Untold,
            Self::Lost(since) if now.duration_since(*since) < AWAY_AFTER => Use::Awaited,
            Self::Lost(_) => Use::Away,
        }
    }
}

/// All brokers that are called.
pub(crate) type Contacts = BTreeMap<BrokerId, Contact>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_there_a_moment_ago_is_not_away() {
        let since = Instant::now();
        let lost = Contact::Lost(since);
        assert_eq!(lost.tells(since), Use::Awaited);
        assert_eq!(lost.tells(since + AWAY_AFTER.mul_f32(0.9)), Use::Awaited);
        assert_eq!(lost.tells(since + AWAY_AFTER), Use::Away);
        assert_eq!(Contact::Session(None).tells(since + AWAY_AFTER), Use::Untold);
    }
}
