//! A planner gives no name twice, whatever became of the record that it was given to first.

use holdfast_operator_core::{Action, Input, Planner, Report, Time, WriteOutcome};
use holdfast_protocol::{BrokerId, Lineage, ShardRecord, Start, Version};

use crate::{SHARD, drain, record, report, starting, tell};

/// What is written next.
fn written(planner: &mut Planner) -> ShardRecord {
    let written = drain(planner).into_iter().find_map(|action| match action {
        Action::Write { record, .. } => Some(record),
        _ => None,
    });
    written.expect("something is written")
}

#[test]
fn a_name_stays_that_of_a_record_that_was_not_written() {
    // The store went back: brokers know a newer record, and that is adopted.
    let base = record(1, &[0, 1, 2]);
    let mut planner = starting(base.clone());
    for id in 0..3 {
        let broker = BrokerId(id.into());
        let start = Start { broker, counter: 0, process: 0 };
        planner.handle(Input::Connected { start, renewed: false }, Time(0));
        let newer = record(2, &[0, 1, 2]);
        let known = Report { version: newer.version, record: Some(newer), ..report(id) };
        tell(&mut planner, id, known, true, Time(0));
    }
    planner.handle(Input::Read { shard: SHARD, record: Some(base.clone()) }, Time(0));
    let adopted = written(&mut planner);
    assert_eq!((adopted.version.generation, adopted.version.revision), (1, 3));

    // Another operator was first. It went on from what the store has, and gave a lower number.
    let version = Version { generation: 1, revision: 2, writer: 9 };
    let mut lineage = Lineage::of(version, Some(&base));
    lineage.leave(record(2, &[0, 1, 2]).version, version.generation);
    let other = ShardRecord { version, lineage: lineage.into(), ..base };
    let outcome = WriteOutcome::Conflict(Some(other.clone()));
    planner.handle(Input::Written { shard: SHARD, outcome }, Time(0));
    drain(&mut planner);
    for id in 0..3 {
        let known = Report { version, record: Some(other.clone()), ..report(id) };
        tell(&mut planner, id, known, true, Time(0));
    }
    planner.handle(Input::PrepareStop { broker: BrokerId(0) }, Time(0));
    let next = written(&mut planner);
    assert_eq!((next.version.generation, next.version.revision), (1, 4));
    assert_eq!(next.descends_from(version), Some(true));
    assert_eq!(next.descends_from(adopted.version), Some(false));
}
