//! Decisions of a planner over one shard of three brokers, one by one.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod leaving;
mod moves;
mod names;
mod silence;
mod starts;
mod unclean;
mod wishes;

use holdfast_operator_core::{Action, Input, Planner, Policy, Report, Time};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Lineage, Member, Position, ShardId, ShardRecord,
    Start, UncleanElection, Version,
};

const SHARD: ShardId = ShardId::CATALOG;
/// The name of the planner.
const WRITER: u64 = 1;

fn member(id: u8) -> Member {
    Member { broker: BrokerId(id.into()), incarnation: Incarnation([id + 1; 16]) }
}

fn record(revision: u64, isr: &[u8]) -> ShardRecord {
    ShardRecord {
        shard: SHARD,
        version: Version { generation: 0, revision, writer: 0 },
        epoch: Epoch(1),
        leader: Some(member(0)),
        isr: isr.iter().copied().map(member).collect(),
        replicas: (0..3).map(BrokerId).collect(),
        min_in_sync_replicas: 2,
        flush: FlushMode::Sync,
        unclean_epoch: None,
        loss: None,
        starts: Vec::new(),
        lineage: Box::default(),
    }
}

/// A planner that starts from `record`.
fn starting(record: ShardRecord) -> Planner {
    starting_at(record, Time(0))
}

fn starting_at(record: ShardRecord, now: Time) -> Planner {
    Planner::new(policy(), vec![record], now, WRITER)
}

fn policy() -> Policy {
    Policy {
        brokers: 3,
        staying: 3,
        replicas: 3,
        min_in_sync_replicas: 2,
        shards: 1,
        flush: FlushMode::Sync,
        detection_timeout_ms: 3000,
        move_back_after_ms: 2000,
        unclean_election: UncleanElection::Never,
    }
}

/// `broker` connects, in its start `counter`, and tells what it holds; the first of them leads.
fn connect(planner: &mut Planner, id: u8, start: (u64, u64), renewed: bool) {
    connect_at(planner, id, start, renewed, Time(0));
}

fn connect_at(planner: &mut Planner, id: u8, start: (u64, u64), renewed: bool, at: Time) {
    let (counter, process) = start;
    let broker = BrokerId(id.into());
    let start = Start { broker, counter, process };
    planner.handle(Input::Connected { start, renewed }, at);
    tell(planner, id, report(id), true, at);
}

/// What `id` holds: the first of them leads.
fn report(id: u8) -> Report {
    let leads = id == 0;
    Report {
        shard: SHARD,
        incarnation: member(id).incarnation,
        version: Version { generation: 0, revision: 1, writer: 0 },
        epoch: Epoch(1),
        leading: leads,
        leads_epoch: Epoch(leads.into()),
        end: Position(1),
        last_epoch: Epoch(1),
        committed: Position(1),
        held: Position(1),
        failure: None,
        record: Some(record(1, &[0, 1])),
    }
}

fn tell(planner: &mut Planner, id: u8, report: Report, complete: bool, at: Time) {
    let broker = BrokerId(id.into());
    planner.handle(Input::Reports { broker, reports: vec![report], complete }, at);
}

fn drain(planner: &mut Planner) -> Vec<Action> {
    std::iter::from_fn(|| planner.poll_action()).collect()
}

/// A record as the planner names it that writes it over that of an older release.
fn named(next: ShardRecord) -> ShardRecord {
    let version = Version { writer: WRITER, ..next.version };
    let lineage = Lineage::of(version, Some(&record(1, &[0, 1]))).into();
    ShardRecord { version, lineage, ..next }
}

fn write_of(next: ShardRecord) -> Action {
    Action::Write { expected: Some(record(1, &[0, 1]).version), record: named(next) }
}
