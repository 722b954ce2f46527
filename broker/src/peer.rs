//! Replication between brokers: one stream from each follower broker to each leader broker.

pub(crate) mod client;
pub(crate) mod server;
mod wire;

/// The largest gRPC message, bytes: the largest entry, and room to spare.
pub(crate) const MESSAGE_BYTES_MAX: usize = 112 * 1024 * 1024;
/// Entries in one answer, bytes; one entry that is larger goes alone.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;
