//! The order of a producer's values.

use super::*;

#[test]
fn an_idempotent_producer_finds_nothing_twice() {
    let checker = told(&[(0, 1), (1, 2)]);
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 2), (2, 3)], true), Ok(()));
    assert_finds(judge(&checker, 0, &[(0, 1), (1, 2), (2, 2)], true), "or twice");
    assert_finds(judge(&checker, 0, &[(0, 1), (1, 2), (2, 1)], true), "or twice");
}

#[test]
fn its_values_are_in_order() {
    // Nobody was told of any of them.
    let mut checker = told(&[]);
    checker.may_trim(STREAM, Offset(0));
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 2)], true), Ok(()));
    assert_finds(judge(&checker, 0, &[(0, 2), (1, 1)], true), "1 comes after 2: out of order");
}

#[test]
fn any_other_may_find_a_value_again_but_not_out_of_order() {
    let checker = told(&[(0, 1), (2, 2)]);
    // Sent twice, and one that came when others had been stored.
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 1), (2, 2), (3, 1), (4, 3)], false), Ok(()));
    let checker = told(&[(1, 1), (0, 2)]);
    let out_of_order = "1 was acknowledged at 1, and 2 after it at 0: out of order";
    assert_finds(judge(&checker, 0, &[(0, 2), (1, 1)], false), out_of_order);
}

#[test]
fn nothing_stands_before_what_was_acknowledged_before_it_was_sent() {
    let checker = told(&[(1, 1)]);
    // That nobody was told of the other one is no excuse.
    assert_finds(judge(&checker, 0, &[(0, 2), (1, 1)], false), "2 is at 0, and 1");
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 1), (2, 2)], false), Ok(()));
}

#[test]
fn what_was_lost_as_it_was_told_may_come_again_after_others() {
    let mut checker = told(&[(0, 1), (1, 2)]);
    assert_eq!(checker.forgive(STREAM, None, Position(1)), Ok(()));
    acknowledge(&mut checker, 1, 3);
    acknowledge(&mut checker, 2, 2);
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 3), (2, 2)], false), Ok(()));
    // What was not lost may not.
    acknowledge(&mut checker, 4, 4);
    acknowledge(&mut checker, 3, 5);
    let held = [(0, 1), (1, 3), (2, 2), (3, 5), (4, 4)];
    assert_finds(judge(&checker, 0, &held, false), "5 after it at 3: out of order");
}
