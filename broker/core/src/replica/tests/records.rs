//! Records: which count, who leads by them, and that fetches go on.

use super::script::play;

#[test]
fn only_a_newer_record_counts() {
    play(
        "0/1",
        "record v5 e3 leader 1/1 isr 0/1 1/1 min 1 => asks 1: e3 at 0 after e0 held 0 committed 0 gaps 0
         record v5 e4 leader 0/1 isr 0/1 1/1 min 1 =>
         record v4 e9 leader 0/1 isr 0/1 1/1 min 1 =>
         ? epoch 3 leads -
         record g1 v1 e4 leader 0/1 isr 0/1 1/1 min 1 => appends
         ? leads 4
         record v9 e9 leader 1/1 isr 0/1 1/1 min 1 =>
         ? leads 4",
    );
}

#[test]
fn an_epoch_never_comes_back_even_if_the_store_does() {
    play(
        "0/1",
        "record v5 e3 leader 0/1 isr 0/1 1/1 min 1
         record g1 v6 e2 leader 1/1 isr 0/1 1/1 min 1 =>
         ? epoch 3 leads 3",
    );
    // Its own log knows an epoch that no record told of.
    play(
        "0/1 epochs 4:0 end 2",
        "record v5 e4 leader 0/1 isr 0/1 1/1 min 1 =>
         ? leads -
         record v6 e5 leader 0/1 isr 0/1 1/1 min 1 => appends
         ? leads 5",
    );
}

#[test]
fn it_leads_only_under_its_own_name() {
    for (leader, leads) in [("0/1", "2"), ("0/2", "-"), ("1/1", "-"), ("none", "-")] {
        let script = format!("record v2 e2 leader {leader} isr 0/1 1/1 min 1\n? leads {leads}");
        play("0/1", &script);
    }
}

#[test]
fn after_a_restart_it_does_not_lead_its_epoch_again() {
    play(
        "0/1 epochs 2:0 end 3 committed 1 knows v2 e2 leader 0/1 isr 0/1 1/1 min 1",
        "? leads - follows - epoch 2
         record v3 e2 leader 0/1 isr 0/1 min 1 =>
         ? leads -
         record v4 e3 leader 0/1 isr 0/1 min 1 => appends
         ? leads 3",
    );
}

#[test]
fn a_fetch_of_an_epoch_to_come_waits_for_its_record() {
    play(
        "0/1",
        "record v1 e1 leader 1/1 isr 0/1 1/1 2/1 min 2 => asks 1: e1 at 0 after e0 held 0 committed 0 gaps 0
         fetch 1/1 e2 at 0 after e0 held 0 =>
         fetch 2/1 e3 at 0 after e0 held 0 =>
         record v2 e2 leader 0/1 isr 0/1 1/1 2/1 min 2 => appends; serves 1 e2 at 0 after e0 below 1, committed 0
         record v3 e3 leader 1/1 isr 0/1 1/1 2/1 min 2 => asks 1: e3 at 1 after e2 held 0 committed 0 gaps 0; answers 2: e3 at 0 after e0: refused in e3",
    );
}

#[test]
fn a_leader_that_is_replaced_follows() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 1/1 min 1
         record v2 e2 leader 1/1 isr 0/1 1/1 min 1 => asks 1: e2 at 1 after e1 held 0 committed 0 gaps 0
         ? leads - follows 1
         record v3 e2 leader none isr 0/1 1/1 min 1 =>
         ? leads - follows -",
    );
}

#[test]
fn a_replica_that_is_being_built_does_not_lead() {
    play(
        "0/1 epochs 1:0 end 3 gaps 5",
        "record v2 e2 leader 0/1 isr 0/1 min 1 =>
         ? leads - building true",
    );
}

#[test]
fn a_fetch_without_an_answer_is_repeated() {
    let asks = "asks 1: e2 at 0 after e0 held 0 committed 0 gaps 0";
    play(
        "0/1",
        &format!(
            "record v2 e2 leader 1/1 isr 0/1 1/1 min 1 => {asks}
             tick 10 =>
             tick 1500 =>
             tick 1510 => {asks}
             tick 1600 =>
             refused 1 e2 at 0 after e0 =>
             tick 1690 =>
             tick 1700 => {asks}"
        ),
    );
}

#[test]
fn a_fetch_that_waits_is_answered_with_entries_or_news_or_after_a_while() {
    play(
        "0/1",
        "record v1 e1 leader 0/1 isr 0/1 1/1 min 1
         durable 1
         fetch 1/1 e1 at 1 after e1 =>
         append 2 => appends; serves 1 e1 at 1 after e1 below 2, committed 1
         fetch 1/1 e1 at 2 after e1 committed 1 =>
         durable 2
         tick 10 => answers 1: e1 at 2 after e1: up to 2, committed 2
         fetch 1/1 e1 at 2 after e1 committed 2 =>
         tick 509 =>
         tick 510 => answers 1: e1 at 2 after e1: up to 2, committed 2",
    );
}
