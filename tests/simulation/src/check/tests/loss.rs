//! What an unclean election may lose.

use std::collections::BTreeMap;

use super::super::Held;
use super::*;

fn held(batches: &[(u64, u64)]) -> Held {
    let batches: BTreeMap<_, _> =
        batches.iter().map(|(offset, value)| (Offset(*offset), *value)).collect();
    Held { start: Offset(0), batches }
}

#[test]
fn what_comes_from_where_the_loss_begins_may_be_lost() {
    let mut checker = told(&[(0, 1), (1, 2), (2, 3)]);
    assert_eq!(checker.forgive(STREAM, Some(&held(&[(0, 1)])), Position(1)), Ok(()));
    assert_eq!(checker.lost, 2);
    assert_eq!(judge(&checker, 0, &[(0, 1)], true), Ok(()));
}

#[test]
fn nothing_before_that_may() {
    let mut checker = told(&[(0, 1), (1, 2), (2, 3)]);
    let lost = checker.forgive(STREAM, Some(&held(&[(0, 1)])), Position(2));
    assert_finds(lost, "2, acknowledged at");
    // Nor where it is not known what the leader holds.
    let mut checker = told(&[(0, 1), (1, 2), (2, 3)]);
    assert_eq!(checker.forgive(STREAM, None, Position(2)), Ok(()));
    assert_finds(judge(&checker, 0, &[(0, 1)], true), "2 was acknowledged at");
}

#[test]
fn what_the_elected_leader_holds_is_not_lost() {
    let mut checker = told(&[(0, 1), (1, 2)]);
    assert_eq!(checker.forgive(STREAM, Some(&held(&[(0, 1), (1, 2)])), Position(0)), Ok(()));
    assert_eq!(checker.lost, 0);
    assert_finds(judge(&checker, 0, &[(0, 1)], true), "2 was acknowledged at");
}

#[test]
fn the_elected_log_has_no_holes() {
    let mut checker = told(&[(0, 1), (1, 2), (2, 3)]);
    let holes = held(&[(0, 1), (2, 3)]);
    assert_finds(checker.forgive(STREAM, Some(&holes), Position(0)), "the elected log goes beyond");
    let mut checker = Checker::default();
    assert_eq!(checker.read(STREAM, Offset(0), 1), Ok(()));
    let other = held(&[(0, 2), (1, 3)]);
    assert_finds(checker.forgive(STREAM, Some(&other), Position(0)), "the elected log goes beyond");
}

#[test]
fn a_trim_and_a_topic_may_be_lost_only_with_their_entries() {
    let mut checker = told(&[(0, 1), (1, 2)]);
    checker.may_trim(STREAM, Offset(1));
    checker.trimmed(STREAM, Offset(1), Position(3));
    checker.declared(STREAM.topic, Position(3));
    let all = held(&[(0, 1), (1, 2)]);
    for (from, is_kept) in [(Position(3), true), (Position(2), false)] {
        assert_eq!(checker.forgive(STREAM, Some(&all), from), Ok(()));
        checker.forgive_groups(|_| false, true, from);
        assert_eq!(checker.is_declared(STREAM.topic), is_kept);
        assert_eq!(judge(&checker, 0, &[(0, 1), (1, 2)], true).is_err(), is_kept);
    }
}
