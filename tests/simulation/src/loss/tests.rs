//! What is said of unclean elections, as the store has them.

use holdfast_protocol::{BrokerId, FlushMode, Lineage, Member, UncleanElection, Version};

use super::*;
use crate::event::Event;
use crate::moves::Wants;

const SHARD: ShardId = ShardId(1);
const RANGE: LossRange = LossRange { from: Position(3), to: Position(5) };

fn member(broker: u32) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation([7; 16]) }
}

fn record(version: u64, unclean: Option<Epoch>, loss: Option<LossRange>) -> ShardRecord {
    ShardRecord {
        shard: SHARD,
        version: Version { revision: version, ..Version::default() },
        epoch: Epoch(1),
        leader: None,
        isr: vec![member(0), member(1)],
        replicas: vec![BrokerId(0), BrokerId(1)],
        min_in_sync_replicas: 2,
        flush: FlushMode::Async,
        unclean_epoch: unclean,
        loss,
        starts: Vec::new(),
        lineage: Box::new(Lineage::default()),
    }
}

/// A world in Async mode, in which the logs of these brokers lost something, and in which an unclean
/// election was just written that may have lost this.
fn elected(lossy: &[u32], loss: Option<LossRange>) -> World {
    let mut world = World::new(1, Wants::steady());
    world.shape.flush = FlushMode::Async;
    world.shape.unclean = UncleanElection::AllReported;
    world.note_committed(SHARD, Position(5));
    let lossy = lossy.iter().map(|broker| (SHARD, member(*broker).incarnation));
    world.losses.lossy.extend(lossy);
    let first = record(1, None, None);
    let expected = first.version;
    assert_eq!(world.store.swap(None, first), Ok(()));
    assert_eq!(world.store.swap(Some(expected), record(2, Some(Epoch(2)), loss)), Ok(()));
    world
}

#[track_caller]
fn assert_finds(found: Result<(), String>, what: &str) {
    let violation = found.expect_err("a violation");
    assert!(violation.contains(what), "not `{what}`, but: {violation}");
}

#[test]
fn an_election_is_unclean_only_where_every_log_lost_something() {
    assert_eq!(elected(&[0, 1], Some(RANGE)).judge_elections(), Ok(()));
    assert_finds(elected(&[], Some(RANGE)).judge_elections(), "still had everything");
}

#[test]
fn what_it_may_have_lost_is_within_what_was_committed() {
    let beyond = LossRange { to: Position(6), ..RANGE };
    assert_finds(elected(&[0, 1], Some(beyond)).judge_elections(), "of 5 committed");
    let turned = LossRange { from: Position(5), to: Position(3) };
    assert_finds(elected(&[0, 1], Some(turned)).judge_elections(), "of 5 committed");
    assert_finds(elected(&[0, 1], None).judge_elections(), "without a range");
}

#[test]
fn in_sync_mode_nothing_may_be_lost() {
    let mut world = elected(&[0, 1], Some(RANGE));
    world.shape.flush = FlushMode::Sync;
    assert_finds(world.judge_elections(), "lost in Sync mode");
}

#[test]
fn what_is_told_is_what_was_written() {
    let mut world = elected(&[0, 1], Some(RANGE));
    assert_eq!(world.judge_elections(), Ok(()));
    world.quiet = true;
    for (told, is_so) in [(RANGE, true), (LossRange { to: Position(4), ..RANGE }, false)] {
        world.judge_told(SHARD, Epoch(2), told);
        world.after(0, Event::Fault);
        match world.step() {
            Ok(()) => assert!(is_so),
            found => assert_finds(found, "was told to be lost"),
        }
    }
}
