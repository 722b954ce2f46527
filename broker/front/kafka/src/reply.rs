//! What a handler makes of a request.

use tokio::sync::OwnedSemaphorePermit;

use crate::codec::Frame;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// It is answered.
    Answer(Frame),
    /// It is answered, with records that count against the door's memory until they are written.
    Records(Frame, Option<OwnedSemaphorePermit>),
    /// It wants no answer.
    Nothing,
    /// The connection is closed, which is the answer.
    Close(String),
}
