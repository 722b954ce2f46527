//! Leaving, alone or with others.

use holdfast_protocol::group::{Error, Generation, State};

use super::driver::{Driver, INITIAL_REBALANCE_DELAY_MS, SESSION_MS, join, sync};

#[test]
fn each_that_leaves_is_told_its_own_outcome() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(3);
    let pending = driver.member_id();
    let left = driver.leave(&[
        (&ids[0], None),
        ("stranger", None),
        (&ids[1], Some("no-instance")),
        ("", Some("no-instance")),
        ("", None),
        (&pending, None),
    ]);
    let results: Vec<_> = left.into_iter().map(|left| left.result).collect();
    let unknown = || Err(Error::UnknownMember);
    assert_eq!(results, [Ok(()), unknown(), unknown(), unknown(), unknown(), Ok(())]);
    assert_eq!(driver.state(), State::PreparingRebalance);
    let tokens = [driver.send(join(&ids[1])), driver.send(join(&ids[2]))];
    assert_eq!(driver.sync_all(&tokens).0, generation.next());
}

#[test]
fn the_last_to_leave_leaves_an_empty_generation() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(2);
    driver.leave(&[(&ids[0], None), (&ids[1], None)]);
    let described = driver.describe("g").unwrap();
    assert_eq!(described.state, State::Empty);
    assert_eq!((&*described.protocol_type, &*described.protocol), ("consumer", ""));
    assert_eq!(driver.leave(&[(&ids[0], None)])[0].result, Err(Error::UnknownMember));
    let id = driver.member_id();
    let token = driver.send(join(&id));
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    assert_eq!(driver.joined(token).generation, generation.next().next());
}

#[test]
fn one_that_waits_for_an_answer_gets_it_when_taken_out() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(2);
    let token = driver.send(join(&ids[0]));
    driver.leave(&[(&ids[0], None)]);
    assert_eq!(driver.error(token), Error::UnknownMember);
    let token = driver.send(join(&ids[1]));
    let joined = driver.joined(token);
    assert_eq!((joined.generation, &joined.leader), (generation.next(), &ids[1]));
    driver.holds_changes = true;
    let token = driver.send(sync(joined.generation, &ids[1], &[]));
    driver.leave(&[(&ids[1], None)]);
    assert_eq!(driver.error(token), Error::UnknownMember);
    driver.resolve(Ok(()));
    assert_eq!(driver.state(), State::Empty);
}

#[test]
fn a_rebalance_waits_no_longer_for_ids_that_are_given_up() {
    let mut driver = Driver::new();
    let (_, ids) = driver.stable(1);
    let pending = driver.member_id();
    let token = driver.send(join(&ids[0]));
    assert_eq!(driver.answer(token), None);
    driver.leave(&[(&pending, None)]);
    assert_eq!(driver.joined(token).generation, Generation(2));

    driver.member_id();
    let token = driver.send(join(&ids[0]));
    // Joining with the same metadata in this phase starts nothing; other metadata does.
    assert!(driver.answer(token).is_some());
    let token = driver.send(super::driver::join_with(&ids[0], &["range", "more"]));
    assert_eq!(driver.answer(token), None);
    driver.advance(SESSION_MS);
    assert_eq!(driver.joined(token).generation, Generation(3));
}

#[test]
fn a_giving_up_of_unused_ids_disturbs_nobody() {
    let mut driver = Driver::new();
    driver.stable(1);
    let pending = driver.member_id();
    assert_eq!(driver.leave(&[(&pending, None)])[0].result, Ok(()));
    assert_eq!(driver.state(), State::Stable);
}
