//! Conditions, as kstatus and `kubectl wait` read them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// The longest message of a condition, bytes.
const MESSAGE_MAX: usize = 1024;

/// Whether everything is as wanted.
pub(crate) const READY: &str = "Ready";
/// True while the operator works towards what is wanted.
pub(crate) const RECONCILING: &str = "Reconciling";
/// True where it can't go on without somebody's help.
pub(crate) const STALLED: &str = "Stalled";
/// Whether every replica is where it is wanted.
pub(crate) const BALANCED: &str = "Balanced";
/// Whether one authority has issued all certificates, and no other is trusted.
pub(crate) const AUTHORITY_CURRENT: &str = "AuthorityCurrent";
/// True where messages that were acknowledged may be missing since an unclean election.
pub(crate) const POSSIBLE_LOSS: &str = "PossibleLoss";
/// Why: nobody who could lead had all that was acknowledged.
pub(crate) const UNCLEAN_ELECTION: &str = "UncleanElection";
/// True while a deletion waits for something.
pub(crate) const DELETION_BLOCKED: &str = "DeletionBlocked";

/// A condition to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) kind: &'static str,
    /// `None`: unknown.
    pub(crate) holds: Option<bool>,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Wanted {
    pub(crate) fn new(
        kind: &'static str,
        holds: impl Into<Option<bool>>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, holds: holds.into(), reason, message: message.into() }
    }
}

/// `wanted` as conditions; the time of a transition is kept where the status is as it was.
pub(crate) fn conditions(
    wanted: &[Wanted],
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |wanted: &Wanted| {
        let status = match wanted.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = |old: &&Condition| old.type_ == wanted.kind && old.status == status;
        let since = before.iter().find(same).map(|old| old.last_transition_time.clone());
        Condition {
            type_: wanted.kind.to_owned(),
            status: status.to_owned(),
            reason: wanted.reason.to_owned(),
            message: cut(&wanted.message, MESSAGE_MAX),
            observed_generation: generation,
            last_transition_time: since.unwrap_or(Time(now)),
        }
    };
    wanted.iter().map(condition).collect()
}

/// Whether a condition of this kind is true in `conditions`.
pub(crate) fn holds(conditions: &[Condition], kind: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// The message, in at most `max` bytes.
pub(crate) fn cut(message: &str, max: usize) -> String {
    if message.len() <= max {
        return message.to_owned();
    }
    let end =
        (0..max.saturating_sub(3)).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_transition_changes_the_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let no = [Wanted::new(READY, false, "BrokersNotReady", "0 of 3 brokers are ready")];
        let first = conditions(&no, &[], Some(1), at(1));
        let later = [Wanted::new(READY, false, "BrokersNotReady", "2 of 3 brokers are ready")];
        let second = conditions(&later, &first, Some(2), at(2));
        assert_eq!(second[0].last_transition_time, Time(at(1)));
        assert_eq!(second[0].observed_generation, Some(2));
        let yes = [Wanted::new(READY, true, "Ready", "")];
        let third = conditions(&yes, &second, Some(2), at(3));
        assert_eq!(third[0].last_transition_time, Time(at(3)));
        assert!(holds(&third, READY) && !holds(&second, READY));
        assert_eq!(conditions(&yes, &third, Some(2), at(4)), third);
        let unknown = [Wanted::new(READY, None, "Starting", "é".repeat(1024))];
        let cut = &conditions(&unknown, &third, Some(2), at(5))[0];
        assert_eq!(cut.status, "Unknown");
        assert!(cut.message.len() <= MESSAGE_MAX && cut.message.ends_with("é..."));
    }
}
