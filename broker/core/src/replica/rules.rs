//! Rules of replication that tests take away, one at a time, to see that the loss which each of
//! them prevents is noticed. Whatever is built without tests has them all.

/// A rule that tests may take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A proposed ISR counts beside the recorded one while its fate is unknown.
    Union,
    /// A replica joins the ISR only with everything that is committed, and the epoch start.
    JoinAtCommit,
    /// A log is cut where the epoch histories part.
    EpochHistory,
    /// An answer counts only where the log is still as it was when it asked.
    DropMoved,
}

/// The rules that a replica keeps: all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    missing: Option<Rule>,
}

impl Rules {
    /// All rules but this one, for tests only.
    #[cfg(any(test, feature = "ablation"))]
    #[must_use]
    pub fn without(rule: Rule) -> Self {
        Self { missing: Some(rule) }
    }

    /// Whether the rule is kept.
    pub(super) fn keep(self, rule: Rule) -> bool {
        self.missing != Some(rule)
    }
}
