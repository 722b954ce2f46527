//! Leader epochs (KIP-320): a client that knows another reign than this one is told so.

use holdfast_protocol::Epoch;
use kafka_protocol::ResponseError as Code;

use crate::context::wire_id;

/// Holds the epoch that a client believes in against the present one; -1 believes in none.
pub(crate) fn check(believed: i32, present: Epoch) -> Result<(), Code> {
    let present = wire_id(present.0);
    match believed {
        ..0 => Ok(()),
        believed if believed < present => Err(Code::FencedLeaderEpoch),
        believed if believed > present => Err(Code::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}
