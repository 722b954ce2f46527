//! What a door is told when it opens.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;

/// Limits and names of one listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// The listener, as in the policy: clients are answered with the addresses of this one.
    pub listener_name: String,
    /// The most connections at once; more are closed as they come.
    pub connections_max: usize,
    /// The longest request, bytes, without its four bytes of length.
    pub frame_bytes_max: usize,
    /// Requests of one connection that are read but not yet answered.
    pub requests_in_flight_max: usize,
    /// Bytes of one connection's requests that are read but not yet answered. A frame that is
    /// longer goes through alone.
    pub connection_bytes_max: usize,
    /// The same for all connections together.
    pub door_bytes_max: usize,
    /// Memory, bytes, of large decoded requests at once, all connections together.
    pub decoded_bytes_max: usize,
    /// The most bytes of records in one answer to a fetch, whatever the client allows; one
    /// batch is given however large.
    pub fetch_bytes_max: usize,
    /// Bytes of fetched records that wait for clients to read them, all connections together.
    /// Beyond it fetches are answered with [`Options::FETCH_BYTES_LEAST`] at a time.
    pub fetched_bytes_max: usize,
    /// How long a client may neither send a request nor read its answers.
    pub idle_timeout: Duration,
    /// How long the rest of a begun frame may take, on top of its bytes at
    /// [`Options::FRAME_BYTES_PER_SECOND_LEAST`].
    pub frame_timeout: Duration,
    /// How long answers may still be written after the client has stopped sending, or after
    /// the door was told to close.
    pub drain_timeout: Duration,
    /// Where the door counts what it does.
    pub metrics: Arc<Metrics>,
}

impl Options {
    /// The slowest that a client may send a frame that it has begun.
    pub const FRAME_BYTES_PER_SECOND_LEAST: u64 = 64 * 1024;
    /// What a fetch may read even when the door's memory for fetched records is used up.
    pub const FETCH_BYTES_LEAST: usize = 64 * 1024;

    /// The defaults for the listener of this name.
    #[must_use]
    pub fn new(listener_name: impl Into<String>) -> Self {
        Self {
            listener_name: listener_name.into(),
            connections_max: 16_384,
            frame_bytes_max: 100 * 1024 * 1024 + 64 * 1024,
            requests_in_flight_max: 64,
            connection_bytes_max: 16 * 1024 * 1024,
            door_bytes_max: 256 * 1024 * 1024,
            decoded_bytes_max: 64 * 1024 * 1024,
            fetch_bytes_max: 16 * 1024 * 1024,
            fetched_bytes_max: 256 * 1024 * 1024,
            idle_timeout: Duration::from_secs(600),
            frame_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(2),
            metrics: Arc::default(),
        }
    }
}
