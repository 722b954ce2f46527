//! Each checker is shown a history that is as it should be, and the same with one fault, which it
//! must find.

mod content;
mod cursors;
mod loss;
mod order;
mod readers;
mod topics;

use holdfast_protocol::{Offset, Position, StreamId, TopicId};

use super::{Checker, Content};

const STREAM: StreamId = StreamId { topic: TopicId([1; 16]), partition: 0 };

/// A checker whose producer was told where each value is, in this order; each entry stands in the
/// log where it stands in the stream.
fn told(acknowledged: &[(u64, u64)]) -> Checker {
    let mut checker = Checker::default();
    for (offset, value) in acknowledged {
        acknowledge(&mut checker, *offset, *value);
    }
    checker
}

fn acknowledge(checker: &mut Checker, offset: u64, value: u64) {
    checker.acknowledge(STREAM, value, (Some(Offset(offset)), Position(offset + 1)));
}

/// What the checker says of a stream that begins at `start` and holds these offsets and values.
fn judge(
    checker: &Checker,
    start: u64,
    held: &[(u64, u64)],
    idempotent: bool,
) -> Result<(), String> {
    let batches: Vec<_> = held.iter().map(|(offset, value)| (Offset(*offset), *value)).collect();
    let content = Content { start: Offset(start), batches: &batches, idempotent };
    checker.judge(STREAM, &content)
}

/// That it was found, and not something else.
#[track_caller]
fn assert_finds(found: Result<(), String>, what: &str) {
    let violation = found.expect_err("a violation");
    assert!(violation.contains(what), "not `{what}`, but: {violation}");
}
