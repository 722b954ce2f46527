//! Replication between brokers: one stream from each follower broker to each leader broker.

pub(crate) mod client;
pub(crate) mod server;
pub mod wire;

/// The largest gRPC message, bytes: the largest entry, and room to spare.
pub(crate) const MESSAGE_BYTES_MAX: usize = 112 * 1024 * 1024;
/// What one follower asks in one message, bytes: a few numbers.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// How long the first message of a stream may take.
pub(crate) const HELLO_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// Entries in one answer, and in one message of answers, bytes; one entry that is larger goes alone.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;
