//! Sync, heartbeats and sessions: assignments are told only once committed.

use bytes::Bytes;
use holdfast_protocol::group::{Answer, Error, Generation, Request, State, Sync};

use super::driver::{
    Driver, GROUP, INITIAL_REBALANCE_DELAY_MS, REBALANCE_MS, SESSION_MS, join, sync,
};
use crate::group::KeepError;
use crate::group::limits::ASSIGNMENT_BYTES_MAX;

/// Two members that have joined and not synced; the leader first.
fn completing(driver: &mut Driver) -> (Generation, String, String) {
    let ids = [driver.member_id(), driver.member_id()];
    let tokens = ids.clone().map(|id| driver.send(join(&id)));
    driver.advance(INITIAL_REBALANCE_DELAY_MS * 2);
    let joined = tokens.map(|token| driver.joined(token));
    let leader = joined[0].leader.clone();
    let other = ids.into_iter().find(|id| *id != leader).unwrap();
    (joined[0].generation, leader, other)
}

#[test]
fn assignments_are_told_once_they_are_committed() {
    let mut driver = Driver::new();
    driver.holds_changes = true;
    let (generation, leader, other) = completing(&mut driver);
    let ids = [leader.clone(), other.clone()];
    let follower = driver.send(sync(generation, &other, &[]));
    assert_eq!(driver.changes(), 0);
    let first = driver.send(sync(generation, &leader, &ids));
    assert_eq!(driver.changes(), 1);
    // The leader repeats itself: the first assignment stands, and is kept once.
    let again = driver.send(sync(generation, &leader, &[]));
    assert_eq!(driver.changes(), 1);
    assert_eq!(driver.error(first), Error::RebalanceInProgress);
    assert_eq!((driver.answer(follower), driver.answer(again)), (None, None));
    assert_eq!(driver.state(), State::CompletingRebalance);
    driver.resolve(Ok(()));
    assert_eq!(driver.state(), State::Stable);
    assert_eq!(driver.synced(follower).assignment, other.as_bytes());
    let synced = driver.synced(again);
    assert_eq!(synced.assignment, leader.as_bytes());
    assert_eq!((&*synced.protocol_type, &*synced.protocol), ("consumer", "range"));
    // Asked again, the same is told.
    let late = driver.send(sync(generation, &other, &[]));
    assert_eq!(driver.synced(late).assignment, other.as_bytes());
}

#[test]
fn an_assignment_that_can_not_be_kept_is_made_anew() {
    let mut driver = Driver::new();
    driver.holds_changes = true;
    let (generation, leader, other) = completing(&mut driver);
    let tokens =
        [driver.send(sync(generation, &leader, &[])), driver.send(sync(generation, &other, &[]))];
    driver.resolve(Err(KeepError::NotKept));
    for token in tokens {
        assert_eq!(driver.error(token), Error::CoordinatorNotAvailable);
    }
    assert_eq!(driver.state(), State::PreparingRebalance);
    driver.holds_changes = false;
    let tokens = [driver.send(join(&leader)), driver.send(join(&other))];
    assert_eq!(driver.sync_all(&tokens).0, generation.next());
}

#[test]
fn a_rebalance_overtakes_an_assignment_on_its_way_to_the_log() {
    let mut driver = Driver::new();
    driver.holds_changes = true;
    let (generation, leader, other) = completing(&mut driver);
    let token = driver.send(sync(generation, &leader, &[]));
    driver.leave(&[(&other, None)]);
    assert_eq!(driver.error(token), Error::RebalanceInProgress);
    let token = driver.send(join(&leader));
    assert_eq!(driver.joined(token).generation, generation.next());
    driver.resolve(Ok(()));
    assert_eq!(driver.state(), State::CompletingRebalance, "the late outcome is void");
    let token = driver.send(sync(generation.next(), &leader, std::slice::from_ref(&leader)));
    driver.resolve(Ok(()));
    assert_eq!(driver.synced(token).assignment, leader.as_bytes());
}

#[test]
fn a_sync_of_another_generation_member_or_protocol_is_refused() {
    let mut driver = Driver::new();
    let (generation, leader, _) = completing(&mut driver);
    let asked = |driver: &mut Driver, change: fn(&mut Sync)| {
        let Request::Sync(mut request) = sync(generation, &leader, &[]) else {
            unreachable!();
        };
        change(&mut request);
        driver.ask(Request::Sync(request)).unwrap_err()
    };
    for (change, error) in [
        ((|sync| sync.group = "other".into()) as fn(&mut Sync), Error::UnknownMember),
        (|sync| sync.member = "other".into(), Error::UnknownMember),
        (|sync| sync.instance = Some("other".into()), Error::UnknownMember),
        (|sync| sync.generation = Generation(0), Error::IllegalGeneration),
        (|sync| sync.generation = Generation(2), Error::IllegalGeneration),
        (|sync| sync.protocol_type = Some("connect".into()), Error::InconsistentProtocol),
        (|sync| sync.protocol = Some("sticky".into()), Error::InconsistentProtocol),
        (
            |sync| {
                let bytes = Bytes::from(vec![0; ASSIGNMENT_BYTES_MAX + 1]);
                sync.assignments = vec![(sync.member.clone(), bytes)];
            },
            Error::AssignmentTooLarge {
                bytes: ASSIGNMENT_BYTES_MAX + 1,
                max: ASSIGNMENT_BYTES_MAX,
            },
        ),
    ] {
        assert_eq!(asked(&mut driver, change), error);
    }
    driver.leave(&[(&leader, None)]);
    assert_eq!(driver.state(), State::PreparingRebalance);
}

#[test]
fn who_never_syncs_is_out() {
    let mut driver = Driver::new();
    let (generation, leader, other) = completing(&mut driver);
    let token = driver.send(sync(generation, &leader, std::slice::from_ref(&leader)));
    assert_eq!(driver.synced(token).assignment, leader.as_bytes());
    // The other one lives and never asks for its assignment.
    for _ in 0..(REBALANCE_MS / 5_000) {
        assert_eq!(driver.heartbeat(generation, &leader), Ok(Answer::Heartbeat));
        assert_eq!(driver.heartbeat(generation, &other), Ok(Answer::Heartbeat));
        driver.advance(5_000);
    }
    assert_eq!(driver.heartbeat(generation, &other), Err(Error::UnknownMember));
    assert_eq!(driver.heartbeat(generation, &leader), Err(Error::RebalanceInProgress));
}

#[test]
fn who_synced_in_an_earlier_generation_must_sync_again() {
    let mut driver = Driver::new();
    let (_, ids) = driver.stable(2);
    let tokens = [driver.send(join(&ids[0])), driver.send(join(&ids[1]))];
    let generation = tokens.map(|token| driver.joined(token))[0].generation;
    driver.send(sync(generation, &ids[0], &ids));
    for _ in 0..(REBALANCE_MS / 5_000) {
        for id in &ids {
            assert_eq!(driver.heartbeat(generation, id), Ok(Answer::Heartbeat));
        }
        driver.advance(5_000);
    }
    assert_eq!(driver.heartbeat(generation, &ids[1]), Err(Error::UnknownMember));
}

#[test]
fn an_older_generation_committed_late_does_not_stand_for_the_next() {
    let mut driver = Driver::new();
    driver.holds_changes = true;
    let (generation, leader, other) = completing(&mut driver);
    driver.send(sync(generation, &leader, &[]));
    driver.leave(&[(&other, None)]);
    let token = driver.send(join(&leader));
    assert_eq!(driver.joined(token).generation, generation.next());
    let token = driver.send(sync(generation.next(), &leader, std::slice::from_ref(&leader)));
    driver.resolve_one(Ok(()));
    assert_eq!(driver.answer(token), None, "that was the generation before");
    driver.resolve_one(Ok(()));
    assert_eq!(driver.synced(token).assignment, leader.as_bytes());
}

#[test]
fn a_leader_that_never_syncs_is_out() {
    let mut driver = Driver::new();
    let (generation, leader, other) = completing(&mut driver);
    let waiting = driver.send(sync(generation, &other, &[]));
    for _ in 0..(REBALANCE_MS / 5_000) {
        assert_eq!(driver.answer(waiting), None, "waiting is no silence");
        let _ = driver.heartbeat(generation, &leader);
        driver.advance(5_000);
    }
    assert_eq!(driver.error(waiting), Error::RebalanceInProgress);
    let token = driver.send(join(&other));
    assert_eq!(driver.joined(token).leader, other);
}

#[test]
fn a_session_lasts_as_long_as_heartbeats_come() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(2);
    for _ in 0..10 {
        driver.advance(SESSION_MS - 1);
        for id in &ids {
            assert_eq!(driver.heartbeat(generation, id), Ok(Answer::Heartbeat));
        }
    }
    driver.advance(SESSION_MS / 2);
    assert_eq!(driver.heartbeat(generation, &ids[0]), Ok(Answer::Heartbeat));
    driver.advance(SESSION_MS / 2);
    assert_eq!(driver.state(), State::PreparingRebalance);
    assert_eq!(driver.heartbeat(generation, &ids[1]), Err(Error::UnknownMember));
    let token = driver.send(join(&ids[0]));
    assert_eq!(driver.sync_all(&[token]).0, generation.next());
    driver.advance(SESSION_MS);
    assert_eq!(driver.state(), State::Empty);
}

#[test]
fn heartbeats_of_others_are_refused() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(1);
    assert_eq!(driver.heartbeat(generation, "other"), Err(Error::UnknownMember));
    assert_eq!(driver.heartbeat(generation.next(), &ids[0]), Err(Error::IllegalGeneration));
    driver.leave(&[(&ids[0], None)]);
    assert_eq!(driver.heartbeat(generation, &ids[0]), Err(Error::UnknownMember));
    assert_eq!(driver.describe(GROUP).unwrap().members, []);
}
