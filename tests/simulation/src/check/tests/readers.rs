//! What readers see.

use super::*;

#[test]
fn what_was_read_stays_what_it_was() {
    let mut checker = Checker::default();
    assert_eq!(checker.read(STREAM, Offset(0), 1), Ok(()));
    assert_eq!(checker.read(STREAM, Offset(1), 2), Ok(()));
    assert_eq!(checker.read(STREAM, Offset(0), 1), Ok(()));
    assert_finds(checker.read(STREAM, Offset(1), 3), "what is committed changed");
}

#[test]
fn what_was_read_is_there_in_the_end() {
    let mut checker = Checker::default();
    assert_eq!(checker.read(STREAM, Offset(0), 1), Ok(()));
    assert_eq!(checker.read(STREAM, Offset(1), 2), Ok(()));
    assert_eq!(checker.known_end(STREAM), Offset(2));
    assert_eq!(judge(&checker, 0, &[(0, 1), (1, 2)], false), Ok(()));
    assert_finds(judge(&checker, 0, &[(0, 1)], false), "2 was read at 1");
    assert_finds(judge(&checker, 0, &[(0, 1), (1, 3)], false), "2 was read at 1");
}
