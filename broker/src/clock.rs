//! The broker's clocks: one that only runs on, for decisions; one of the wall, for messages.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds on a clock that never goes back. It begins well above 0, so that "long ago" can
/// be told.
pub(crate) fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    1_000_000_000 + u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
