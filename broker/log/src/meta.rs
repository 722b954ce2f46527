//! What a replica keeps beside its entries.

use holdfast_protocol::{Incarnation, Position};

/// What the broker keeps beside the entries, replaced as a whole. The log's own state (durable
/// checkpoint, clean point, epoch history) lies in the same file and is added by the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The identity of this log; all zero until the broker gives it one.
    pub incarnation: Incarnation,
    /// The newest consensus record that the broker has seen; opaque here.
    pub record: Vec<u8>,
    /// A hint: everything below was committed when this was written.
    pub committed: Position,
}
