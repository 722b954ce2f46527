//! An unclean election is held over what brokers tell of the very record that it replaces.

use holdfast_operator_core::{Action, Input, Planner, Policy, Report, Time, WriteOutcome};
use holdfast_protocol::{
    BrokerId, FlushMode, Incarnation, Member, ShardRecord, UncleanElection, Version,
};

use crate::{SHARD, WRITER, connect, drain, member, policy, record, report, tell};

/// The log that the first broker began anew.
fn renewed() -> Member {
    Member { incarnation: Incarnation([9; 16]), ..member(0) }
}

/// What another operator wrote: the first broker leads alone, with the log that it began anew.
fn written() -> ShardRecord {
    ShardRecord {
        version: Version { generation: 0, revision: 2, writer: WRITER + 1 },
        leader: Some(renewed()),
        isr: vec![renewed()],
        ..record(1, &[0])
    }
}

fn writes(planner: &mut Planner) -> Vec<ShardRecord> {
    let written = drain(planner).into_iter().filter_map(|action| match action {
        Action::Write { record, .. } => Some(record),
        _ => None,
    });
    written.collect()
}

#[test]
fn what_a_broker_told_before_it_began_anew_elects_nobody() {
    let policy = Policy {
        flush: FlushMode::Async,
        unclean_election: UncleanElection::AllReported,
        ..policy()
    };
    let mut planner = Planner::new(policy, vec![record(1, &[0, 1])], Time(0), WRITER);
    for id in 0..3 {
        connect(&mut planner, id, (0, 0), false);
    }
    writes(&mut planner);
    // Another operator has written since, and this one reads that. Of the first broker it has what
    // that told in a session that is over, as it will turn out.
    let newer = Report { record: Some(written()), version: written().version, ..report(2) };
    tell(&mut planner, 2, newer, false, Time(1));
    drain(&mut planner);
    planner.handle(Input::Read { shard: SHARD, record: Some(written()) }, Time(1));
    assert_eq!(writes(&mut planner), [], "the first broker has not told what it holds by now");
    // It began anew once more: now nobody has everything.
    planner.handle(Input::Broken { broker: BrokerId(0) }, Time(2));
    connect(&mut planner, 0, (1, 1), true);
    let again = Report { incarnation: Incarnation([10; 16]), leading: false, ..report(0) };
    // Other writes, such as of its start, come first.
    let mut elected = None;
    for ms in 3..10 {
        let known = planner.records().next().unwrap().clone();
        let again = Report { version: known.version, record: Some(known), ..again.clone() };
        tell(&mut planner, 0, again, true, Time(ms));
        elected = writes(&mut planner).pop().or(elected);
        planner.handle(Input::Written { shard: SHARD, outcome: WriteOutcome::Done }, Time(ms));
    }
    let elected = elected.expect("it has told");
    assert_eq!(elected.leader.map(|leader| leader.incarnation), Some(Incarnation([10; 16])));
    assert_eq!(elected.unclean_epoch, Some(elected.epoch));
}
