//! Joining: ids, the first wait, votes, bounds, members that come and stay away.

use holdfast_protocol::group::{Answer, Error, Generation, Join, Request, State};

use super::driver::{
    Driver, GROUP, REBALANCE_MS, SESSION_MS, join, join_with, joining, protocols, sync,
};
use crate::group::limits::{
    GROUP_ID_BYTES_MAX, GROUP_MEMBERS_MAX, GROUP_METADATA_BYTES_MAX, INITIAL_REBALANCE_DELAY_MS,
    NEW_MEMBER_JOIN_TIMEOUT_MS, PENDING_MEMBERS_MAX,
};

#[test]
fn a_member_must_come_back_with_its_id() {
    let mut driver = Driver::new();
    let id = driver.member_id();
    assert!(id.starts_with("app-"));
    assert_eq!(driver.state(), State::Empty);
    let token = driver.send(join(&id));
    assert_eq!(driver.state(), State::PreparingRebalance);
    assert_eq!(driver.answer(token), None);
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    let joined = driver.joined(token);
    assert_eq!(joined.generation, Generation(1));
    assert_eq!((&joined.member, &joined.leader), (&id, &id));
    assert_eq!((&*joined.protocol_type, &*joined.protocol), ("consumer", "range"));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, protocols(&["range"])[0].metadata);
    assert_eq!(driver.state(), State::CompletingRebalance);
}

#[test]
fn an_old_client_is_a_member_at_once() {
    let mut driver = Driver::new();
    let token = driver.send(Request::Join(Join { require_known_member_id: false, ..joining("") }));
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    assert!(driver.joined(token).member.starts_with("app-"));
}

#[test]
fn an_id_that_is_not_used_is_void_and_the_group_forgotten() {
    let mut driver = Driver::new();
    let id = driver.member_id();
    driver.advance(SESSION_MS);
    assert_eq!(driver.describe(GROUP), Err(Error::GroupIdNotFound));
    assert_eq!(driver.ask(join(&id)), Err(Error::UnknownMember));
    assert_eq!(driver.coordinator.next_deadline(), None);
}

#[test]
fn newcomers_prolong_the_first_wait_up_to_the_rebalance_timeout() {
    let mut driver = Driver::new();
    let late = INITIAL_REBALANCE_DELAY_MS - 1;
    let mut tokens = Vec::new();
    for _ in 0..=2 {
        let id = driver.member_id();
        tokens.push(driver.send(join(&id)));
        driver.advance(late);
    }
    assert_eq!(driver.state(), State::PreparingRebalance);
    driver.advance(INITIAL_REBALANCE_DELAY_MS * 2);
    let (generation, ids) = driver.sync_all(&tokens);
    assert_eq!((generation, ids.len()), (Generation(1), 3));

    let mut driver = Driver::new();
    let start_ms = driver.now_ms;
    while driver.describe(GROUP).map_or(true, |group| group.state != State::CompletingRebalance) {
        let id = driver.member_id();
        driver.send(Request::Join(Join { rebalance_timeout_ms: 3_000, ..joining(&id) }));
        driver.advance(late);
        assert!(driver.now_ms - start_ms <= 3_000 + late, "the wait must end");
    }
}

#[test]
fn a_join_to_a_stable_group_waits_for_all_to_join_again() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(2);
    let newcomer = driver.member_id();
    let tokens = [driver.send(join(&newcomer))];
    assert_eq!(driver.state(), State::PreparingRebalance);
    assert_eq!(driver.heartbeat(generation, &ids[0]), Err(Error::RebalanceInProgress));
    let first = driver.send(join(&ids[0]));
    assert_eq!(driver.answer(first), None);
    let second = driver.send(join(&ids[1]));
    let (next, all) = driver.sync_all(&[first, second, tokens[0]]);
    assert_eq!(next, generation.next());
    assert_eq!(all[0], ids[0], "the leader stays");
    assert_eq!(all.len(), 3);
}

#[test]
fn who_stays_away_from_a_rebalance_is_out() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(2);
    let token = driver.send(join(&ids[0]));
    // It lives, but does not join.
    for _ in 0..(REBALANCE_MS / 5_000) {
        assert_eq!(driver.answer(token), None);
        assert_eq!(driver.heartbeat(generation, &ids[1]), Err(Error::RebalanceInProgress));
        driver.advance(5_000);
    }
    let (_, left) = driver.sync_all(&[token]);
    assert_eq!(left, [ids[0].clone()]);
    assert_eq!(driver.heartbeat(generation, &ids[1]), Err(Error::UnknownMember));
}

#[test]
fn a_leader_that_stays_away_is_replaced() {
    let mut driver = Driver::new();
    let (_, ids) = driver.stable(2);
    let other = driver.send(join_with(&ids[1], &["range", "more"]));
    driver.advance(REBALANCE_MS);
    let joined = driver.joined(other);
    assert_eq!(joined.leader, ids[1]);
    assert_eq!(joined.members.len(), 1);
}

#[test]
fn votes_choose_among_the_protocols_that_all_know() {
    for (lists, chosen) in [
        (vec![vec!["a", "b"], vec!["a", "b"], vec!["b", "a"]], "a"),
        (vec![vec!["a", "b"], vec!["b", "a"], vec!["b", "a"]], "b"),
        (vec![vec!["x", "b", "a"], vec!["a", "b"], vec!["b", "a"]], "b"),
        (vec![vec!["b", "a"], vec!["a", "b"]], "a"),
        (vec![vec!["a", "b"], vec!["b"]], "b"),
    ] {
        let mut driver = Driver::new();
        let mut tokens = Vec::new();
        for list in &lists {
            let id = driver.member_id_for(list);
            tokens.push(driver.send(join_with(&id, list)));
        }
        driver.advance(REBALANCE_MS);
        for token in tokens {
            assert_eq!(driver.joined(token).protocol, chosen, "{lists:?}");
        }
    }
}

#[test]
fn a_member_without_a_common_protocol_is_refused() {
    let mut driver = Driver::new();
    driver.stable(1);
    for request in [
        join_with("", &["sticky"]),
        join_with("", &[]),
        Request::Join(Join { protocol_type: "connect".to_owned(), ..joining("") }),
    ] {
        assert_eq!(driver.ask(request), Err(Error::InconsistentProtocol));
    }
    let mut driver = Driver::new();
    let untyped = Join { protocol_type: String::new(), ..joining("") };
    assert_eq!(driver.ask(Request::Join(untyped)), Err(Error::InconsistentProtocol));
    assert_eq!(driver.describe(GROUP), Err(Error::GroupIdNotFound));
}

#[test]
fn a_follower_may_ask_again_without_a_rebalance_and_the_leader_may_not() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(2);
    let again = driver.send(join(&ids[1]));
    let joined = driver.joined(again);
    assert_eq!((joined.generation, joined.members.len()), (generation, 0));
    assert_eq!(driver.state(), State::Stable);
    driver.send(join(&ids[0]));
    assert_eq!(driver.state(), State::PreparingRebalance);

    let mut driver = Driver::new();
    let (_, ids) = driver.stable(2);
    driver.send(join_with(&ids[1], &["range", "more"]));
    assert_eq!(driver.state(), State::PreparingRebalance);
}

#[test]
fn a_repeated_join_is_answered_with_the_generation_begun() {
    let mut driver = Driver::new();
    let id = driver.member_id();
    let first = driver.send(join(&id));
    let repeated = driver.send(join(&id));
    assert_eq!(driver.error(first), Error::RebalanceInProgress);
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    let joined = driver.joined(repeated);
    let lost = driver.send(join(&id));
    assert_eq!(driver.joined(lost), joined);
    assert_eq!(driver.state(), State::CompletingRebalance);
    driver.send(join_with(&id, &["range", "more"]));
    // Alone, it has all that the rebalance waits for at once.
    assert_eq!(driver.ask(sync(joined.generation, &id, &[])), Err(Error::IllegalGeneration));
}

#[test]
fn a_newcomer_whose_client_is_gone_does_not_wait_for_ever() {
    let mut driver = Driver::new();
    let (generation, ids) = driver.stable(1);
    let newcomer = driver.member_id();
    let mut patient = joining(&newcomer);
    patient.rebalance_timeout_ms = u32::try_from(NEW_MEMBER_JOIN_TIMEOUT_MS * 2).unwrap();
    let token = driver.send(Request::Join(patient));
    // Nothing asks it for heartbeats yet, so one that comes all the same begins no session.
    let answer = driver.heartbeat(generation, &newcomer);
    assert_eq!(answer, Err(Error::RebalanceInProgress));
    for _ in 0..(NEW_MEMBER_JOIN_TIMEOUT_MS / 5_000) {
        assert_eq!(driver.answer(token), None);
        let _ = driver.heartbeat(generation, &ids[0]);
        driver.advance(5_000);
    }
    assert_eq!(driver.error(token), Error::UnknownMember);
}

#[test]
fn bounds_are_refused() {
    let mut driver = Driver::new();
    let refused = |driver: &mut Driver, change: fn(&mut Join)| {
        let mut request = joining("");
        change(&mut request);
        driver.ask(Request::Join(request)).unwrap_err()
    };
    for change in [(|join| join.session_timeout_ms = 999) as fn(&mut Join), |join| {
        join.session_timeout_ms = 1_800_001
    }] {
        assert!(matches!(refused(&mut driver, change), Error::InvalidSessionTimeout { .. }));
    }
    for change in [(|join| join.group.clear()) as fn(&mut Join), |join| {
        join.group = "x".repeat(GROUP_ID_BYTES_MAX + 1)
    }] {
        assert_eq!(refused(&mut driver, change), Error::InvalidGroupId);
    }
    for change in [
        (|join| join.instance = Some(String::new())) as fn(&mut Join),
        |join| join.instance = Some("x".repeat(250)),
        |join| join.protocols[0].name = "x".repeat(257),
        |join| join.protocols = protocols(&["x"; 65]),
    ] {
        assert!(matches!(refused(&mut driver, change), Error::InvalidRequest(_)));
    }
    assert_eq!(
        refused(&mut driver, |join| {
            join.protocols[0].metadata = vec![0; GROUP_METADATA_BYTES_MAX].into();
        }),
        Error::GroupMaxSizeReached
    );
    assert_eq!(refused(&mut driver, |join| join.member = "x".into()), Error::UnknownMember);
}

#[test]
fn a_full_group_takes_no_more() {
    let mut driver = Driver::new();
    for _ in 0..PENDING_MEMBERS_MAX {
        driver.member_id();
    }
    assert_eq!(driver.ask(join("")), Err(Error::GroupMaxSizeReached));

    let mut driver = Driver::new();
    let anonymous = Join { require_known_member_id: false, ..joining("") };
    for _ in 0..GROUP_MEMBERS_MAX {
        driver.send(Request::Join(anonymous.clone()));
    }
    assert_eq!(driver.ask(Request::Join(anonymous)), Err(Error::GroupMaxSizeReached));
    driver.advance(REBALANCE_MS);
    assert_eq!(driver.unanswered(), 0);
}

#[test]
fn a_long_client_id_is_cut_between_characters() {
    let mut driver = Driver::new();
    let request = Join {
        client_id: "é".repeat(200),
        client_host: format!("x{}", "é".repeat(200)),
        ..joining("")
    };
    let Err(Error::MemberIdRequired { member }) = driver.ask(Request::Join(request.clone())) else {
        panic!("an id is due");
    };
    assert_eq!(member.chars().filter(|c| *c == 'é').count(), 128);
    driver.send(Request::Join(Join { member, ..request }));
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    let described = driver.describe(GROUP).unwrap();
    assert_eq!(described.members[0].client_host.len(), 255);
}

#[test]
fn a_group_takes_another_kind_of_members_when_it_is_empty() {
    let mut driver = Driver::new();
    let (_, ids) = driver.stable(1);
    driver.leave(&[(&ids[0], None)]);
    assert_eq!(driver.state(), State::Empty);
    let token = driver.send(Request::Join(Join {
        protocol_type: "connect".to_owned(),
        require_known_member_id: false,
        ..joining("")
    }));
    driver.advance(INITIAL_REBALANCE_DELAY_MS);
    let joined = driver.joined(token);
    assert_eq!((joined.generation, &*joined.protocol_type), (Generation(3), "connect"));
    assert!(matches!(driver.ask(join_with("", &["x"])), Err(Error::InconsistentProtocol)));
    assert_eq!(driver.heartbeat(Generation(3), &joined.member), Ok(Answer::Heartbeat));
}
