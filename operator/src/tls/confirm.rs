//! Who is known to use which certificates, and who is waited for before the next step.

use std::collections::BTreeMap;

use holdfast_transport::{InUse, Role};

use super::bundle::Bundle;
use super::certificate::Certificate;
use super::{PROPAGATION_S, Wanted, holders};

/// What is known of the certificates that a holder uses now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// It says so itself, and would say if it changed.
    Told(InUse),
    /// It is connected, and of a release that does not tell.
    Untold,
    /// It has not been connected for long.
    Away,
    /// It may tell in a moment: it was connected a moment ago, or is only just being called.
    Awaited,
}

/// By holder; one that is missing is [`Use::Awaited`].
pub type Uses = BTreeMap<Role, Use>;

/// Who is not known to have come along with the newest step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// They say that they still use what was before. The next step would shut them out, so that
    /// it waits for them, however long.
    pub behind: Vec<Role>,
    /// They may tell in a moment, and are waited for until they do or are away.
    pub awaited: Vec<Role>,
    /// They are away, and waited for until [`PROPAGATION_S`] after the step.
    pub away: Vec<Role>,
    /// They don't tell, and are waited for just as long.
    pub untold: Vec<Role>,
}

impl Waits {
    /// For everyone to trust `authority`.
    pub(super) fn for_trust(authority: &Certificate, wanted: &Wanted, uses: &Uses) -> Self {
        Self::new(wanted, uses, |_, in_use| in_use.authorities.contains(&authority.fingerprint))
    }

    /// For everyone to use the certificate of `bundle` that it was issued, and to trust who
    /// issued it.
    pub(super) fn for_leaves(bundle: &Bundle, wanted: &Wanted, uses: &Uses) -> Self {
        Self::new(wanted, uses, |role, in_use| {
            let signer = bundle.signer.as_ref().map(|signer| signer.certificate.fingerprint);
            let leaf = bundle.leaf(role).map(|leaf| leaf.certificate.fingerprint);
            signer.is_some_and(|signer| in_use.authorities.contains(&signer))
                && leaf.is_some()
                && in_use.leaf == leaf
        })
    }

    fn new(wanted: &Wanted, uses: &Uses, has_come: impl Fn(Role, &InUse) -> bool) -> Self {
        let mut waits = Self::default();
        for role in holders(wanted) {
            match uses.get(&role).unwrap_or(&Use::Awaited) {
                Use::Told(in_use) if has_come(role, in_use) => {}
                Use::Told(_) => waits.behind.push(role),
                Use::Untold => waits.untold.push(role),
                Use::Away => waits.away.push(role),
                Use::Awaited => waits.awaited.push(role),
            }
        }
        waits
    }

    /// Whether the next step may be taken at `now_s`, after one at `step_s`.
    pub(super) fn are_over(&self, step_s: i64, now_s: i64) -> bool {
        let known = self.behind.is_empty() && self.awaited.is_empty();
        let heard = self.away.is_empty() && self.untold.is_empty();
        known && (heard || now_s - step_s >= PROPAGATION_S)
    }
}

impl Bundle {
    /// Who is waited for, where the authority is being replaced.
    #[must_use]
    pub fn waits(&self, wanted: &Wanted, uses: &Uses) -> Waits {
        match &self.next {
            Some(next) => Waits::for_trust(&next.certificate, wanted, uses),
            None if self.previous.is_empty() => Waits::default(),
            None => Waits::for_leaves(self, wanted, uses),
        }
    }
}
