//! How long to wait after a failed reconciliation: longer each time, until one succeeds.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::names::Key;

/// The first pause.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Failures in a row, by kind and resource.
#[derive(Default)]
pub(crate) struct Backoff(Mutex<BTreeMap<(&'static str, Key), u32>>);

impl Backoff {
    /// One failed; returns how long to wait.
    pub(crate) fn failed(&self, kind: &'static str, key: Key) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry((kind, key)).or_default();
        let pause = FIRST * 2_u32.saturating_pow((*count).min(16));
        *count += 1;
        pause.min(LONGEST)
    }

    /// One succeeded.
    pub(crate) fn succeeded(&self, kind: &'static str, key: Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew() {
        let backoff = Backoff::default();
        let key = || Key::new("shop", "orders");
        let pauses: Vec<u128> =
            (0..10).map(|_| backoff.failed("Topic", key()).as_millis()).collect();
        assert_eq!(pauses[..3], [200, 400, 800]);
        assert_eq!(pauses[9], 30_000);
        backoff.succeeded("Topic", key());
        assert_eq!(backoff.failed("Topic", key()).as_millis(), 200);
    }
}
