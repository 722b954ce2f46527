//! Replicas that are built anew from a checkpoint.

use super::script::play;

#[test]
fn who_is_below_the_clean_point_needs_a_checkpoint() {
    for (fetch, answer) in [
        ("at 0 after e0", "answers 1: e2 at 0 after e0: needs a checkpoint"),
        ("at 3 after e1", "answers 1: e2 at 3 after e1: needs a checkpoint"),
        ("at 4 after e1", "serves 1 e2 at 4 after e1 below 6, committed 4"),
        // Its own checkpoint stands for the gaps, or it does not.
        ("at 2 after e1 gaps 4", "serves 1 e2 at 2 after e1 below 6, committed 4"),
        ("at 2 after e1 gaps 3", "answers 1: e2 at 2 after e1: needs a checkpoint"),
    ] {
        play(
            "0/1 epochs 1:0 end 5 committed 4",
            &format!(
                "record v2 e2 leader 0/1 isr 0/1 1/1 min 1
                 clean 4
                 fetch 1/1 e2 {fetch} => {answer}"
            ),
        );
    }
}

#[test]
fn a_log_that_was_filled_in_serves_nobody_from_its_gaps() {
    // Also when it was opened again half built.
    play(
        "0/1 epochs 1:0 end 3 gaps 5 knows v2 e2 leader 1/1 isr 1/1 min 1",
        "data 1 e2 at 3 after e1: 4:1 5:2 up to 6 committed 6
         ? building false end 6
         record v3 e3 leader 0/1 isr 0/1 min 1
         fetch 2/1 e3 at 3 after e1 => answers 2: e3 at 3 after e1: needs a checkpoint",
    );
}

#[test]
fn it_is_built_from_where_the_leaders_log_begins() {
    play(
        "0/1",
        "record v4 e4 leader 1/1 isr 1/1 min 1
         need 1 e4 at 0 after e0 => needs a checkpoint of 1
         ? builds true
         built 9 from 4 with 1:0 3:6 => asks 1: e4 at 4 after e1 held 4 committed 4 gaps 9
         ? builds false building true
         data 1 e4 at 4 after e1: 5:1 8:3 up to 9 committed 12 => appends 5:1 8:3; asks 1: e4 at 9 after e3 held 4 committed 9 gaps 9
         ? building false
         data 1 e4 at 9 after e3: 9:3 10:4 up to 11 committed 12 => appends 9:3 10:4; asks 1: e4 at 11 after e4 held 4 committed 11 gaps 9",
    );
}

#[test]
fn what_comes_after_the_gaps_may_be_at_their_end() {
    let built = "record v4 e4 leader 1/1 isr 1/1 min 1
         need 1 e4 at 0 after e0
         built 9 from 4 with 1:0
         data 1 e4 at 4 after e1:";
    play("0/1", &format!("{built} 9:4 up to 10 committed 12\n? halted false end 10"));
    play("0/1", &format!("{built} up to 9 committed 12\n? halted false end 9 building false"));
    play("0/1", &format!("{built} 10:4 up to 11 committed 12\n? halted true"));
}

#[test]
fn a_checkpoint_is_wanted_only_while_the_log_is_where_it_asked() {
    for (then, wanted) in [
        ("tick 100", true),
        ("record v3 e2 leader 1/1 isr 1/1 min 1", false),
        ("record v3 e3 leader 2/1 isr 2/1 min 1", false),
        ("record v3 e3 leader 0/1 isr 0/1 min 1", false),
        (
            "tick 100
             data 1 e2 at 3 after e1: 3:1 up to 4 committed 4",
            false,
        ),
    ] {
        play(
            "0/1 epochs 1:0 end 3 committed 2",
            &format!(
                "record v2 e2 leader 1/1 isr 1/1 min 1
                 need 1 e2 at 3 after e1 => needs a checkpoint of 1
                 {then}
                 ? builds {wanted}"
            ),
        );
    }
}

#[test]
fn a_checkpoint_is_asked_for_until_it_comes() {
    play(
        "0/1 epochs 1:0 end 5 committed 4",
        "record v4 e4 leader 1/1 isr 1/1 min 1 unclean 4
         diverged 1 e4 at 5 after e1 e1 ends 3 => needs a checkpoint of 1
         tick 100 => asks 1: e4 at 5 after e1 held 5 committed 4 gaps 0
         diverged 1 e4 at 5 after e1 e1 ends 3 => needs a checkpoint of 1",
    );
}

#[test]
fn a_checkpoint_of_before_an_unclean_election_is_not_filled_in() {
    // The elected log may end before the checkpoint does, and go on otherwise.
    play(
        "0/1",
        "record v4 e4 leader 1/1 isr 1/1 min 1
         need 1 e4 at 0 after e0
         built 9 from 0 with 1:0 4:6
         record v5 e5 leader 2/1 isr 2/1 min 1 unclean 5
         data 2 e5 at 0 after e0: 0:1 1:1 up to 2 committed 2 => needs a checkpoint of 2
         ? end 0 builds true
         tick 100 => asks 2: e5 at 0 after e0 held 0 committed 0 gaps 9
         data 2 e5 at 0 after e0: 0:1 1:1 up to 2 committed 2 => needs a checkpoint of 2
         built 5 from 0 with 1:0
         data 2 e5 at 0 after e0: 0:1 4:1 up to 5 committed 5 => appends 0:1 4:1; asks 2: e5 at 5 after e1 held 0 committed 5 gaps 5",
    );
    // Also where it was opened again half built.
    play(
        "0/1 epochs 1:0 4:6 end 7 gaps 9 knows v5 e5 leader 2/1 isr 2/1 min 1 unclean 5",
        "data 2 e5 at 7 after e4: 8:5 up to 9 committed 9 => needs a checkpoint of 2
         ? end 7 building true",
    );
    // What it stands for is all committed: nothing of it is cut as if it were not.
    play(
        "0/1 epochs 1:0 4:6 end 8 committed 3 gaps 9 knows v5 e5 leader 2/1 isr 2/1 min 1 unclean 5",
        "diverged 2 e5 at 8 after e4 e1 ends 5 => needs a checkpoint of 2
         ? end 8 builds true",
    );
    // Another epoch below the checkpoint, and no unclean election that would explain it.
    play(
        "0/1 epochs 1:0 4:6 end 7 gaps 9 knows v5 e5 leader 2/1 isr 2/1 min 1",
        "data 2 e5 at 7 after e4: 8:5 up to 9 committed 9
         ? halted true",
    );
}
