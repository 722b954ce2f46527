//! Cursors: who may move and drop them, and what is answered when.

use holdfast_protocol::group::{
    Answer, CommitOffset, CommitOffsets, DropOffsets, DropTopic, Error, FetchOffsets, Generation,
    Join, Request, State,
};
use holdfast_protocol::{Offset, StreamId, TopicId};

use super::driver::{Driver, GROUP, INITIAL_REBALANCE_DELAY_MS, SESSION_MS, join, joining};
use crate::group::limits::{COMMIT_BYTES_MAX, OFFSET_METADATA_BYTES_MAX, RETIRE_CHECK_MS};
use crate::group::{KeepError, Output, Token};

fn stream(partition: u32) -> StreamId {
    StreamId { topic: TopicId([1; 16]), partition }
}

fn offset(partition: u32, metadata_bytes: usize) -> CommitOffset {
    CommitOffset {
        stream: stream(partition),
        offset: Offset(7),
        leader_epoch: -1,
        metadata: "m".repeat(metadata_bytes),
    }
}

fn commit_as(generation: Generation, member: &str) -> CommitOffsets {
    CommitOffsets {
        group: GROUP.to_owned(),
        generation,
        member: member.to_owned(),
        instance: None,
        offsets: vec![offset(0, 0)],
    }
}

fn commit(generation: Generation, member: &str) -> Request {
    Request::CommitOffsets(commit_as(generation, member))
}

fn committed() -> Result<Answer, Error> {
    Ok(Answer::CommitOffsets(vec![(stream(0), Ok(()))]))
}

fn drop(topics: &[(&str, u32)]) -> Request {
    let topics = topics.iter().map(|(name, partition)| DropTopic {
        name: (*name).to_owned(),
        streams: vec![stream(*partition)],
    });
    Request::DropOffsets(DropOffsets { group: GROUP.to_owned(), topics: topics.collect() })
}

#[test]
fn a_simple_consumer_makes_a_group_that_only_has_cursors() {
    let mut driver = Driver::new();
    driver.holds_changes = true;
    let token = driver.send(commit(Generation::NONE, ""));
    assert_eq!(driver.answer(token), None, "not before it is committed");
    driver.resolve(Ok(()));
    assert_eq!(driver.answer(token), Some(committed()));
    let described = driver.describe(GROUP).unwrap();
    assert_eq!((described.state, &*described.protocol_type), (State::Empty, ""));
    driver.holds_changes = false;
    driver.fail_over(2);
    assert_eq!(driver.state(), State::Empty);
    // It keeps its place for as long as it has cursors.
    driver.advance(RETIRE_CHECK_MS * 3);
    assert_eq!(driver.state(), State::Empty);
    driver.with_offsets.clear();
    driver.advance(RETIRE_CHECK_MS);
    assert_eq!(driver.describe(GROUP), Err(Error::GroupIdNotFound));
    assert!(driver.kept.is_empty());
}

#[test]
fn a_commit_carries_the_cursor_and_the_time() {
    let mut driver = Driver::new();
    let mut request = commit_as(Generation::NONE, "");
    request.offsets = vec![offset(3, 2)];
    let coordinator = &mut driver.coordinator;
    coordinator.handle(5_000, Token(900), Request::CommitOffsets(request));
    let Some(Output::Commit { command, .. }) = coordinator.poll_output() else {
        panic!("a commit is due");
    };
    let [cursor] = &command.cursors[..] else {
        panic!("one cursor is due");
    };
    assert_eq!(command.group, GROUP);
    assert_eq!(cursor.topic, vec![1; 16]);
    assert_eq!((cursor.partition, cursor.offset, cursor.leader_epoch), (3, 7, -1));
    assert_eq!((&*cursor.metadata, cursor.committed_ms), ("mm", 5_000));
}

#[test]
fn members_commit_in_their_generation_only() {
    let mut driver = Driver::new();
    assert_eq!(driver.ask(commit(Generation(1), "x")), Err(Error::IllegalGeneration));
    let id = driver.member_id();
    assert_eq!(driver.ask(commit(Generation(0), &id)), Err(Error::UnknownMember));
    let token = driver.send(join(&id));
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    let generation = driver.joined(token).generation;
    assert_eq!(
        driver.ask(commit(generation, &id)),
        Err(Error::RebalanceInProgress),
        "it has no assignment yet"
    );
    driver.ask(super::driver::sync(generation, &id, &[])).unwrap();
    for (generation, member, expected) in [
        (generation, &*id, committed()),
        (generation.next(), &*id, Err(Error::IllegalGeneration)),
        (Generation(0), &*id, Err(Error::IllegalGeneration)),
        (generation, "x", Err(Error::UnknownMember)),
        (Generation::NONE, "", Err(Error::UnknownMember)),
        (Generation::NONE, &*id, Err(Error::IllegalGeneration)),
    ] {
        assert_eq!(driver.ask(commit(generation, member)), expected);
    }
    let mut fenced = commit_as(generation, &id);
    fenced.instance = Some("i".to_owned());
    assert_eq!(driver.ask(Request::CommitOffsets(fenced)), Err(Error::UnknownMember));
    // During a rebalance, members hand in what they have done so far.
    driver.member_id();
    driver.send(join(&id));
    assert_eq!(driver.state(), State::PreparingRebalance);
    assert_eq!(driver.ask(commit(generation, &id)), committed());
}

#[test]
fn nobody_commits_in_a_generation_whose_assignment_it_was_not_given() {
    let refused = || Err(Error::RebalanceInProgress);
    let mut driver = Driver::new();
    let (old, ids) = driver.stable(2);
    let (leader, other) = (&ids[0], &ids[1]);
    // Both join again, and only the leader hears of the assignment.
    let tokens = [driver.send(join(leader)), driver.send(join(other))];
    let generation = driver.joined(tokens[0]).generation;
    assert_eq!(generation, old.next());
    driver.ask(super::driver::sync(generation, leader, &[])).unwrap();
    assert_eq!(driver.state(), State::Stable);
    assert_eq!(driver.ask(commit(generation, leader)), committed());
    assert_eq!(driver.ask(commit(generation, other)), refused(), "its streams may be the leader's");
    driver.ask(super::driver::sync(generation, other, &[])).unwrap();
    assert_eq!(driver.ask(commit(generation, other)), committed());
    // A generation that ends before it has an assignment never was anybody's to commit in.
    let tokens = [driver.send(join(leader)), driver.send(join(other))];
    let generation = driver.joined(tokens[0]).generation;
    let waiting = driver.send(super::driver::sync(generation, other, &[]));
    let newcomer = driver.member_id();
    driver.send(join(&newcomer));
    assert_eq!(driver.error(waiting), Error::RebalanceInProgress);
    assert_eq!(driver.state(), State::PreparingRebalance);
    for id in [leader, other] {
        assert_eq!(driver.ask(commit(generation, id)), refused());
    }
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(1);
    for _ in 0..3 {
        driver.advance(SESSION_MS - 1);
        assert_eq!(driver.ask(commit(generation, &ids[0])), committed());
    }
    driver.advance(SESSION_MS);
    assert_eq!(driver.state(), State::Empty);
}

#[test]
fn each_stream_has_its_own_outcome() {
    let mut driver = Driver::new();
    let too_large = OFFSET_METADATA_BYTES_MAX + 1;
    let error = Error::OffsetMetadataTooLarge { bytes: too_large, max: OFFSET_METADATA_BYTES_MAX };
    let mut request = commit_as(Generation::NONE, "");
    request.offsets = vec![offset(0, OFFSET_METADATA_BYTES_MAX), offset(1, too_large)];
    let both = Request::CommitOffsets(request.clone());
    assert_eq!(
        driver.ask(both.clone()),
        Ok(Answer::CommitOffsets(vec![(stream(0), Ok(())), (stream(1), Err(error.clone()))]))
    );
    driver.holds_changes = true;
    for (lost, told) in [
        (KeepError::NotKept, Error::CoordinatorNotAvailable),
        (KeepError::LeadershipLost, Error::NotCoordinator),
    ] {
        let token = driver.send(both.clone());
        driver.resolve(Err(lost));
        assert_eq!(
            driver.answer(token),
            Some(Ok(Answer::CommitOffsets(vec![
                (stream(0), Err(told)),
                (stream(1), Err(error.clone()))
            ])))
        );
    }
    request.offsets.remove(0);
    request.group = "new".to_owned();
    let answer = driver.ask(Request::CommitOffsets(request));
    assert_eq!(answer, Ok(Answer::CommitOffsets(vec![(stream(1), Err(error))])));
    assert_eq!(driver.describe("new"), Err(Error::GroupIdNotFound));
    assert_eq!(driver.changes(), 0);
}

#[test]
fn a_commit_is_bounded() {
    let mut driver = Driver::new();
    let mut request = commit_as(Generation::NONE, "");
    let each = OFFSET_METADATA_BYTES_MAX;
    let count = u32::try_from(COMMIT_BYTES_MAX / each).unwrap();
    request.offsets = (0..count).map(|partition| offset(partition, each)).collect();
    assert_eq!(driver.ask(Request::CommitOffsets(request)), Err(Error::InvalidCommitOffsetSize));
    assert_eq!(driver.describe(GROUP), Err(Error::GroupIdNotFound));
}

#[test]
fn cursors_of_topics_that_are_read_stay() {
    let mut driver = Driver::new();
    assert_eq!(driver.ask(drop(&[("orders", 0)])), Err(Error::GroupIdNotFound));
    let (_, ids) = driver.stable(1);
    driver.holds_changes = true;
    let token = driver.send(drop(&[("orders", 0), ("others", 1)]));
    assert_eq!((driver.answer(token), driver.changes()), (None, 1));
    driver.resolve(Ok(()));
    let refused = (stream(0), Err(Error::GroupSubscribedToTopic));
    assert_eq!(
        driver.answer(token),
        Some(Ok(Answer::DropOffsets(vec![refused.clone(), (stream(1), Ok(()))])))
    );
    assert_eq!(driver.ask(drop(&[("orders", 0)])), Ok(Answer::DropOffsets(vec![refused])));
    driver.holds_changes = false;
    driver.leave(&[(&ids[0], None)]);
    assert_eq!(
        driver.ask(drop(&[("orders", 0)])),
        Ok(Answer::DropOffsets(vec![(stream(0), Ok(()))]))
    );
}

#[test]
fn what_members_read_is_not_guessed() {
    let mut driver = Driver::new();
    let mut unreadable = joining("");
    unreadable.require_known_member_id = false;
    unreadable.protocols[0].metadata = b"?".as_slice().into();
    driver.send(Request::Join(unreadable.clone()));
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    assert_eq!(
        driver.ask(drop(&[("any", 0)])),
        Ok(Answer::DropOffsets(vec![(stream(0), Err(Error::GroupSubscribedToTopic))]))
    );
    let mut driver = Driver::new();
    driver.send(Request::Join(Join { protocol_type: "connect".to_owned(), ..unreadable }));
    assert_eq!(driver.ask(drop(&[("any", 0)])), Err(Error::NonEmptyGroup));
}

#[test]
fn fetching_is_left_to_the_state() {
    let mut driver = Driver::new();
    let fetch = FetchOffsets { group: GROUP.to_owned(), streams: None };
    let coordinator = &mut driver.coordinator;
    coordinator.handle(1_000, Token(900), Request::FetchOffsets(fetch.clone()));
    let token = Token(900);
    assert_eq!(coordinator.poll_output(), Some(Output::Fetch { token, fetch }));
}
