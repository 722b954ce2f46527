//! Static members: replaced without a rebalance, fenced, and never mixed up.

use holdfast_protocol::group::{Answer, Error, Generation, Heartbeat, Join, Request, State};

use super::driver::{
    Driver, FIRST_WAIT_MS, GROUP, INITIAL_REBALANCE_DELAY_MS, REBALANCE_MS, SESSION_MS,
    join_static, protocols, sync,
};
use crate::group::{KeepError, Token};

fn send(driver: &mut Driver, member: &str, instance: &str) -> Token {
    driver.send(Request::Join(join_static(member, instance)))
}

/// A stable group of static members `a`, `b`: the generation, the leader's instance and id, and
/// the other's.
fn stable(driver: &mut Driver) -> (Generation, [(&'static str, String); 2]) {
    let tokens = [send(driver, "", "a"), send(driver, "", "b")];
    driver.advance(FIRST_WAIT_MS);
    let (generation, ids) = driver.sync_all(&tokens);
    let instance = |id: &str| if id.starts_with("a-") { "a" } else { "b" };
    let [leader, other] = ids.try_into().unwrap();
    (generation, [(instance(&leader), leader), (instance(&other), other)])
}

fn heartbeat(driver: &mut Driver, generation: Generation, id: &str, instance: &str) -> Error {
    let request = Request::Heartbeat(Heartbeat {
        group: GROUP.to_owned(),
        generation,
        member: id.to_owned(),
        instance: Some(instance.to_owned()),
    });
    driver.ask(request).unwrap_err()
}

#[test]
fn a_follower_comes_back_without_a_rebalance() {
    let mut driver = Driver::new();
    let (generation, [leader, other]) = stable(&mut driver);
    driver.holds_changes = true;
    let token = send(&mut driver, "", other.0);
    assert_eq!(driver.answer(token), None, "not before its new id is committed");
    driver.resolve(Ok(()));
    let joined = driver.joined(token);
    assert_eq!((joined.generation, &joined.leader), (generation, &leader.1));
    assert!(!joined.skip_assignment && joined.members.is_empty());
    assert_ne!(joined.member, other.1);
    assert_eq!(driver.state(), State::Stable);
    let token = driver.send(sync(generation, &joined.member, &[]));
    assert_eq!(driver.synced(token).assignment, other.1.as_bytes(), "as it was");
    assert_eq!(heartbeat(&mut driver, generation, &other.1, other.0), Error::FencedInstance);
    assert_eq!(
        driver.heartbeat(generation, &other.1),
        Err(Error::UnknownMember),
        "without its instance it is only unknown"
    );
    // The new id is in what is kept.
    driver.fail_over(2);
    assert_eq!(driver.heartbeat(generation, &joined.member), Ok(Answer::Heartbeat));
}

#[test]
fn a_leader_comes_back_and_makes_no_assignment() {
    let mut driver = Driver::new();
    let (generation, [leader, _]) = stable(&mut driver);
    let token = send(&mut driver, "", leader.0);
    let joined = driver.joined(token);
    assert!(joined.skip_assignment);
    assert_eq!((joined.generation, &joined.leader), (generation, &joined.member));
    assert_eq!(joined.members.len(), 2);

    let old_client = Join { supports_skip_assignment: false, ..join_static("", leader.0) };
    let token = driver.send(Request::Join(old_client));
    let again = driver.joined(token);
    assert!(!again.skip_assignment && again.members.is_empty());
    assert_eq!(again.leader, joined.member, "the old leader: it must not assign");
}

#[test]
fn a_change_of_the_chosen_protocol_rebalances() {
    let mut driver = Driver::new();
    let both = |instance| {
        Request::Join(Join {
            protocols: protocols(&["range", "sticky"]),
            ..join_static("", instance)
        })
    };
    let tokens = [driver.send(both("a")), driver.send(both("b"))];
    driver.advance(FIRST_WAIT_MS);
    driver.sync_all(&tokens);
    driver.send(Request::Join(Join { protocols: protocols(&["sticky"]), ..join_static("", "a") }));
    assert_eq!(driver.state(), State::PreparingRebalance);
}

#[test]
fn coming_back_before_the_assignment_rebalances_and_fences() {
    let mut driver = Driver::new();
    let tokens = [send(&mut driver, "", "a"), send(&mut driver, "", "b")];
    driver.advance(FIRST_WAIT_MS);
    let joined = tokens.map(|token| driver.joined(token));
    let generation = joined[0].generation;
    let follower = joined.iter().find(|one| one.member != one.leader).unwrap();
    let instance = if follower.member.starts_with("a-") { "a" } else { "b" };
    let waiting = driver.send(sync(generation, &follower.member, &[]));
    let back = send(&mut driver, "", instance);
    assert_eq!(driver.error(waiting), Error::FencedInstance);
    assert_eq!(driver.state(), State::PreparingRebalance);
    // Once more, while it waits to join.
    let again = send(&mut driver, "", instance);
    assert_eq!(driver.error(back), Error::FencedInstance);
    assert_eq!(driver.answer(again), None);
}

#[test]
fn a_new_id_that_can_not_be_kept_is_taken_back() {
    let mut driver = Driver::new();
    let (generation, [leader, other]) = stable(&mut driver);
    driver.holds_changes = true;
    let token = send(&mut driver, "", leader.0);
    driver.resolve(Err(KeepError::NotKept));
    assert_eq!(driver.error(token), Error::CoordinatorNotAvailable);
    assert_eq!(driver.state(), State::Stable);
    for (_, id) in [&leader, &other] {
        assert_eq!(driver.heartbeat(generation, id), Ok(Answer::Heartbeat));
    }
    let token = driver.send(sync(generation, &leader.1, &[]));
    assert_eq!(driver.synced(token).assignment, leader.1.as_bytes());
    driver.send(Request::Join(join_static(&leader.1, leader.0)));
    assert_eq!(driver.state(), State::PreparingRebalance, "it leads again");
}

#[test]
fn a_rebalance_overtakes_a_new_id_on_its_way_to_the_log() {
    for kept in [Ok(()), Err(KeepError::NotKept)] {
        let mut driver = Driver::new();
        let (generation, [leader, other]) = stable(&mut driver);
        driver.holds_changes = true;
        let back = send(&mut driver, "", other.0);
        let token = driver.send(Request::Join(join_static(&leader.1, leader.0)));
        // Both have joined, so the next generation begins at once.
        let joined = driver.joined(back);
        assert_eq!(joined.generation, generation.next());
        assert_eq!(driver.joined(token).generation, generation.next());
        driver.resolve(kept);
        assert_eq!(driver.state(), State::CompletingRebalance);
        assert_eq!(driver.heartbeat(generation.next(), &joined.member), Ok(Answer::Heartbeat));
    }
}

#[test]
fn a_new_id_committed_in_a_rebalance_is_told_at_its_end() {
    let mut driver = Driver::new();
    let instances = ["a", "b", "c"];
    let tokens = instances.map(|instance| send(&mut driver, "", instance));
    driver.advance(FIRST_WAIT_MS);
    let (generation, ids) = driver.sync_all(&tokens);
    driver.holds_changes = true;
    let back = send(&mut driver, "", &ids[1][..1]);
    driver.send(Request::Join(join_static(&ids[0], &ids[0][..1])));
    driver.resolve(Ok(()));
    assert_eq!(driver.answer(back), None);
    driver.send(Request::Join(join_static(&ids[2], &ids[2][..1])));
    assert_eq!(driver.joined(back).generation, generation.next());
}

#[test]
fn impatient_members_that_are_all_absent_cause_no_storm() {
    let mut driver = Driver::new();
    let impatient = |member: &str, instance| {
        Request::Join(Join { rebalance_timeout_ms: 0, ..join_static(member, instance) })
    };
    let tokens = ["a", "b"].map(|instance| driver.send(impatient("", instance)));
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    let (_, ids) = driver.sync_all(&tokens);
    driver.send(impatient(&ids[0], &ids[0][..1]));
    driver.leave(&[(&ids[0], None)]);
    assert_eq!(driver.state(), State::PreparingRebalance);
    driver.advance(SESSION_MS);
    assert_eq!(driver.state(), State::Empty);
}

#[test]
fn an_instance_id_must_be_the_members_own() {
    let mut driver = Driver::new();
    let (generation, [leader, other]) = stable(&mut driver);
    for (member, instance, error) in [
        (&*leader.1, other.0, Error::FencedInstance),
        ("stranger", other.0, Error::FencedInstance),
        (&*leader.1, "c", Error::UnknownMember),
    ] {
        let join = Request::Join(join_static(member, instance));
        assert_eq!(driver.ask(join), Err(error.clone()));
        assert_eq!(heartbeat(&mut driver, generation, member, instance), error);
        assert_eq!(driver.leave(&[(member, Some(instance))])[0].result, Err(error));
    }
    assert_eq!(driver.state(), State::Stable);
    // An admin knows no member id.
    assert_eq!(driver.leave(&[("", Some(other.0))])[0].result, Ok(()));
    assert_eq!(driver.state(), State::PreparingRebalance);
}

#[test]
fn a_static_member_keeps_its_place_through_a_rebalance_while_its_session_lasts() {
    let mut driver = Driver::new();
    let long = |member: &str, instance| {
        Request::Join(Join { session_timeout_ms: 120_000, ..join_static(member, instance) })
    };
    let tokens = [driver.send(long("", "a")), driver.send(long("", "b"))];
    driver.advance(REBALANCE_MS);
    let (generation, ids) = driver.sync_all(&tokens);
    let instance = &ids[1][..1];
    let token = driver.send(long(&ids[0], &ids[0][..1]));
    driver.advance(REBALANCE_MS);
    let joined = driver.joined(token);
    assert_eq!(joined.generation, generation.next());
    assert_eq!(joined.members.len(), 2, "{instance} keeps its place");
}

#[test]
fn a_rebalance_without_anyone_goes_on_until_sessions_end() {
    let mut driver = Driver::new();
    let (generation, [leader, other]) = stable(&mut driver);
    driver.send(Request::Join(join_static(&leader.1, leader.0)));
    assert_eq!(driver.state(), State::PreparingRebalance);
    driver.leave(&[(&leader.1, Some(leader.0))]);
    assert_eq!(driver.state(), State::PreparingRebalance);
    driver.advance(SESSION_MS);
    assert_eq!(driver.state(), State::Empty);
    assert_eq!(heartbeat(&mut driver, generation, &other.1, other.0), Error::UnknownMember);
    assert_eq!(driver.unanswered(), 0);
}
