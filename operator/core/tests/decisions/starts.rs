//! A broker whose volume was put back to an older state is not taken for what it was.

use holdfast_operator_core::{
    Action, BrokerState, Event, Input, Message, Planner, Report, Time, WriteOutcome,
};
use holdfast_protocol::{BrokerId, Epoch, Position, ShardRecord, Start};

use crate::{SHARD, connect, drain, record, report, starting, tell};

fn start(id: u32, counter: u64, process: u64) -> Start {
    Start { broker: BrokerId(id), counter, process }
}

/// The record as it is once the starts of three brokers are remembered.
fn remembering() -> ShardRecord {
    let starts = vec![start(0, 5, 50), start(1, 7, 70), start(2, 9, 90)];
    ShardRecord { starts, ..record(2, &[0, 1]) }
}

fn is_told(action: &Action) -> bool {
    matches!(action, Action::Tell(Event::VolumeRolledBack { broker: BrokerId(1), .. }))
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
        assert!(actions.iter().any(is_told));
        // It has counted on from there, and every replica has another name.
        connect(&mut planner, 1, (8, 80), true);
        assert!(is_live(&planner, 1));
    }
}

#[test]
fn what_a_store_remembers_that_went_back_itself_is_not_believed() {
    let mut planner = starting(remembering());
    let connected = Input::Connected { start: start(1, 2, 20), renewed: false };
    planner.handle(connected, Time(0));
    // It knows a newer record, written since its volume was lost and its starts counted anew.
    let newer = record(3, &[0, 1]);
    let known = Report { version: newer.version, record: Some(newer), ..report(1) };
    tell(&mut planner, 1, known, true, Time(0));
    assert!(is_live(&planner, 1));
    assert!(!drain(&mut planner).iter().any(is_told));
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

/// A planner that knows of nine committed entries, while broker 1 is there again in a new start
/// and tells of five, and broker 0, who leads, dies.
fn short() -> Planner {
    let mut planner = starting(remembering());
    for (id, start) in [(0, (5, 50)), (1, (7, 70)), (2, (9, 90))] {
        connect(&mut planner, id, start, false);
    }
    let nine = Report { end: Position(9), committed: Position(9), ..report(0) };
    tell(&mut planner, 0, nine, false, Time(1));
    planner.handle(Input::Connected { start: start(1, 8, 80), renewed: false }, Time(2));
    tell(&mut planner, 1, Report { end: Position(5), ..report(1) }, true, Time(2));
    planner.handle(Input::Gone { broker: BrokerId(0) }, Time(3));
    assert_eq!(elected(&mut planner), None, "it lacks what was committed");
    planner
}

/// Who is elected by what is to be done now.
fn elected(planner: &mut Planner) -> Option<BrokerId> {
    let mut leader = None;
    while let Some(action) = planner.poll_action() {
        if let Action::Write { record, .. } = action {
            leader = record.leader.map(|leader| leader.broker).filter(|_| record.epoch > Epoch(1));
            planner.handle(Input::Written { shard: SHARD, outcome: WriteOutcome::Done }, Time(4));
        }
    }
    leader
}

#[test]
fn a_log_that_seemed_too_short_is_elected_once_it_is_known_to_be_long_enough() {
    let mut planner = short();
    tell(&mut planner, 1, Report { end: Position(9), ..report(1) }, false, Time(20));
    assert_eq!(elected(&mut planner), Some(BrokerId(1)));
}

#[test]
fn a_log_that_lacks_what_was_committed_beyond_doubt_is_renewed() {
    let mut planner = short();
    for at in (500..=9_500).step_by(500) {
        planner.handle(Input::Heard { broker: BrokerId(1) }, Time(at));
        planner.handle(Input::Heard { broker: BrokerId(2) }, Time(at));
        let actions: Vec<Action> = drain(&mut planner);
        assert_eq!(actions.iter().any(is_told), at > 9_000, "at {at} ms: {actions:?}");
        let renew = Message::RenewVolume { counter: 8 };
        let renewed = actions.contains(&Action::Send { broker: BrokerId(1), message: renew });
        assert_eq!(renewed, at > 9_000);
    }
    assert!(!is_live(&planner, 1));
}
