//! A leader's wish for other in-sync replicas is answered once, and only when it is settled.

use holdfast_operator_core::{Action, Input, IsrRequest, Message, Planner, Time, WriteOutcome};
use holdfast_protocol::{BrokerId, Epoch, ShardRecord, Version};

use crate::{SHARD, connect, drain, member, named, record, starting, write_of};

/// A planner with three live brokers, of which the first leads with the second in sync.
fn planner() -> Planner {
    let mut planner = starting(record(1, &[0, 1]));
    for id in 0..3 {
        // They do not tell which start it is, so there is nothing to be remembered.
        connect(&mut planner, id, (0, 0), false);
    }
    drain(&mut planner);
    planner
}

fn wish(planner: &mut Planner, isr: &[u8]) -> Vec<Action> {
    let request = IsrRequest {
        broker: BrokerId(0),
        shard: SHARD,
        epoch: Epoch(1),
        expected: Version { generation: 0, revision: 1, writer: 0 },
        isr: isr.iter().copied().map(member).collect(),
    };
    planner.handle(Input::IsrRequest(request), Time(1));
    drain(planner)
}

fn written(planner: &mut Planner, outcome: WriteOutcome) -> Vec<Action> {
    planner.handle(Input::Written { shard: SHARD, outcome }, Time(2));
    drain(planner)
}

fn read(planner: &mut Planner, stored: ShardRecord) -> Vec<Action> {
    planner.handle(Input::Read { shard: SHARD, record: Some(stored) }, Time(3));
    drain(planner)
}

fn answers(actions: &[Action]) -> Vec<bool> {
    let answer = |action: &Action| match action {
        Action::Send { message: Message::IsrAnswer { accepted, .. }, .. } => Some(*accepted),
        Action::Send { .. }
        | Action::Write { .. }
        | Action::Read { .. }
        | Action::Redial { .. }
        | Action::Tell(_) => None,
    };
    actions.iter().filter_map(answer).collect()
}

#[test]
fn a_written_wish_is_granted() {
    let mut planner = planner();
    assert_eq!(wish(&mut planner, &[0, 1, 2]), [write_of(record(2, &[0, 1, 2]))]);
    assert_eq!(answers(&written(&mut planner, WriteOutcome::Done)), [true]);
}

#[test]
fn a_wish_that_may_be_written_is_not_answered_before_it_is_known() {
    let mut planner = planner();
    wish(&mut planner, &[0, 1, 2]);
    let unknown = written(&mut planner, WriteOutcome::Unknown);
    assert_eq!(unknown, [Action::Read { shard: SHARD }]);
    // It was not written, but might be yet: only the same write again settles it.
    let again = read(&mut planner, record(1, &[0, 1]));
    assert_eq!(again, [write_of(record(2, &[0, 1, 2]))]);
    // It was there after all.
    let current = Some(named(record(2, &[0, 1, 2])));
    assert_eq!(answers(&written(&mut planner, WriteOutcome::Conflict(current))), [true]);
}

#[test]
fn a_wish_that_lost_is_refused_with_what_is_there() {
    let mut planner = planner();
    wish(&mut planner, &[0, 1, 2]);
    let current = Some(record(2, &[0, 2]));
    let actions = written(&mut planner, WriteOutcome::Conflict(current));
    assert_eq!(answers(&actions), [false]);
    assert_eq!(planner.records().next(), Some(&record(2, &[0, 2])));
}

#[test]
fn a_bad_wish_is_refused_at_once_and_a_newer_one_replaces_one_that_waits() {
    let mut planner = planner();
    assert_eq!(answers(&wish(&mut planner, &[0])), [false], "below the minimum");
    wish(&mut planner, &[0, 1, 2]);
    assert_eq!(answers(&wish(&mut planner, &[0, 2])), [false; 0], "a write is under way");
    assert_eq!(answers(&wish(&mut planner, &[0, 1])), [false], "the one that waited");
    let rest = written(&mut planner, WriteOutcome::Done);
    assert_eq!(answers(&rest), [true, false], "the version of the last is old by now");
}
