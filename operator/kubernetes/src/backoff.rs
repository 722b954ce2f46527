//! How long to wait after a failed reconciliation: longer each time, until one succeeds.
//!
//! What hurries nobody is held back until then, and is looked at once when one has succeeded.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::names::Key;

/// The first pause.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

type Resource = (&'static str, Key);

/// Failures in a row.
#[derive(Default)]
struct Failures {
    count: u32,
    /// Whether something was held back since the first of them.
    held: bool,
}

/// Failures in a row, by kind and resource.
#[derive(Default)]
pub(crate) struct Backoff(Mutex<BTreeMap<Resource, Failures>>);

impl Backoff {
    /// One failed; returns how long to wait.
    pub(crate) fn failed(&self, kind: &'static str, key: Key) -> Duration {
        let mut all = self.all();
        let failures = all.entry((kind, key)).or_default();
        let pause = FIRST * 2_u32.saturating_pow(failures.count.min(16));
        failures.count += 1;
        pause.min(LONGEST)
    }

    /// Whether something that hurries nobody has to wait: the last one failed, and another is due
    /// or under way.
    pub(crate) fn holds(&self, kind: &'static str, key: &Key) -> bool {
        let mut all = self.all();
        let failures = all.get_mut(&(kind, key.clone()));
        failures.map(|failures| failures.held = true).is_some()
    }

    /// One succeeded; returns whether something was held back, which it may have missed.
    pub(crate) fn succeeded(&self, kind: &'static str, key: Key) -> bool {
        self.all().remove(&(kind, key)).is_some_and(|failures| failures.held)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Resource, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new("shop", "orders")
    }

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew() {
        let backoff = Backoff::default();
        let pauses: Vec<u128> =
            (0..10).map(|_| backoff.failed("Topic", key()).as_millis()).collect();
        assert_eq!(pauses[..3], [200, 400, 800]);
        assert_eq!(pauses[9], 30_000);
        backoff.succeeded("Topic", key());
        assert_eq!(backoff.failed("Topic", key()).as_millis(), 200);
    }

    #[test]
    fn what_is_held_back_is_told_by_the_success_that_ends_it() {
        let backoff = Backoff::default();
        assert!(!backoff.holds("Topic", &key()), "nothing failed");
        assert!(!backoff.succeeded("Topic", key()));
        backoff.failed("Topic", key());
        assert!(!backoff.holds("Queue", &key()), "another kind");
        assert!(!backoff.succeeded("Topic", key()), "nothing was held back");
        backoff.failed("Topic", key());
        assert!(backoff.holds("Topic", &key()));
        backoff.failed("Topic", key());
        assert!(backoff.succeeded("Topic", key()));
        assert!(!backoff.holds("Topic", &key()));
        assert!(!backoff.succeeded("Topic", key()), "told once");
    }
}
