//! A broker whose volume was put back to an older state is not taken for what it was.

use holdfast_operator_core::{Action, Event, Message, Planner, Time, WriteOutcome};
use holdfast_operator_core::{BrokerState, Input};
use holdfast_protocol::{BrokerId, ShardRecord, Start};

use crate::{SHARD, connect, drain, record, starting};

fn start(id: u32, counter: u64, process: u64) -> Start {
    Start { broker: BrokerId(id), counter, process }
}

/// The record as it is once the starts of three brokers are remembered.
fn remembering() -> ShardRecord {
    let starts = vec![start(0, 5, 50), start(1, 7, 70), start(2, 9, 90)];
    ShardRecord { starts, ..record(2, &[0, 1]) }
}

fn is_live(planner: &Planner, id: u32) -> bool {
    planner.status().brokers.iter().any(|b| b.id == BrokerId(id) && b.state == BrokerState::Live)
}

#[test]
fn starts_are_remembered_in_one_write_and_only_when_they_change() {
    let mut planner = starting(record(1, &[0, 1]));
    for (id, start) in [(0, (5, 50)), (1, (7, 70)), (2, (9, 90))] {
        connect(&mut planner, id, start, false);
    }
    let writes = |planner: &mut Planner| -> Vec<Action> {
        let of = |action: &Action| matches!(action, Action::Write { .. });
        drain(planner).into_iter().filter(of).collect()
    };
    // The first write begins when it can; the others are there by the next.
    let first = writes(&mut planner);
    assert_eq!(first.len(), 1);
    planner.handle(Input::Written { shard: SHARD, outcome: WriteOutcome::Done }, Time(1));
    while let [_] = writes(&mut planner)[..] {
        planner.handle(Input::Written { shard: SHARD, outcome: WriteOutcome::Done }, Time(1));
    }
    assert_eq!(planner.records().next().unwrap().starts, remembering().starts);

    let mut again = starting(remembering());
    for (id, start) in [(0, (5, 50)), (1, (7, 70)), (2, (9, 90))] {
        connect(&mut again, id, start, false);
    }
    assert_eq!(writes(&mut again), []);
}

#[test]
fn a_start_that_was_counted_before_is_renewed_and_not_live() {
    for counted in [(7, 71), (6, 60), (1, 10)] {
        let mut planner = starting(remembering());
        connect(&mut planner, 1, counted, false);
        assert!(!is_live(&planner, 1), "{counted:?}");
        let actions = drain(&mut planner);
        let renew = Message::RenewVolume { counter: 7 };
        assert!(actions.contains(&Action::Send { broker: BrokerId(1), message: renew }));
        let told =
            Event::VolumeRolledBack { broker: BrokerId(1), counter: counted.0, remembered: 7 };
        assert!(actions.contains(&Action::Tell(told)));
        // It has counted on from there, and every replica has another name.
        connect(&mut planner, 1, (8, 80), true);
        assert!(is_live(&planner, 1));
    }
}

#[test]
fn the_same_process_a_later_one_and_an_empty_volume_are_taken() {
    for (counted, renewed) in [((7, 70), false), ((8, 80), false), ((1, 10), true)] {
        let mut planner = starting(remembering());
        connect(&mut planner, 1, counted, renewed);
        assert!(is_live(&planner, 1), "{counted:?}");
        // Its next session is of the same process.
        connect(&mut planner, 1, counted, renewed);
        assert!(is_live(&planner, 1), "{counted:?}");
    }
}

#[test]
fn what_is_remembered_is_that_of_who_is_here() {
    let mut planner = starting(remembering());
    for (id, start) in [(0, (5, 50)), (1, (1, 10)), (2, (10, 100))] {
        connect(&mut planner, id, start, id == 1);
    }
    let starts = vec![start(0, 5, 50), start(1, 1, 10), start(2, 10, 100)];
    let mut actions = drain(&mut planner);
    let mut last = None;
    while let Some(Action::Write { record, .. }) =
        actions.into_iter().find(|action| matches!(action, Action::Write { .. }))
    {
        last = Some(record);
        planner.handle(Input::Written { shard: SHARD, outcome: WriteOutcome::Done }, Time(1));
        actions = drain(&mut planner);
    }
    assert_eq!(last.unwrap().starts, starts);
}
