//! What to change next. Nothing is made or drawn here.

use std::fmt;

use holdfast_protocol::BrokerId;
use holdfast_transport::{Identity, Role};

use super::bundle::Bundle;
use super::confirm::{Uses, Waits};
use super::{AUTHORITY_LIFE_S, Error, LEAF_LIFE_S, Leaf, Wanted, holders, is_due};

/// One change of the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is no authority that can issue anything: a new one, at once.
    NewAuthority,
    /// Step 1: the next authority is made, and trusted.
    Prepare,
    /// Step 2: it issues from now on.
    Promote,
    /// Step 3: the one before is trusted no more.
    DropPrevious,
    /// A certificate is issued.
    Issue(Role),
    /// The broker is wanted no more, and loses its certificate.
    Remove(BrokerId),
    /// Brokers have another `ca.crt` than they should have.
    Publish,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewAuthority => f.write_str("there was no usable authority: a new one is made"),
            Self::Prepare => f.write_str("the next authority is made, and trusted from now on"),
            Self::Promote => f.write_str("the next authority issues from now on"),
            Self::DropPrevious => f.write_str("the old authority is trusted no more"),
            Self::Issue(role) => write!(f, "{role} gets a new certificate"),
            Self::Remove(broker) => write!(f, "broker {broker} loses its certificate"),
            Self::Publish => f.write_str("brokers get the trusted authorities anew"),
        }
    }
}

/// The changes to be made next, at `now_s`. What follows from them is seen when they are made.
pub(super) fn due(
    bundle: &Bundle,
    wanted: &Wanted,
    uses: &Uses,
    now_s: i64,
) -> Result<Vec<Change>, Error> {
    if let Some(change) = authority(bundle, wanted, uses, now_s) {
        return Ok(vec![change]);
    }
    let mut changes = Vec::new();
    for role in holders(wanted) {
        let identity = Identity::new(&wanted.cluster, role)?;
        if bundle.leaf(role).is_none_or(|leaf| needs_issue(bundle, leaf, &identity, now_s)) {
            changes.push(Change::Issue(role));
        }
    }
    let extra = bundle.brokers.keys().filter(|id| !wanted.brokers.contains(id));
    changes.extend(extra.copied().map(Change::Remove));
    if !changes.is_empty() {
        return Ok(changes);
    }
    // All were issued by the present authority, or would have been issued anew; and there are no
    // more than those that are wanted, or they would have been removed.
    let waits = Waits::for_leaves(bundle, wanted, uses);
    let seen = bundle.youngest_s().is_some_and(|made_s| waits.are_over(made_s, now_s));
    let drop = !bundle.previous.is_empty() && seen;
    Ok(drop.then_some(Change::DropPrevious).into_iter().collect())
}

fn authority(bundle: &Bundle, wanted: &Wanted, uses: &Uses, now_s: i64) -> Option<Change> {
    let next = bundle.next.as_ref().map(|next| &next.certificate).filter(|c| c.is_valid(now_s));
    let signer = bundle.signer.as_ref().map(|s| &s.certificate).filter(|c| c.is_valid(now_s));
    let Some(signer) = signer else {
        return Some(if next.is_some() { Change::Promote } else { Change::NewAuthority });
    };
    match next {
        // Brokers were never told of it: from when on they know is not known.
        Some(next) if !bundle.publishes(next) && next.made_s() != now_s => Some(Change::Prepare),
        Some(next) if Waits::for_trust(next, wanted, uses).are_over(next.made_s(), now_s) => {
            Some(Change::Promote)
        }
        Some(_) => None,
        None => {
            let due = is_due(signer.made_s(), AUTHORITY_LIFE_S, now_s);
            let asked = signer.made_s() < wanted.authority_since_s;
            // One after the other: the one before is gone first.
            ((due || asked) && bundle.previous.is_empty()).then_some(Change::Prepare)
        }
    }
}

fn needs_issue(bundle: &Bundle, leaf: &Leaf, identity: &Identity, now_s: i64) -> bool {
    let issuer = bundle.signer.as_ref().map(|signer| &signer.certificate.subject);
    leaf.certificate.issuer.as_str() != issuer.map_or("", String::as_str)
        || !leaf.certificate.is_valid(now_s)
        || is_due(leaf.certificate.made_s(), LEAF_LIFE_S, now_s)
        || !leaf.speaks_for(identity)
}
