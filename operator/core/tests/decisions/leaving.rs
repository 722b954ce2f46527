//! A broker that is about to stop waits for whoever took over, as long as that can serve.

use holdfast_operator_core::{Action, Event, Input, Planner, Report, Time, WriteOutcome};
use holdfast_protocol::{BrokerId, Epoch, Start};

use crate::{SHARD, drain, member, record, report, starting, tell};

/// Carries out what is to be written, until there is nothing more.
fn settle(planner: &mut Planner) -> Option<BrokerId> {
    let mut leader = None;
    loop {
        let written = drain(planner).into_iter().find_map(|action| match action {
            Action::Write { record, .. } => Some(record),
            _ => None,
        });
        let Some(written) = written else {
            return leader;
        };
        leader = written.leader.map(|leader| leader.broker);
        planner.handle(Input::Written { shard: SHARD, outcome: WriteOutcome::Done }, Time(0));
    }
}

/// All are there, and the first leads.
fn there() -> Planner {
    let mut planner = starting(record(1, &[0, 1, 2]));
    for id in 0..3 {
        let broker = BrokerId(id.into());
        let start = Start { broker, counter: 0, process: 0 };
        planner.handle(Input::Connected { start, renewed: false }, Time(0));
        let report = Report { record: Some(record(1, &[0, 1, 2])), ..report(id) };
        tell(&mut planner, id, report, true, Time(0));
    }
    settle(&mut planner);
    planner
}

/// The first broker leads and is about to stop; another one was elected and does not serve yet.
fn moving() -> (Planner, BrokerId) {
    let mut planner = there();
    planner.handle(Input::PrepareStop { broker: BrokerId(0) }, Time(0));
    let next = settle(&mut planner).expect("another one is elected");
    assert_ne!(next, BrokerId(0));
    assert!(!planner.is_vacated(BrokerId(0)), "nobody serves yet");
    (planner, next)
}

#[test]
fn it_goes_once_the_next_leader_serves() {
    let (mut planner, next) = moving();
    let id = u8::try_from(next.0).unwrap();
    let epoch = planner.records().next().unwrap().epoch;
    let serving = Report {
        incarnation: member(id).incarnation,
        leading: true,
        epoch,
        leads_epoch: epoch,
        last_epoch: Epoch(1),
        ..report(id)
    };
    tell(&mut planner, id, serving, false, Time(1));
    assert!(planner.is_vacated(BrokerId(0)));
}

#[test]
fn what_it_still_serves_while_another_is_elected_ends_nothing() {
    let mut planner = there();
    planner.handle(Input::PrepareStop { broker: BrokerId(0) }, Time(0));
    drain(&mut planner);
    // The election is on its way to the store, and it serves in the epoch before.
    let serving = Report { record: Some(record(1, &[0, 1, 2])), ..report(0) };
    tell(&mut planner, 0, serving, false, Time(1));
    let told = drain(&mut planner)
        .into_iter()
        .any(|action| matches!(action, Action::Tell(Event::FailoverCompleted(_))));
    assert!(!told, "nobody else serves yet");
    planner.handle(Input::Written { shard: SHARD, outcome: WriteOutcome::Done }, Time(2));
    settle(&mut planner);
    assert!(!planner.is_vacated(BrokerId(0)), "nobody else serves yet");
}

#[test]
fn it_does_not_wait_for_a_leader_that_has_stopped_too() {
    let (mut planner, next) = moving();
    // The leader is the last to stop: there is nobody left to elect in its place.
    let order = [BrokerId(3 - next.0), next];
    for broker in order {
        planner.handle(Input::PrepareStop { broker }, Time(1));
        settle(&mut planner);
    }
    assert!(!planner.is_vacated(BrokerId(0)), "the next leader may yet serve");
    for broker in order {
        planner.handle(Input::Broken { broker }, Time(2));
        planner.handle(Input::Refused { broker }, Time(2));
        settle(&mut planner);
    }
    let leader = planner.records().next().unwrap().leader;
    assert_eq!(leader.map(|leader| leader.broker), Some(next), "too few are there to elect");
    assert!(planner.is_vacated(BrokerId(0)));
}
