//! What survives a failover, and what kept bytes are refused.

use bytes::Bytes;
use holdfast_protocol::Epoch;
use holdfast_protocol::group::{Answer, Error, Generation, Request, State};

use super::driver::{
    Driver, GROUP, INITIAL_REBALANCE_DELAY_MS, SESSION_MS, join, join_static, sync,
};
use crate::group::kept::{self, KeptError};
use crate::group::{Coordinator, Token};

#[test]
fn a_stable_group_goes_on_as_if_nothing_had_happened() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(3);
    let before = driver.describe(GROUP).unwrap();
    driver.advance(SESSION_MS - 1);
    driver.fail_over(2);
    assert_eq!(driver.describe(GROUP).unwrap(), before);
    // Everyone has a whole session again, and no longer.
    driver.advance(SESSION_MS - 1);
    for id in &ids {
        assert_eq!(driver.heartbeat(generation, id), Ok(Answer::Heartbeat));
        let token = driver.send(sync(generation, id, &[]));
        assert_eq!(driver.synced(token).assignment, id.as_bytes());
    }
    assert_eq!(driver.state(), State::Stable);
    driver.advance(SESSION_MS);
    assert_eq!(driver.state(), State::Empty);
    driver.fail_over(3);
    let id = driver.member_id();
    let token = driver.send(join(&id));
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    assert_eq!(driver.joined(token).generation, Generation(3));
}

#[test]
fn static_members_are_known_after_it() {
    let mut driver = Driver::new();
    let token = driver.send(Request::Join(join_static("", "a")));
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    let (generation, ids) = driver.sync_all(&[token]);
    driver.fail_over(2);
    let token = driver.send(Request::Join(join_static("", "a")));
    let joined = driver.joined(token);
    assert_eq!(joined.generation, generation);
    assert_ne!(joined.member, ids[0]);
    assert!(joined.skip_assignment);
}

#[test]
fn a_generation_that_was_not_committed_never_was() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(1);
    driver.holds_changes = true;
    let newcomer = driver.member_id();
    let tokens = [driver.send(join(&ids[0])), driver.send(join(&newcomer))];
    let next = tokens.map(|token| driver.joined(token))[0].generation;
    let waiting = driver.send(sync(next, &ids[0], &[]));
    driver.fail_over(2);
    assert_eq!(driver.error(waiting), Error::NotCoordinator);
    assert_eq!(driver.heartbeat(next, &newcomer), Err(Error::UnknownMember));
    assert_eq!(driver.heartbeat(next, &ids[0]), Err(Error::IllegalGeneration));
    assert_eq!(driver.heartbeat(generation, &ids[0]), Ok(Answer::Heartbeat));
}

#[test]
fn resigning_answers_everyone_once() {
    let mut driver = Driver::new();
    driver.holds_changes = true;
    let id = driver.member_id();
    let waiting = driver.send(join(&id));
    driver.coordinator.handle(driver.now_ms, Token(900), join(""));
    let (other, _) = Coordinator::load(Epoch(2), 0, [], 0);
    let answers = std::mem::replace(&mut driver.coordinator, other).resign();
    assert_eq!(answers.len(), 2);
    assert!(matches!(&answers[0], (Token(900), Err(Error::MemberIdRequired { .. }))));
    assert_eq!(answers[1], (waiting, Err(Error::NotCoordinator)));
}

#[test]
fn kept_state_is_written_back_as_it_was_read() {
    let mut driver = Driver::new();
    driver.stable(3);
    let state = driver.kept[GROUP].clone();
    assert_eq!(state[0], 1, "the version comes first");
    let group = kept::decode(GROUP, &state, 0).unwrap();
    assert_eq!(kept::encode(&group, None), state);
}

#[test]
fn kept_bytes_that_are_no_group_are_refused() {
    let mut driver = Driver::new();
    driver.stable(2);
    let state = driver.kept[GROUP].to_vec();
    let mut newer = state.clone();
    newer[0] = 2;
    let refused = |bytes: &[u8]| kept::decode(GROUP, bytes, 0).map(|_| ()).unwrap_err();
    assert_eq!(refused(&newer), KeptError::Version(2));
    assert!(matches!(refused(b""), KeptError::Impossible(_)));
    assert!(matches!(refused(&state[..state.len() - 1]), KeptError::Garbage(_)));
    // A negative generation; then a generation and a leader without being a member, and so on.
    for message in [
        &b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..],
        b"\x08\x01\x2a\x03\x0a\x01m",
        b"\x12\x01c\x1a\x01r\x22\x01x\x2a\x08\x0a\x01m\x3a\x03\x0a\x01r",
        b"\x12\x01c\x1a\x01r\x22\x01m\x2a\x08\x0a\x01m\x3a\x03\x0a\x01z",
        b"\x12\x01c\x1a\x01r\x22\x01m\x2a\x08\x0a\x01m\x3a\x03\x0a\x01r\x2a\x08\x0a\x01m\x3a\x03\x0a\x01r",
    ] {
        let bytes = [b"\x01", message].concat();
        assert!(
            matches!(refused(&bytes), KeptError::Impossible(_)),
            "{message:?}"
        );
    }
    let whole = b"\x01\x12\x01c\x1a\x01r\x22\x01m\x2a\x08\x0a\x01m\x3a\x03\x0a\x01r";
    assert!(kept::decode(GROUP, whole, 0).is_ok());
}

#[test]
fn a_group_that_can_not_be_read_goes_on_without_members() {
    let groups =
        [("bad".to_owned(), Bytes::from_static(b"\x09")), ("cursors".to_owned(), Bytes::new())];
    let (coordinator, unreadable) = Coordinator::load(Epoch(1), 0, groups, 0);
    assert_eq!(unreadable, [("bad".to_owned(), KeptError::Version(9))]);
    let mut driver = Driver::new();
    driver.coordinator = coordinator;
    for name in ["bad", "cursors"] {
        assert_eq!(driver.describe(name).unwrap().state, State::Empty);
    }
}
