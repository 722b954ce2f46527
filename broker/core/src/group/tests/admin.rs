//! Describe, list, delete, and groups that go by themselves.

use holdfast_protocol::group::{
    Answer, CommitOffsets, DeleteGroups, Error, Generation, Join, List, Listed, Request, State,
};

use super::driver::{
    Driver, GROUP, INITIAL_REBALANCE_DELAY_MS, REBALANCE_MS, SESSION_MS, join, joining,
    subscription,
};
use crate::group::KeepError;
use crate::group::limits::{CHANGES_IN_FLIGHT_MAX, RETIRE_CHECK_MS};

fn delete(groups: &[&str]) -> Request {
    let groups = groups.iter().map(|group| (*group).to_owned());
    Request::DeleteGroups(DeleteGroups { groups: groups.collect() })
}

fn deleted(results: &[(&str, Result<(), Error>)]) -> Result<Answer, Error> {
    let results = results.iter();
    Ok(Answer::DeleteGroups(
        results.map(|(group, result)| ((*group).to_owned(), result.clone())).collect(),
    ))
}

fn list(driver: &mut Driver, states: Option<Vec<State>>) -> Vec<Listed> {
    match driver.ask(Request::List(List { states })) {
        Ok(Answer::List(listed)) => listed,
        other => panic!("{other:?}"),
    }
}

fn empty_group(driver: &mut Driver) {
    let (_, ids) = driver.stable(1);
    driver.leave(&[(&ids[0], None)]);
    assert_eq!(driver.state(), State::Empty);
}

#[test]
fn a_stable_group_is_described_in_full_and_others_in_outline() {
    let mut driver = Driver::new();
    let (_, ids) = driver.stable(2);
    let described = driver.describe(GROUP).unwrap();
    assert_eq!(described.state, State::Stable);
    assert_eq!((&*described.protocol_type, &*described.protocol), ("consumer", "range"));
    assert_eq!(described.members.len(), 2);
    for member in &described.members {
        assert!(ids.contains(&member.member));
        assert_eq!((&*member.client_id, &*member.client_host), ("app", "/127.0.0.1"));
        assert_eq!(member.metadata, subscription(&["orders"]));
        assert_eq!(member.assignment, member.member.as_bytes());
    }
    driver.leave(&[(&ids[0], None)]);
    let described = driver.describe(GROUP).unwrap();
    assert_eq!((described.state, &*described.protocol), (State::PreparingRebalance, ""));
    assert_eq!(described.members.len(), 1);
    let member = &described.members[0];
    assert!(member.metadata.is_empty() && member.assignment.is_empty());
}

#[test]
fn who_asks_about_groups_finds_no_member_whose_session_is_over() {
    // Nobody told the coordinator the time since: the question itself does.
    let mut driver = Driver::new();
    driver.stable(2);
    driver.now_ms += SESSION_MS;
    assert_eq!(driver.describe(GROUP).unwrap().members, []);

    let mut driver = Driver::new();
    driver.stable(1);
    driver.now_ms += SESSION_MS;
    let empty = list(&mut driver, Some(vec![State::Empty]));
    assert_eq!(empty.len(), 1);

    let mut driver = Driver::new();
    driver.stable(1);
    driver.now_ms += SESSION_MS - 1;
    let refused = deleted(&[(GROUP, Err(Error::NonEmptyGroup))]);
    assert_eq!(driver.ask(delete(&[GROUP])), refused);
    driver.now_ms += 1;
    assert_eq!(driver.ask(delete(&[GROUP])), deleted(&[(GROUP, Ok(()))]));
}

#[test]
fn lists_are_filtered_by_state() {
    let mut driver = Driver::new();
    assert_eq!(list(&mut driver, None), []);
    driver.stable(1);
    let simple = CommitOffsets {
        group: "a".to_owned(),
        generation: Generation::NONE,
        offsets: vec![Default::default()],
        ..CommitOffsets::default()
    };
    driver.ask(Request::CommitOffsets(simple)).unwrap();
    let stable = Listed {
        group: GROUP.to_owned(),
        protocol_type: "consumer".to_owned(),
        state: State::Stable,
    };
    let empty = Listed { group: "a".to_owned(), protocol_type: String::new(), state: State::Empty };
    assert_eq!(list(&mut driver, None), [empty.clone(), stable.clone()]);
    assert_eq!(list(&mut driver, Some(vec![State::Stable])), [stable]);
    assert_eq!(list(&mut driver, Some(vec![State::Dead, State::Empty])), [empty]);
    assert_eq!(list(&mut driver, Some(vec![])), []);
}

#[test]
fn only_groups_without_members_are_deleted() {
    let mut driver = Driver::new();
    driver.stable(1);
    let answer = driver.ask(delete(&[GROUP, "none"]));
    assert_eq!(
        answer,
        deleted(&[(GROUP, Err(Error::NonEmptyGroup)), ("none", Err(Error::GroupIdNotFound))])
    );
}

#[test]
fn a_deletion_is_answered_when_all_of_it_is_committed() {
    let mut driver = Driver::new();
    empty_group(&mut driver);
    driver.holds_changes = true;
    let token = driver.send(delete(&["none", GROUP]));
    assert_eq!((driver.answer(token), driver.changes()), (None, 1));
    // Meanwhile it is neither there nor to be used.
    assert_eq!(driver.describe(GROUP), Err(Error::GroupIdNotFound));
    assert_eq!(list(&mut driver, None), []);
    assert_eq!(driver.ask(join("")), Err(Error::CoordinatorNotAvailable));
    assert_eq!(driver.ask(delete(&[GROUP])), deleted(&[(GROUP, Err(Error::GroupIdNotFound))]));
    driver.resolve(Ok(()));
    assert_eq!(
        driver.answer(token),
        Some(deleted(&[("none", Err(Error::GroupIdNotFound)), (GROUP, Ok(()))]))
    );
    assert!(driver.kept.is_empty());
    let id = driver.member_id();
    let token = driver.send(join(&id));
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    assert_eq!(driver.joined(token).generation, Generation(1));
}

#[test]
fn a_deletion_of_several_waits_for_the_last() {
    let mut driver = Driver::new();
    empty_group(&mut driver);
    let simple = CommitOffsets {
        group: "a".to_owned(),
        generation: Generation::NONE,
        offsets: vec![Default::default()],
        ..CommitOffsets::default()
    };
    driver.ask(Request::CommitOffsets(simple)).unwrap();
    driver.holds_changes = true;
    let token = driver.send(delete(&[GROUP, "a"]));
    driver.resolve_one(Ok(()));
    assert_eq!(driver.answer(token), None);
    driver.resolve_one(Err(KeepError::LeadershipLost));
    let answer = deleted(&[(GROUP, Ok(())), ("a", Err(Error::NotCoordinator))]);
    assert_eq!(driver.answer(token), Some(answer));
}

#[test]
fn a_deletion_that_can_not_be_kept_leaves_the_group() {
    let mut driver = Driver::new();
    empty_group(&mut driver);
    driver.holds_changes = true;
    let token = driver.send(delete(&[GROUP]));
    driver.resolve(Err(KeepError::NotKept));
    let refused = deleted(&[(GROUP, Err(Error::CoordinatorNotAvailable))]);
    assert_eq!(driver.answer(token), Some(refused));
    assert_eq!(driver.state(), State::Empty);
}

#[test]
fn a_group_without_members_and_cursors_goes_by_itself() {
    let mut driver = Driver::new();
    empty_group(&mut driver);
    driver.advance(RETIRE_CHECK_MS - 1);
    assert_eq!(driver.state(), State::Empty);
    driver.advance(1);
    assert_eq!(driver.describe(GROUP), Err(Error::GroupIdNotFound));
    assert!(driver.kept.is_empty());
    assert_eq!(driver.coordinator.next_deadline(), None);
}

#[test]
fn a_group_does_not_go_under_a_commit_on_its_way() {
    let mut driver = Driver::new();
    empty_group(&mut driver);
    driver.holds_changes = true;
    let token = driver.send(Request::CommitOffsets(CommitOffsets {
        group: GROUP.to_owned(),
        generation: Generation::NONE,
        offsets: vec![Default::default()],
        ..CommitOffsets::default()
    }));
    driver.advance(RETIRE_CHECK_MS * 2);
    assert_eq!(driver.changes(), 1);
    driver.resolve(Ok(()));
    assert!(matches!(driver.answer(token), Some(Ok(_))));
    driver.advance(RETIRE_CHECK_MS * 2);
    assert_eq!(driver.state(), State::Empty);
}

#[test]
fn changes_in_flight_are_bounded() {
    let mut driver = Driver::new();
    driver.holds_changes = true;
    let simple = Request::CommitOffsets(CommitOffsets {
        group: GROUP.to_owned(),
        generation: Generation::NONE,
        offsets: vec![Default::default()],
        ..CommitOffsets::default()
    });
    for _ in 0..CHANGES_IN_FLIGHT_MAX {
        driver.send(simple.clone());
    }
    for request in [simple, join("")] {
        assert_eq!(driver.ask(request), Err(Error::CoordinatorNotAvailable));
    }
    assert_eq!(
        driver.ask(delete(&[GROUP])),
        deleted(&[(GROUP, Err(Error::CoordinatorNotAvailable))])
    );
    driver.resolve(Ok(()));
    assert_eq!(driver.unanswered(), 0);
}

#[test]
fn time_does_not_go_backwards() {
    let mut driver = Driver::new();
    let token = driver.send(Request::Join(Join { require_known_member_id: false, ..joining("") }));
    driver.advance(REBALANCE_MS);
    driver.now_ms = 0;
    driver.tick();
    assert_eq!(driver.joined(token).generation, Generation(1));
}
