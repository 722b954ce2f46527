//! Rules of replication that tests take away, one or a few at a time, to see that the loss which
//! each of them prevents is noticed. Whatever is built without tests has them all.

/// A rule that tests may take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// What is committed is held by every member of the ISR, not only by the leader.
    EveryMember,
    /// A proposed ISR counts beside the recorded one while its fate is unknown.
    Union,
    /// A replica joins the ISR only with everything that is committed, and the epoch start.
    JoinAtCommit,
    /// A log is cut where the epoch histories part.
    EpochHistory,
    /// An answer counts only where the log is still as it was when it asked.
    DropMoved,
    /// Of what an answer must match, the epoch of the last entry: part of `DropMoved`.
    MatchLastEpoch,
    /// A leader serves a fetch only in its own epoch.
    FetchEpoch,
    /// A follower counts only under the incarnation that the record names.
    Incarnation,
    /// A leader begins with an epoch start, and commits nothing before that is committed.
    EpochStart,
    /// A leader answers nothing from its state before its epoch start is committed.
    AnswerConfirmed,
    /// Nothing is committed while the recorded ISR is below the minimum.
    StrictMinimum,
    /// The ISR never shrinks below the minimum.
    Floor,
    /// A cut below the commit position is refused.
    RefuseCut,
    /// A wish for another ISR that was refused stays proposed until a newer record is seen.
    KeepProposal,
    /// A record older than the newest one seen is ignored.
    IgnoreOld,
    /// A record that does not follow the one that was taken is ignored, whatever its number.
    IgnoreForks,
    /// A follower counts only when it has taken the record that its leader has.
    TakenRecord,
    /// A broker leads only an epoch newer than any it has seen.
    NewEpoch,
    /// A broker leads only under the incarnation that was elected.
    OwnIncarnation,
}

/// The rules that a replica keeps: all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// One bit for each rule that is missing.
    missing: u32,
}

impl Rules {
    /// All rules but this one, for tests only.
    #[cfg(any(test, feature = "ablation"))]
    #[must_use]
    pub fn without(rule: Rule) -> Self {
        Self::default().and_without(rule)
    }

    /// These rules, but for one more, for tests only.
    #[cfg(any(test, feature = "ablation"))]
    #[must_use]
    pub fn and_without(self, rule: Rule) -> Self {
        Self { missing: self.missing | 1 << rule as u8 }
    }

    /// Whether the rule is kept.
    pub(super) fn keep(self, rule: Rule) -> bool {
        self.missing & 1 << rule as u8 == 0
    }
}
