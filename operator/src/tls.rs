//! The authority of a cluster: its certificates made, renewed and replaced, without a gap.
//!
//! [`renew`] takes what there is, what is wanted and the time, and says what there should be. The
//! caller keeps two sets of files, as two Secrets: [`Bundle::private`] for the operator alone
//! (the authority's key, and the operator's own certificate), and [`Bundle::brokers`], which all
//! brokers mount (`ca.crt`, and `broker-<id>.crt` and `.key` for each). It writes the private
//! set first.
//!
//! An authority is valid for [`AUTHORITY_LIFE_S`] and replaced after two thirds of that, in steps
//! of which each waits until every holder has come along with the one before:
//! 1. the next authority is trusted beside the present one;
//! 2. once all trust it, it issues all certificates anew, and the old one is still trusted;
//! 3. once all use the new certificates, the old one is dropped.
//!
//! So at any moment everyone trusts whoever issued anyone's certificate, be it read late by one
//! step. What a holder uses it says itself ([`Use`]), in the session that it has now: nothing is
//! remembered, so that another operator goes on where this one ends. One that says that it is
//! behind holds the next step back, however long. Of one that can't be asked nothing is known,
//! and it may be gone for good: it is given [`PROPAGATION_S`]. Certificates are valid for [`LEAF_LIFE_S`] and renewed after two thirds of that. What
//! can't be read counts as missing; an authority whose key is lost is trusted until all
//! certificates are issued anew.

mod bundle;
mod certificate;
mod confirm;
mod decide;
mod stage;

#[cfg(test)]
mod tests;

use holdfast_protocol::BrokerId;
use holdfast_transport::{Identity, IdentityError, Role};

pub use bundle::{Bundle, Files};
use certificate::Leaf;
pub use confirm::{Use, Uses, Waits};
pub use decide::Change;
pub use stage::Stage;

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

/// How long an authority's certificate is valid, seconds: two years.
pub const AUTHORITY_LIFE_S: i64 = 730 * DAY_S;
/// How long an operator's or broker's certificate is valid, seconds: ninety days.
pub const LEAF_LIFE_S: i64 = 90 * DAY_S;
/// How long a holder that does not say what it uses may take to see new files, seconds: one that
/// is away, or of a release that does not tell. Kubernetes takes about a minute and a half to
/// bring a changed Secret to a pod; a node that is away for longer finds its brokers dead anyway.
/// This alone is measured by clocks, those of successive operators.
pub const PROPAGATION_S: i64 = 600;
/// Certificates are valid from so long before they are made, seconds: clocks differ.
pub(crate) const BACKDATE_S: i64 = HOUR_S;
/// Rounds of changes that follow from each other; a few are enough.
const ROUNDS_MAX: u32 = 8;
/// After this part of its life a certificate is due.
const DUE: (i64, i64) = (2, 3);

/// What certificates there should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Id of the cluster.
    pub cluster: String,
    /// All of its brokers.
    pub brokers: Vec<BrokerId>,
    /// An authority made before this moment is replaced, seconds since 1970; 0 for none. For a
    /// person who wants another one before it is due.
    pub authority_since_s: i64,
}

/// What should be written now, and why.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// What there should be.
    pub bundle: Bundle,
    /// What was changed, in order, for people.
    pub changes: Vec<Change>,
}

/// Why no certificate can be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's id can't stand in a certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The maker of certificates refuses.
    #[error("a certificate can't be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A moment that no certificate can carry.
    #[error("the time {0} s since 1970 can't stand in a certificate")]
    Time(i64),
    /// The changes don't come to an end, which is a fault of this program.
    #[error("the certificates don't settle; the last change was: {0}")]
    Unsettled(Change),
}

/// What there should be at `now_s` (seconds since 1970), or `None` where all is as it should be.
/// To be asked every few minutes, and when `uses` changes. Keys are drawn anew; all else follows
/// from the arguments.
///
/// # Errors
/// Where a certificate can't be made; what there is stays in use then.
pub fn renew(
    current: &Bundle,
    wanted: &Wanted,
    uses: &Uses,
    now_s: i64,
) -> Result<Option<Renewal>, Error> {
    let mut bundle = current.clone();
    let mut changes = Vec::new();
    let mut rounds = 0;
    loop {
        let due = decide::due(&bundle, wanted, uses, now_s)?;
        let Some(first) = due.first() else { break };
        if rounds == ROUNDS_MAX {
            return Err(Error::Unsettled(*first));
        }
        rounds += 1;
        for change in due {
            apply(&mut bundle, &change, wanted, now_s)?;
            changes.push(change);
        }
    }
    if changes.is_empty() && !bundle.is_published() {
        changes.push(Change::Publish);
    }
    Ok((!changes.is_empty()).then_some(Renewal { bundle, changes }))
}

fn apply(bundle: &mut Bundle, change: &Change, wanted: &Wanted, now_s: i64) -> Result<(), Error> {
    match change {
        Change::NewAuthority => {
            bundle.previous = bundle.still_trusted(now_s);
            bundle.next = None;
            bundle.signer = Some(certificate::authority(&wanted.cluster, now_s)?);
        }
        Change::Prepare => bundle.next = Some(certificate::authority(&wanted.cluster, now_s)?),
        Change::Promote => {
            let old = std::mem::replace(&mut bundle.signer, bundle.next.take());
            bundle.previous.extend(old.map(|old| old.certificate));
        }
        Change::DropPrevious => bundle.previous.clear(),
        Change::Issue(role) => {
            let Some(signer) = &bundle.signer else { return Ok(()) };
            let identity = Identity::new(&wanted.cluster, *role)?;
            let leaf = certificate::leaf(signer, &identity, now_s)?;
            bundle.put(*role, leaf);
        }
        Change::Remove(broker) => drop(bundle.brokers.remove(broker)),
        Change::Publish => {}
    }
    Ok(())
}

/// All holders of a certificate.
fn holders(wanted: &Wanted) -> impl Iterator<Item = Role> + '_ {
    std::iter::once(Role::Operator).chain(wanted.brokers.iter().copied().map(Role::Broker))
}

/// Whether `made_s` is so long ago that what lives for `life_s` is due.
fn is_due(made_s: i64, life_s: i64, now_s: i64) -> bool {
    let (part, whole) = DUE;
    now_s - made_s >= life_s / whole * part
}
