//! Rules of the operator that tests take away, one or a few at a time, to see that the loss which
//! each of them prevents is noticed. Whatever is built without tests has them all.

/// A rule that tests may take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// Only members of the in-sync replicas are elected.
    ElectInSync,
    /// A member is taken for itself only under the recorded incarnation.
    MatchIncarnation,
    /// The most complete member is elected.
    MostComplete,
    /// The in-sync replicas never shrink below the minimum.
    Floor,
    /// A wish that names an older record than the present one is refused.
    OldWish,
    /// The store is read before anything follows a write whose fate is unknown.
    ReadUnknown,
    /// A store that went back in time is frozen until all brokers have told what they know.
    Inventory,
    /// Of records that compete, one is adopted only when nothing can have been committed under
    /// the others.
    LeaveDead,
    /// A broker whose volume was put back to an older state is not taken for itself.
    NewestVolume,
}

/// The rules that a planner keeps: all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// One bit for each rule that is missing.
    missing: u32,
}

impl Rules {
    /// These rules, but for one more, for tests only.
    #[cfg(feature = "ablation")]
    #[must_use]
    pub fn and_without(self, rule: Rule) -> Self {
        Self { missing: self.missing | 1 << rule as u8 }
    }

    /// Whether the rule is kept.
    pub(crate) fn keep(self, rule: Rule) -> bool {
        self.missing & 1 << rule as u8 == 0
    }
}
