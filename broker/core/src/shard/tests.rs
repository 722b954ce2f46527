//! Tests of the shard: what is placed where, and what a change of leaders does to it. One shard
//! leads alone, or is told by hand what its leader or its followers say.

use bytes::Bytes;
use holdfast_protocol::entry::{Draft, Entries, Kind};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Member, Offset, Position, ShardId, ShardRecord,
    StreamId, TopicId, Version, command,
};

use super::{Placed, Refusal, Shard, Waiters};
use crate::batch::{self, Stamp};
use crate::replica::{
    Answer, Fetch, FetchKey, History, Outcome, Output, Recovered, Replica, Settings,
};
use crate::state::{Change, State};

const STREAM: StreamId = StreamId { topic: TopicId([1; 16]), partition: 0 };

fn member(broker: u32) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation([7; 16]) }
}

/// Broker 0's shard; with two in-sync replicas nothing is committed before broker 1 says so.
fn shard() -> Shard {
    let recovered = Recovered {
        incarnation: member(0).incarnation,
        end: Position(0),
        epochs: History::default(),
        committed: Position(0),
        record: None,
        gaps_until: Position(0),
    };
    let replica = Replica::new(BrokerId(0), ShardId(0), Settings::default(), recovered);
    Shard::new(replica, State::default())
}

fn record(epoch: u32, leader: u32) -> ShardRecord {
    ShardRecord {
        shard: ShardId(0),
        version: Version { generation: 0, revision: u64::from(epoch), writer: 0 },
        epoch: Epoch(epoch),
        leader: Some(member(leader)),
        isr: vec![member(0), member(1)],
        replicas: vec![BrokerId(0), BrokerId(1)],
        min_in_sync_replicas: 2,
        flush: FlushMode::Async,
        unclean_epoch: None,
        loss: None,
        starts: Vec::new(),
        lineage: Default::default(),
    }
}

/// Broker 1 holds the leader's log up to `position`.
fn held_by_other(shard: &mut Shard, position: u64) {
    let replica = shard.replica();
    let position = Position(position);
    let key = FetchKey {
        epoch: replica.epoch(),
        position,
        last_epoch: replica.history().before(position),
    };
    let fetch = Fetch {
        key,
        incarnation: member(1).incarnation,
        held: position,
        committed: Position(0),
        gaps_until: Position(0),
        record: None,
    };
    shard.handle_fetch(BrokerId(1), fetch, 0);
}

/// It leads `epoch`, and all that it has is committed.
fn leads(shard: &mut Shard, epoch: u32) {
    shard.handle_record(record(epoch, 0), 0);
    let end = shard.replica().end().0;
    held_by_other(shard, end);
    assert_eq!(shard.replica().confirmed(), Some(Epoch(epoch)));
}

/// It follows broker 1, whose log parts from its own at `to`, and has `entries` from there on.
fn follows(shard: &mut Shard, epoch: u32, to: u64, entries: &[u8], committed: u64) {
    shard.handle_record(record(epoch, 1), 0);
    let answer = |shard: &mut Shard, outcome: Outcome| {
        let replica = shard.replica();
        let position = replica.end();
        let last_epoch = replica.history().before(position);
        let key = FetchKey { epoch: replica.epoch(), position, last_epoch };
        shard.handle_answer(BrokerId(1), Answer { key, outcome }, 0);
    };
    if shard.replica().end().0 > to {
        let epoch = shard.replica().history().before(Position(to));
        answer(shard, Outcome::Diverged { epoch, end: Position(to) });
    }
    let entries = Bytes::copy_from_slice(entries);
    let count = Entries::verify(entries.clone()).unwrap().headers().len();
    let next = Position(to + count as u64);
    answer(shard, Outcome::Data { entries, committed: Position(committed), next });
    assert_eq!(shard.replica().end(), next);
}

fn start_of(epoch: u32, position: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    Draft::command(Kind::EpochStart, b"").encode(Epoch(epoch), Position(position), &mut bytes);
    bytes
}

/// A batch of one record of producer 5.
fn numbered(sequence: i32) -> Vec<u8> {
    let stamp = Stamp { id: 5, epoch: 0, first: sequence, last: sequence };
    batch::build(1, 1, Some(stamp), b"record")
}

fn placed(offset: u64, until: u64) -> Result<Placed, Refusal> {
    Ok(Placed { offset: Offset(offset), until: Position(until) })
}

#[test]
fn only_a_confirmed_leader_takes_anything() {
    let mut shard = shard();
    assert_eq!(shard.append(STREAM, &numbered(0)), Err(Refusal::NotLeader));
    shard.handle_record(record(1, 0), 0);
    assert_eq!(shard.append(STREAM, &numbered(0)), Err(Refusal::NotLeader));
    held_by_other(&mut shard, 1);
    assert_eq!(shard.append(STREAM, &numbered(0)), placed(0, 2));
    assert_eq!(shard.accepts(), Ok(Epoch(1)));
    let alone = ShardRecord {
        isr: vec![member(0)],
        version: Version { generation: 0, revision: 2, writer: 0 },
        ..record(1, 0)
    };
    shard.handle_record(alone, 0);
    assert_eq!(shard.accepts(), Err(Refusal::NotEnoughReplicas));
    shard.handle_record(record(3, 1), 0);
    assert_eq!(shard.append(STREAM, &numbered(1)), Err(Refusal::NotLeader));
}

#[test]
fn offsets_are_dense_before_and_after_the_commit() {
    let mut shard = shard();
    leads(&mut shard, 1);
    let three = batch::build(3, 1, None, b"three");
    assert_eq!(shard.append(STREAM, &three), placed(0, 2));
    assert_eq!(shard.append(STREAM, &three), placed(3, 3));
    shard.finish(0);
    assert!(shard.state().stream(STREAM).is_none());
    held_by_other(&mut shard, 2);
    assert_eq!(shard.state().stream(STREAM).unwrap().end, Offset(3));
    assert_eq!(shard.append(STREAM, &three), placed(6, 4));
    shard.finish(0);
    held_by_other(&mut shard, 4);
    assert_eq!(shard.append(STREAM, &three), placed(9, 5));
    assert_eq!(shard.poll_change(), Some(Change::Stream(STREAM)));
}

#[test]
fn a_repeated_batch_is_found_committed_or_not() {
    let mut shard = shard();
    leads(&mut shard, 1);
    assert_eq!(shard.append(STREAM, &numbered(0)), placed(0, 2));
    assert_eq!(shard.append(STREAM, &numbered(1)), placed(1, 3));
    assert_eq!(shard.append(STREAM, &numbered(0)), placed(0, 3));
    shard.finish(0);
    held_by_other(&mut shard, 2);
    assert_eq!(shard.append(STREAM, &numbered(0)), placed(0, 3));
    held_by_other(&mut shard, 3);
    assert_eq!(shard.append(STREAM, &numbered(1)), placed(1, 3));
    let gap = Err(Refusal::Gap { found: 3, expected: 2 });
    assert_eq!(shard.append(STREAM, &numbered(3)), gap);
}

#[test]
fn sequence_numbers_survive_a_change_of_leaders() {
    // The entries come from another leader; then this replica leads.
    let mut other = shard();
    leads(&mut other, 1);
    other.append(STREAM, &numbered(0)).unwrap();
    other.append(STREAM, &numbered(1)).unwrap();
    other.finish(0);
    let log: Vec<u8> = std::iter::from_fn(|| other.poll_output())
        .filter_map(|output| match output {
            Output::Append(entries) => Some(entries.bytes().to_vec()),
            _ => None,
        })
        .flatten()
        .collect();

    let mut shard = shard();
    follows(&mut shard, 1, 0, &log, 2);
    leads(&mut shard, 2);
    assert_eq!(shard.append(STREAM, &numbered(1)), placed(1, 4));
    assert_eq!(shard.append(STREAM, &numbered(2)), placed(2, 5));
}

#[test]
fn sequence_numbers_and_offsets_roll_back_with_entries_that_are_cut() {
    let mut shard = shard();
    leads(&mut shard, 1);
    shard.append(STREAM, &numbered(0)).unwrap();
    shard.finish(0);
    held_by_other(&mut shard, 2);
    shard.append(STREAM, &numbered(1)).unwrap();
    shard.append(STREAM, &numbered(2)).unwrap();
    shard.finish(0);
    follows(&mut shard, 2, 2, &start_of(2, 2), 3);
    leads(&mut shard, 3);
    let gap = Err(Refusal::Gap { found: 2, expected: 1 });
    assert_eq!(shard.append(STREAM, &numbered(2)), gap);
    assert_eq!(shard.append(STREAM, &numbered(1)), placed(1, 5));
}

#[test]
fn a_stream_behind_its_uncommitted_drop_begins_anew() {
    let mut shard = shard();
    leads(&mut shard, 1);
    shard.append(STREAM, &numbered(0)).unwrap();
    shard.append(STREAM, &numbered(1)).unwrap();
    shard.finish(0);
    held_by_other(&mut shard, 3);
    shard.command_on(STREAM, Kind::DropStream, &command::DropStream {}).unwrap();
    assert_eq!(shard.append(STREAM, &numbered(0)), placed(0, 5));
    assert_eq!(shard.append(STREAM, &numbered(1)), placed(1, 6));
    assert_eq!(shard.append(STREAM, &numbered(0)), placed(0, 6));
    shard.finish(0);
    held_by_other(&mut shard, 6);
    assert_eq!(shard.state().stream(STREAM).unwrap().end, Offset(2));
    assert_eq!(shard.append(STREAM, &numbered(2)), placed(2, 7));
}

#[test]
fn what_is_no_batch_is_refused_and_leaves_nothing() {
    let mut shard = shard();
    leads(&mut shard, 1);
    let mut bytes = numbered(0);
    bytes.push(0);
    assert!(matches!(shard.append(STREAM, &bytes), Err(Refusal::Batch(_))));
    assert_eq!(shard.buffered(), 0);
    assert_eq!(shard.append(STREAM, &numbered(0)), placed(0, 2));
}

#[test]
fn too_much_that_is_not_committed_is_said() {
    let mut shard = shard();
    leads(&mut shard, 1);
    let bytes = batch::build(1, 1, None, b"");
    for _ in 0..super::UNCOMMITTED_ENTRIES_MAX {
        assert!(!shard.is_full());
        shard.append(STREAM, &bytes).unwrap();
    }
    assert!(shard.is_full());
    shard.finish(0);
    let end = shard.replica().end().0;
    held_by_other(&mut shard, end);
    assert!(!shard.is_full());
}

#[test]
fn the_state_of_a_checkpoint_is_committed_whatever_the_hint_says() {
    let mut shard = shard();
    leads(&mut shard, 1);
    shard.append(STREAM, &numbered(0)).unwrap();
    shard.finish(0);
    held_by_other(&mut shard, 2);
    let (state, epochs) = State::decode(&shard.state().encode(shard.replica().history())).unwrap();
    let recovered = Recovered {
        incarnation: member(0).incarnation,
        end: Position(2),
        epochs,
        committed: Position(0),
        record: None,
        gaps_until: Position(0),
    };
    let replica = Replica::new(BrokerId(0), ShardId(0), Settings::default(), recovered);
    assert_eq!(Shard::new(replica, state).replica().committed(), Position(2));
}

#[test]
fn waiters_wait_in_the_order_of_the_log() {
    let mut waiters = Waiters::default();
    for (until, who) in [(1, 'a'), (3, 'b'), (3, 'c'), (4, 'd')] {
        waiters.push(Position(until), who);
    }
    let mut woken = |reached| {
        let mut woken = String::new();
        while let Some(who) = waiters.pop(Position(reached)) {
            woken.push(who);
        }
        woken
    };
    assert_eq!((woken(0), woken(1), woken(3)), (String::new(), "a".into(), "bc".into()));
    assert_eq!(waiters.drain().collect::<String>(), "d");
    assert!(waiters.is_empty());
}

#[test]
fn a_state_is_current_once_it_has_what_the_leader_tells_first() {
    let mut shard = shard();
    assert!(!shard.is_current());
    shard.handle_record(record(1, 1), 0);
    let key = |position| FetchKey { epoch: Epoch(1), position, last_epoch: Epoch(0) };
    let data = |key: FetchKey, entries: Vec<u8>, committed, next| {
        let outcome = Outcome::Data { entries: entries.into(), committed, next };
        Answer { key, outcome }
    };
    let next = Position(1);
    let first = data(key(Position(0)), start_of(1, 0), Position(2), next);
    shard.handle_answer(BrokerId(1), first, 0);
    assert!(!shard.is_current(), "it has one entry of two");
    let key = FetchKey { last_epoch: Epoch(1), ..key(next) };
    let second = data(key, start_of(1, 1), Position(2), Position(2));
    shard.handle_answer(BrokerId(1), second, 0);
    assert!(shard.is_current());
}

#[test]
fn what_a_leader_tells_that_has_not_committed_anything_makes_no_state_current() {
    let mut shard = shard();
    shard.handle_record(record(2, 1), 0);
    let key = |position, last| FetchKey { epoch: Epoch(2), position, last_epoch: Epoch(last) };
    let data = |key: FetchKey, entries: Vec<u8>, committed, next| {
        let outcome = Outcome::Data { entries: entries.into(), committed, next };
        Answer { key, outcome }
    };
    // All brokers were started anew: nobody knows yet that the first entry was committed.
    let first = data(key(Position(0), 0), start_of(1, 0), Position(0), Position(1));
    shard.handle_answer(BrokerId(1), first, 0);
    assert!(!shard.is_current(), "the leader does not know what is committed");
    let second = data(key(Position(1), 1), start_of(2, 1), Position(2), Position(2));
    shard.handle_answer(BrokerId(1), second, 0);
    assert!(shard.is_current());
}

#[test]
fn what_was_told_before_a_loss_is_not_waited_for() {
    let mut shard = shard();
    shard.handle_record(record(2, 1), 0);
    let data = |epoch, (position, last), entries: Vec<u8>, committed| {
        let key =
            FetchKey { epoch: Epoch(epoch), position: Position(position), last_epoch: Epoch(last) };
        let next = Position(position + 1);
        let outcome = Outcome::Data { entries: entries.into(), committed, next };
        Answer { key, outcome }
    };
    let first = data(2, (0, 0), start_of(2, 0), Position(9));
    shard.handle_answer(BrokerId(1), first, 0);
    assert!(!shard.is_current(), "it has the first of nine");
    // The others are lost with all who had them; somebody who has less is elected.
    shard.handle_record(ShardRecord { unclean_epoch: Some(Epoch(3)), ..record(3, 1) }, 0);
    let second = data(3, (1, 2), start_of(3, 1), Position(2));
    shard.handle_answer(BrokerId(1), second, 0);
    assert!(shard.is_current());
}

#[test]
fn a_committed_entry_that_no_leader_writes_stops_the_replica_and_nothing_else() {
    let garbled = Draft::command(Kind::CommitOffsets, b"\xff\xff garbled");
    let sparse = Draft {
        kind: Kind::Append,
        stream: STREAM,
        count: 1,
        offset: Offset(7),
        ..Draft::command(Kind::Append, b"")
    };
    for (draft, reason) in [(garbled, "its body can't be read"), (sparse, "where 0 follows")] {
        let mut shard = shard();
        let mut entries = start_of(1, 0);
        draft.encode(Epoch(1), Position(1), &mut entries);
        Draft::command(Kind::KeepGroup, b"").encode(Epoch(1), Position(2), &mut entries);
        follows(&mut shard, 1, 0, &entries, 1);
        assert!(!shard.replica().is_halted(), "it is not committed yet");
        follows(&mut shard, 2, 3, &start_of(2, 3), 4);
        assert!(shard.replica().is_halted());
        assert_eq!(
            shard.state().position(),
            Position(1),
            "nothing of it was applied, nor after it"
        );
        let outputs: Vec<Output> = std::iter::from_fn(|| shard.poll_output()).collect();
        let faults: Vec<String> = outputs
            .into_iter()
            .filter_map(|output| match output {
                Output::Halt(fault) => Some(fault.to_string()),
                _ => None,
            })
            .collect();
        assert!(faults.len() == 1 && faults[0].contains(reason), "{faults:?}");
        shard.handle_tick(1_000);
        shard.handle_record(record(3, 0), 1_000);
        assert_eq!(shard.replica().leads(), None, "it never leads");
    }
}

#[test]
fn a_trim_counts_from_the_one_that_waits_before_it() {
    let mut shard = shard();
    leads(&mut shard, 1);
    for sequence in 0..4 {
        shard.append(STREAM, &numbered(sequence)).unwrap();
    }
    shard.finish(0);
    held_by_other(&mut shard, 5);
    let bytes = shard.state().stream(STREAM).unwrap().bytes;
    assert_eq!(shard.kept(STREAM), (Offset(0), bytes));
    let trim = |shard: &mut Shard, start, bytes| {
        let body = command::TrimStream { start, bytes };
        shard.command_on(STREAM, Kind::TrimStream, &body).unwrap();
    };
    trim(&mut shard, 2, bytes / 2);
    assert_eq!(shard.kept(STREAM), (Offset(2), bytes / 2), "while it waits");
    trim(&mut shard, 3, bytes / 4);
    assert_eq!(shard.kept(STREAM), (Offset(3), bytes / 4));
    shard.finish(0);
    held_by_other(&mut shard, 6);
    assert_eq!(shard.state().stream(STREAM).unwrap().start, Offset(2));
    assert_eq!(shard.kept(STREAM), (Offset(3), bytes / 4), "one is committed");
    held_by_other(&mut shard, 7);
    assert_eq!(shard.state().stream(STREAM).unwrap().bytes, bytes / 4);
    assert_eq!(shard.kept(STREAM), (Offset(3), bytes / 4));
}
