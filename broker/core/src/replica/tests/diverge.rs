//! Where logs part: the scenarios of KIP-101 and KIP-279, from both sides.

use super::script::play;

#[test]
fn a_leader_says_where_the_logs_part() {
    // Its log: epoch 1 from 0, 3 from 5, 4 from 9 to 12; it leads epoch 6 from 12 on.
    for (asked, answer) in [
        ("e6 at 13 after e6", ""),
        ("e6 at 12 after e4", "serves 1 e6 at 12 after e4 below 13, committed 3"),
        ("e6 at 7 after e3", "serves 1 e6 at 7 after e3 below 13, committed 3"),
        ("e6 at 0 after e0", "serves 1 e6 at 0 after e0 below 13, committed 3"),
        // KIP-101: it has more of an epoch than the leader.
        ("e6 at 11 after e3", "answers 1: e6 at 11 after e3: e3 ends at 9"),
        ("e6 at 20 after e1", "answers 1: e6 at 20 after e1: e1 ends at 5"),
        // KIP-279: it has an epoch that the leader does not know.
        ("e6 at 8 after e2", "answers 1: e6 at 8 after e2: e1 ends at 5"),
        ("e6 at 14 after e5", "answers 1: e6 at 14 after e5: e4 ends at 12"),
        ("e6 at 3 after e2", "answers 1: e6 at 3 after e2: e1 ends at 3"),
        // Not the present epoch (KIP-320).
        ("e5 at 12 after e4", "answers 1: e5 at 12 after e4: refused in e6"),
        // Its record is on its way.
        ("e7 at 12 after e4", ""),
    ] {
        play(
            "0/1 epochs 1:0 3:5 4:9 end 12 committed 3",
            &format!(
                "record v6 e6 leader 0/1 isr 0/1 1/1 min 1
                 fetch 1/1 {asked} held 0 => {answer}"
            ),
        );
    }
}

#[test]
fn a_follower_cuts_to_the_smaller_end_and_asks_again() {
    for (epoch, ends, says) in [
        (3, 8, "cuts to 8; asks 1: e6 at 8 after e3 held 8 committed 3 gaps 0"),
        (3, 9, "cuts to 9; asks 1: e6 at 9 after e3 held 9 committed 3 gaps 0"),
        // The leader's end of an epoch may be beyond this log's own.
        (1, 7, "cuts to 5; asks 1: e6 at 5 after e1 held 5 committed 3 gaps 0"),
        (2, 9, "cuts to 5; asks 1: e6 at 5 after e1 held 5 committed 3 gaps 0"),
        // Exactly to the commit position is allowed, below it is not.
        (1, 3, "cuts to 3; asks 1: e6 at 3 after e1 held 3 committed 3 gaps 0"),
    ] {
        play(
            "0/1 epochs 1:0 3:5 4:9 end 12 committed 3",
            &format!(
                "record v6 e6 leader 1/1 isr 0/1 1/1 min 1
                 diverged 1 e6 at 12 after e4 e{epoch} ends {ends} => {says}"
            ),
        );
    }
}

#[test]
fn several_rounds_may_be_needed() {
    play(
        "0/1 epochs 1:0 3:5 5:9 end 12 committed 3",
        "record v6 e6 leader 1/1 isr 0/1 1/1 min 1
         diverged 1 e6 at 12 after e5 e4 ends 10 => cuts to 9; asks 1: e6 at 9 after e3 held 9 committed 3 gaps 0
         diverged 1 e6 at 9 after e3 e2 ends 6 => cuts to 5; asks 1: e6 at 5 after e1 held 5 committed 3 gaps 0
         data 1 e6 at 5 after e1: 5:2 6:4 up to 7 committed 6 => appends 5:2 6:4; asks 1: e6 at 7 after e4 held 5 committed 6 gaps 0",
    );
}

#[test]
fn a_cut_below_the_commit_position_stops_the_replica() {
    play(
        "0/1 epochs 1:0 end 5 committed 4",
        "record v2 e2 leader 1/1 isr 0/1 1/1 min 1
         diverged 1 e2 at 5 after e1 e1 ends 3
         ? halted true end 5 committed 4
         fetch 1/1 e2 at 5 after e1 => answers 1: e2 at 5 after e1: refused in e2
         record v3 e3 leader 0/1 isr 0/1 1/1 min 1 =>
         ? halted true leads -
         record v4 e4 leader 1/1 isr 1/1 min 1 unclean 4 => asks 1: e4 at 5 after e1 held 5 committed 4 gaps 0
         diverged 1 e4 at 5 after e1 e1 ends 3 => needs a checkpoint of 1
         ? halted false builds true end 5",
    );
}

#[test]
fn an_unclean_election_before_the_last_entry_excuses_nothing() {
    play(
        "0/1 epochs 1:0 3:2 end 5 committed 4",
        "record v4 e4 leader 1/1 isr 1/1 min 1 unclean 3
         diverged 1 e4 at 5 after e3 e1 ends 2
         ? halted true end 5",
    );
}

#[test]
fn an_answer_counts_only_for_the_log_that_asked() {
    let begin = "record v2 e2 leader 1/1 isr 0/1 1/1 min 1 => asks 1: e2 at 5 after e1 held 5 committed 2 gaps 0";
    for stale in [
        "diverged 1 e1 at 5 after e1 e1 ends 3 =>",
        "diverged 2 e2 at 5 after e1 e1 ends 3 =>",
        "diverged 1 e2 at 6 after e1 e1 ends 3 =>",
        "diverged 1 e2 at 5 after e0 e1 ends 3 =>",
        // After a cut and a fetch to the same position, the epoch of the last entry differs.
        "diverged 1 e2 at 5 after e1 e1 ends 4
         data 1 e2 at 4 after e1: 4:2 up to 5 committed 5 => appends 4:2; asks 1: e2 at 5 after e2 held 4 committed 5 gaps 0
         diverged 1 e2 at 5 after e1 e1 ends 4 =>
         ? end 5 committed 5",
        // A repeated one, once it was taken.
        "data 1 e2 at 5 after e1: 5:2 up to 6 committed 5
         data 1 e2 at 5 after e1: 5:2 up to 6 committed 5 =>",
    ] {
        let script = format!("{begin}\n{stale}\n? halted false");
        play("0/1 epochs 1:0 end 5 committed 2", &script);
    }
}

#[test]
fn entries_that_do_not_follow_stop_the_replica() {
    for (entries, halted) in [
        ("5:2 6:2 up to 7", false),
        ("6:2 up to 7", true),
        ("5:2 7:2 up to 8", true),
        ("5:2 up to 7", true),
        ("5:3 up to 6", true),
        ("5:2 6:1 up to 7", true),
        ("5:1 6:2 up to 7", false),
        ("up to 6", true),
        ("up to 5", false),
    ] {
        play(
            "0/1 epochs 1:0 end 5 committed 2",
            &format!(
                "record v2 e2 leader 1/1 isr 0/1 1/1 min 1
                 data 1 e2 at 5 after e1: {entries} committed 2
                 ? halted {halted}"
            ),
        );
    }
}
