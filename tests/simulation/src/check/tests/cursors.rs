//! How far groups have come.

use super::*;

const GROUP: &str = "group";

/// A checker that knows a group to have committed offset 5, having asked for 8.
fn committed() -> Checker {
    let mut checker = Checker::default();
    checker.may_commit(GROUP, STREAM, Offset(8));
    let told = checker.committed_cursor(GROUP, STREAM, (Offset(0), Offset(5)), Position(10));
    assert_eq!(told, Ok(()));
    checker
}

#[test]
fn a_committed_offset_does_not_go_back() {
    let mut checker = committed();
    let before = checker.cursor(GROUP, STREAM);
    assert_eq!(before, Offset(5));
    let on = checker.committed_cursor(GROUP, STREAM, (before, Offset(6)), Position(11));
    assert_eq!(on, Ok(()));
    let back = checker.committed_cursor(GROUP, STREAM, (Offset(6), Offset(4)), Position(12));
    assert_finds(back, "went back from 6 to 4");
}

#[test]
fn a_member_is_told_of_what_was_committed_and_of_no_more_than_was_asked_for() {
    let checker = committed();
    let fetched = |offset| checker.fetched_cursor(GROUP, STREAM, Offset(5), offset);
    assert_eq!(fetched(Some(Offset(5))), Ok(()));
    assert_eq!(fetched(Some(Offset(8))), Ok(()));
    assert_finds(fetched(Some(Offset(4))), "read back as");
    assert_finds(fetched(None), "read back as None");
    assert_finds(fetched(Some(Offset(9))), "read back as");
}

#[test]
fn it_is_there_in_the_end() {
    let checker = committed();
    assert_eq!(checker.judge_cursors(|_, _| Offset(5)), Ok(()));
    assert_finds(checker.judge_cursors(|_, _| Offset(4)), "was committed as 5 and is 4");
}

#[test]
fn it_may_go_back_where_that_was_lost_and_no_further() {
    let mut checker = committed();
    let on = checker.committed_cursor(GROUP, STREAM, (Offset(5), Offset(7)), Position(20));
    assert_eq!(on, Ok(()));
    checker.forgive_groups(|_| true, false, Position(15));
    assert_eq!(checker.judge_cursors(|_, _| Offset(5)), Ok(()));
    assert_finds(checker.judge_cursors(|_, _| Offset(4)), "was committed as 5 and is 4");
}
