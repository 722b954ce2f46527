//! Calls that were refused to somebody of the cluster, told once each.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use holdfast_transport::Peer;
use tonic::Status;
use tracing::{debug, warn};

/// Refusals that are remembered; then they are told anew.
const REMEMBERED_MAX: usize = 64;

/// What was told already.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeSet<String>>);

impl Refusals {
    /// Passes the judgement on, and tells a refusal.
    pub(crate) fn admit(&self, caller: Peer, judged: Result<(), Status>) -> Result<(), Status> {
        if let Err(status) = &judged {
            let reason = status.message();
            if self.is_new(&format!("{caller:?} {reason}")) {
                warn!(?caller, reason, "a call to the internal port is refused");
            } else {
                debug!(?caller, reason, "a call to the internal port is refused again");
            }
        }
        judged
    }

    fn is_new(&self, what: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains(what) {
            return false;
        }
        if told.len() >= REMEMBERED_MAX {
            told.clear();
        }
        told.insert(what.to_owned());
        true
    }
}
