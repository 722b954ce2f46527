//! What is committed: what every member of the maximal ISR holds, where the recorded one
//! suffices, and the epoch start with it.

use super::script::play;

#[test]
fn every_member_in_sync_counts_and_nobody_else() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 1/1 2/1 min 2 => appends
         append 5
         durable 5
         fetch 1/1 e1 at 5 after e1
         ? committed 0 confirmed -
         fetch 3/1 e1 at 5 after e1
         ? committed 0
         fetch 2/1 e1 at 3 after e1
         ? committed 3 confirmed 1
         fetch 2/1 e1 at 5 after e1 held 4
         ? committed 4",
    );
}

#[test]
fn waiting_followers_are_told_of_a_commit_at_once_where_that_is_wanted() {
    let script = |told: &str| {
        format!(
            "record v1 e1 leader 0/1 isr 0/1 1/1 2/1 min 2
             append 5
             durable 5
             fetch 1/1 e1 at 5 after e1 =>
             fetch 2/1 e1 at 5 after e1 => {told}
             fetch 1/1 e1 at 5 after e1 committed 5 =>
             fetch 2/1 e1 at 5 after e1 committed 5 =>"
        )
    };
    let told = "answers 1: e1 at 5 after e1: up to 5, committed 5; \
                answers 2: e1 at 5 after e1: up to 5, committed 5";
    play("0/1 tells", &script(told));
    play("0/1", &script(""));
}

#[test]
fn the_leader_counts_as_its_own_flush_mode_says() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 1/1 min 2
         append 5
         fetch 1/1 e1 at 5 after e1
         ? held 0 committed 0
         durable 4
         ? held 4 committed 4",
    );
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 1/1 min 2 async
         append 5
         fetch 1/1 e1 at 5 after e1
         ? held 5 committed 5",
    );
}

#[test]
fn another_log_under_a_members_name_counts_for_nothing() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 1/1 min 2
         append 5
         durable 5
         fetch 1/2 e1 at 5 after e1 => wants at 0.1: isr 0/1 1/2
         ? committed 0
         record v2 e1 leader 0/1 isr 0/1 1/1 min 2
         ? committed 0
         fetch 1/1 e1 at 5 after e1
         ? committed 5",
    );
}

#[test]
fn nothing_is_committed_below_the_minimum() {
    play(
        "0/1 epochs 1:0 end 3 committed 2",
        "record v2 e2 leader 0/1 isr 0/1 min 2
         durable 4
         ? committed 2 confirmed -
         record v3 e2 leader 0/1 isr 0/1 min 1
         ? committed 4 confirmed 2",
    );
}

#[test]
fn nothing_of_older_epochs_is_committed_before_the_epoch_start() {
    play(
        "0/1 epochs 1:0 end 5 committed 2",
        "record v2 e2 leader 0/1 isr 0/1 1/1 min 2
         durable 6
         fetch 1/1 e2 at 5 after e1
         ? committed 2 confirmed -
         fetch 1/1 e2 at 6 after e2
         ? committed 6 confirmed 2",
    );
}

#[test]
fn what_is_proposed_counts_until_its_fate_is_known() {
    let proposed = "record v1 e1 leader 0/1 isr 0/1 1/1 min 2
         durable 1
         fetch 1/1 e1 at 1 after e1
         fetch 2/1 e1 at 1 after e1 => wants at 0.1: isr 0/1 1/1 2/1
         append 5
         durable 5
         fetch 1/1 e1 at 5 after e1
         ? committed 1
         ";
    let fates = [
        // It holds what the others do, whatever becomes of it.
        "fetch 2/1 e1 at 4 after e1
         ? committed 4",
        // Another write came first.
        "record v2 e1 leader 0/1 isr 0/1 1/1 min 2
         ? committed 5",
        // It is recorded.
        "record v2 e1 leader 0/1 isr 0/1 1/1 2/1 min 2
         ? committed 1",
        // A refusal says nothing of other copies of the wish: it is withdrawn by a write.
        "wish v1 => wants at 0.1: isr 0/1 1/1
         ? committed 1
         wish v1 =>
         tick 500 => answers 1: e1 at 5 after e1: up to 5, committed 1
         tick 1000 => wants at 0.1: isr 0/1 1/1
         record v2 e1 leader 0/1 isr 0/1 1/1 min 2
         ? committed 5
         fetch 2/1 e1 at 5 after e1 =>
         tick 1900
         fetch 1/1 e1 at 5 after e1 committed 5 =>
         tick 2000 => wants at 0.2: isr 0/1 1/1 2/1",
    ];
    for fate in fates {
        play("0/1", &format!("{proposed}{fate}"));
    }
}

#[test]
fn a_member_that_is_to_leave_counts_until_it_has_left() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 1/1 2/1 min 2
         durable 1
         fetch 1/1 e1 at 1 after e1
         tick 9900
         fetch 1/1 e1 at 1 after e1
         tick 10001 => wants at 0.1: isr 0/1 1/1
         ? committed 0
         record v2 e1 leader 0/1 isr 0/1 1/1 min 2
         ? committed 1",
    );
}
