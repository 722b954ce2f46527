//! What a stream holds in the end.

use super::*;

#[test]
fn what_was_acknowledged_is_there() {
    let checker = told(&[(0, 1), (1, 2), (2, 3)]);
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 2), (2, 3)], true), Ok(()));
    // One more that nobody was told of.
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 2), (2, 3), (3, 4)], true), Ok(()));
    assert_finds(judge(&checker, 0, &[(0, 1), (1, 2)], true), "3 was acknowledged at");
    assert_finds(judge(&checker, 0, &[], true), "1 was acknowledged at");
}

#[test]
fn it_is_there_with_the_offset_and_the_value_that_were_told() {
    let checker = told(&[(0, 1), (1, 3)]);
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 3)], true), Ok(()));
    assert_finds(judge(&checker, 0, &[(0, 1), (1, 2), (2, 3)], true), "3 was acknowledged at");
    assert_finds(judge(&checker, 0, &[(0, 1), (1, 2)], true), "3 was acknowledged at");
}

#[test]
fn what_was_acknowledged_without_an_offset_is_somewhere() {
    let mut checker = told(&[(0, 1)]);
    checker.acknowledge(STREAM, 2, (None, Position(2)));
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 2)], true), Ok(()));
    assert_finds(judge(&checker, 0, &[(0, 1), (1, 3)], true), "2 was acknowledged at None");
}

#[test]
fn a_stream_has_no_holes() {
    let checker = told(&[(0, 1)]);
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 2)], false), Ok(()));
    assert_finds(judge(&checker, 0, &[(0, 1), (2, 2)], false), "2 follows on 0");
}

#[test]
fn it_begins_where_somebody_asked_for_it() {
    let mut checker = told(&[(0, 1), (1, 2), (2, 3)]);
    let rest = [(1, 2), (2, 3)];
    assert_finds(judge(&checker, 1, &rest, true), "nobody asked for more than 0");
    checker.may_trim(STREAM, Offset(1));
    assert_eq!(judge(&checker, 1, &rest, true), Ok(()));
    checker.trimmed(STREAM, Offset(1), Position(4));
    assert_eq!(judge(&checker, 1, &rest, true), Ok(()));
    assert_finds(judge(&checker, 0, &[(0, 1), (1, 2), (2, 3)], true), "1 was acknowledged");
}

#[test]
fn one_that_is_kept_short_may_begin_anywhere() {
    let mut checker = told(&[(0, 1), (1, 2)]);
    checker.is_short(STREAM);
    assert_eq!(judge(&checker, 1, &[(1, 2)], true), Ok(()));
    assert_finds(judge(&checker, 1, &[(1, 3)], true), "2 was acknowledged at");
}

#[test]
fn what_is_on_no_replica_is_found_missing() {
    let checker = told(&[(0, 1), (1, 2)]);
    let found = [(Offset(1), 2), (Offset(0), 1)];
    assert_eq!(checker.judge_somewhere(STREAM, &found), Ok(()));
    assert_finds(checker.judge_somewhere(STREAM, &found[..1]), "1 was acknowledged");
}
