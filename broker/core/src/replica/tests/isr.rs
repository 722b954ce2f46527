//! Wishes for other in-sync replicas: who joins, who leaves, who takes whose place.

use super::script::play;

#[test]
fn a_follower_joins_at_the_commit_position_and_past_the_epoch_start() {
    let begin = "record v2 e2 leader 0/1 isr 0/1 1/1 min 2
         append 9
         durable 9
         fetch 1/1 e2 at 8 after e2
         ? committed 8
         ";
    for (fetch, says) in [
        ("at 3 after e1", "serves 2 e2 at 3 after e1 below 9, committed 8"),
        ("at 7 after e2", "serves 2 e2 at 7 after e2 below 9, committed 8"),
        ("at 9 after e2 held 7", ""),
        ("at 9 after e2 held 8", "wants at 0.2: isr 0/1 1/1 2/1"),
        (
            "at 8 after e2",
            "serves 2 e2 at 8 after e2 below 9, committed 8; wants at 0.2: isr 0/1 1/1 2/1",
        ),
        // It is being built, so it holds nothing yet.
        ("at 8 after e2 gaps 9", "serves 2 e2 at 8 after e2 below 9, committed 8"),
    ] {
        let script = format!("{begin}fetch 2/1 e2 {fetch} => {says}");
        play("0/1 epochs 1:0 end 5 committed 4", &script);
    }
}

#[test]
fn the_commit_position_alone_does_not_suffice_before_the_epoch_start() {
    play(
        "0/1 epochs 1:0 end 5 committed 4",
        "record v2 e2 leader 0/1 isr 0/1 1/1 min 2
         fetch 2/1 e2 at 5 after e1 => serves 2 e2 at 5 after e1 below 6, committed 4
         fetch 2/1 e2 at 6 after e2 => wants at 0.2: isr 0/1 1/1 2/1",
    );
}

#[test]
fn who_lags_leaves_but_never_below_the_minimum() {
    let lags = "durable 1
         fetch 1/1 e1 at 1 after e1
         tick 9000
         fetch 1/1 e1 at 1 after e1
         tick 10000
         fetch 1/1 e1 at 1 after e1 =>
         tick 10001";
    let record = "record v1 e1 leader 0/1 isr 0/1 1/1 2/1";
    play("0/1", &format!("{record} min 2\n{lags} => wants at 0.1: isr 0/1 1/1"));
    play("0/1", &format!("{record} min 3\n{lags} =>"));
}

#[test]
fn a_follower_that_is_behind_has_time_when_an_epoch_begins() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 1/1 2/1 min 1
         append 9
         fetch 1/1 e1 at 0 after e0 => serves 1 e1 at 0 after e0 below 9, committed 0
         tick 500 =>
         fetch 1/1 e1 at 2 after e1 => serves 1 e1 at 2 after e1 below 9, committed 0",
    );
}

#[test]
fn one_that_keeps_up_with_a_busy_leader_stays() {
    // It is never at the end, but always at where the end was when it asked before.
    let mut script = "record v1 e1 leader 0/1 isr 0/1 1/1 min 1\n".to_owned();
    for n in 1..30 {
        let (at, end) = (n * 10, n * 10 + 10);
        script += &format!(
            "append {end}
             tick {}
             fetch 1/1 e1 at {at} after e1 => serves 1 e1 at {at} after e1 below {end}, committed 0\n",
            n * 900
        );
    }
    play("0/1", &script);
}

#[test]
fn at_the_minimum_one_that_caught_up_takes_the_place_of_one_that_is_gone() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 1/1 min 2
         durable 1
         tick 10001 =>
         fetch 2/1 e1 at 1 after e1 => wants at 0.1: isr 0/1 2/1",
    );
}

#[test]
fn a_member_that_came_back_under_another_log_takes_its_own_place() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 1/1 min 2
         durable 1
         fetch 1/2 e1 at 0 after e0 => serves 1 e1 at 0 after e0 below 1, committed 0
         fetch 1/2 e1 at 1 after e1 => wants at 0.1: isr 0/1 1/2
         record v2 e1 leader 0/1 isr 0/1 1/2 min 2
         ? committed 1",
    );
}

#[test]
fn who_holds_no_replica_is_refused_and_forgotten() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 min 1
         fetch 9/1 e1 at 0 after e0 => answers 9: e1 at 0 after e0: refused in e1
         ? followers 0",
    );
}

#[test]
fn a_wish_without_an_answer_is_repeated_as_it_was() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 min 1
         durable 1
         fetch 1/1 e1 at 1 after e1 => wants at 0.1: isr 0/1 1/1
         fetch 2/1 e1 at 1 after e1 =>
         tick 1000 => answers 1: e1 at 1 after e1: up to 1, committed 1; \
             answers 2: e1 at 1 after e1: up to 1, committed 1; wants at 0.1: isr 0/1 1/1
         record v2 e1 leader 0/1 isr 0/1 1/1 min 1
         fetch 2/1 e1 at 1 after e1 => wants at 0.2: isr 0/1 1/1 2/1",
    );
}
