//! The operator's planner, told by brokers what hostile ones might tell.
//!
//! An input is several messages (`wire`): the broker that says it and what becomes of the writes
//! that follow, and a `FromBroker`.

use holdfast_operator::convert;
use holdfast_operator_core::{Action, Input, Planner, Policy, Time, WriteOutcome};
use holdfast_protocol::{BrokerId, FlushMode, ShardId, ShardRecord, UncleanElection, control};
use prost::Message;

use super::wire::{messages, put};
use super::{KIB, MIB, replica};
use crate::{Target, repair};

/// What a planner of two shards and three brokers may take, beside a message.
const MEMORY_BYTES_MAX: usize = 4 * MIB;
/// Actions after one input, beyond which it never comes to an end.
const ACTIONS_MAX: usize = 10_000;

pub(super) const TARGET: Target = Target {
    name: "operator",
    run,
    repair: repair::nothing,
    seeds,
    words: &[&super::shard::Host::INCARNATION],
    input_bytes_max: 4 * KIB,
    memory_bytes_max: MEMORY_BYTES_MAX,
};

fn seeds() -> Vec<Vec<u8>> {
    use control::from_broker::Message as From;
    let mut all = Vec::new();
    for broker in 0..3_u8 {
        let hello =
            control::BrokerHello { broker: broker.into(), boot_counter: 1, ..Default::default() };
        let mut reports = replica::reports();
        let mut other = control::ReplicaReport { shard: 1, ..reports.replicas[0].clone() };
        other.record.iter_mut().for_each(|record| record.shard = 1);
        reports.replicas.push(other);
        for message in [From::Hello(hello), From::Reports(reports)] {
            put(&mut all, broker, &control::FromBroker { message: Some(message) }.encode_to_vec());
        }
    }
    let record = replica::record(3, Some(1));
    let isr = control::IsrRequest {
        epoch: 3,
        expected: Some(record.version.into()),
        isr: record.isr.iter().map(|member| (*member).into()).collect(),
        ..Default::default()
    };
    let resign = control::Resign { shard: 0, epoch: 3, reason: "full".to_owned() };
    for message in
        [From::IsrRequest(isr), From::Resign(resign), From::Stopping(control::Stopping {})]
    {
        put(&mut all, 1, &control::FromBroker { message: Some(message) }.encode_to_vec());
    }
    vec![all]
}

fn run(input: &[u8]) {
    let policy = Policy {
        brokers: 3,
        staying: 3,
        replicas: 2,
        min_in_sync_replicas: 1,
        shards: 2,
        flush: FlushMode::Sync,
        detection_timeout_ms: 1_000,
        move_back_after_ms: 2_000,
        unclean_election: UncleanElection::AllReported,
    };
    let mut now = Time(1_000);
    let records = vec![replica::record(3, Some(1))];
    let mut planner = Planner::new(policy, records, now, 1);
    for (head, message) in messages(input) {
        now.0 += 100;
        let broker = BrokerId(u32::from(head & 3));
        let Ok(message) = control::FromBroker::decode(message) else {
            planner.handle(Input::Broken { broker }, now);
            continue;
        };
        if let Ok(said) = convert::input(broker, message) {
            planner.handle(said, now);
        }
        answer(&mut planner, head, now);
    }
    for _ in 0..20 {
        now.0 += 250;
        planner.handle(Input::Tick, now);
        answer(&mut planner, 0, now);
    }
    let _ = planner.status();
}

/// Carries out what the planner asks of the store, as the head says.
fn answer(planner: &mut Planner, head: u8, now: Time) {
    for number in 0..ACTIONS_MAX {
        let Some(action) = planner.poll_action() else {
            return;
        };
        match action {
            Action::Write { record, .. } => {
                let shard = record.shard;
                // A store that never does what it is asked is asked for ever.
                let outcome = match if number < 8 { head >> 2 & 3 } else { 0 } {
                    0 | 1 => WriteOutcome::Done,
                    2 => WriteOutcome::Unknown,
                    _ => WriteOutcome::Conflict(Some(older(record))),
                };
                planner.handle(Input::Written { shard, outcome }, now);
            }
            Action::Read { shard } => {
                let record = (shard == ShardId(0)).then(|| replica::record(3, Some(1)));
                planner.handle(Input::Read { shard, record }, now);
            }
            Action::Send { message, .. } => drop(message),
            Action::Redial { .. } | Action::Tell(_) => {}
        }
    }
    panic!("the planner comes to no end");
}

fn older(record: ShardRecord) -> ShardRecord {
    let mut older = record;
    older.version.revision = older.version.revision.saturating_sub(1);
    older
}
