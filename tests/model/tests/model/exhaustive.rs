//! Every order of events, at bounds where nothing is left out.

use std::time::Instant;

use holdfast_model::setup::{Bounds, Operators};
use holdfast_model::{Cluster, Setup};
use holdfast_protocol::FlushMode;
use stateright::{Checker, Model};

/// Searches all that a setup can reach, or all that it reaches in so many steps.
fn search(name: &str, setup: Setup, depth_max: Option<usize>) {
    let begun = Instant::now();
    let checker = Cluster { setup }.checker().threads(2);
    let checker = match depth_max {
        Some(depth) => checker.target_max_depth(depth),
        None => checker,
    };
    let checker = checker.spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: all {states} states, depth {depth}, {:.1?}", begun.elapsed());
    checker.assert_properties();
    assert!(states > 1_000, "a search that reaches next to nothing shows nothing");
}

/// No fault but those that a test names.
fn bounds() -> Bounds {
    Bounds {
        entries: 1,
        epochs: 2,
        records: 2,
        messages: 2,
        repeats: 0,
        kills: 0,
        power_cuts: 0,
        volumes: 0,
        rollbacks: 0,
        ticks: 0,
        operator_faults: 0,
    }
}
#[test]
fn a_power_cut_and_an_election() {
    for flush in [FlushMode::Sync, FlushMode::Async] {
        let bounds = Bounds { power_cuts: 1, ..bounds() };
        search(&format!("power cut, {flush:?}"), Setup { bounds, ..Setup::small(flush) }, None);
    }
}

#[test]
fn a_follower_that_lags_while_the_power_goes() {
    let bounds = Bounds { power_cuts: 1, ticks: 1, ..bounds() };
    search("lag, Sync", Setup { bounds, ..Setup::small(FlushMode::Sync) }, None);
}

#[test]
fn messages_that_come_again() {
    for flush in [FlushMode::Sync, FlushMode::Async] {
        let bounds = Bounds { messages: 3, repeats: 1, ..bounds() };
        search(&format!("repeats, {flush:?}"), Setup { bounds, ..Setup::small(flush) }, None);
    }
}

#[test]
fn two_operators_and_a_write_whose_fate_is_unknown() {
    let bounds = Bounds { messages: 1, kills: 1, operator_faults: 1, ..bounds() };
    let operators = Operators::Shipped(2);
    let setup = Setup { bounds, operators, ..Setup::small(FlushMode::Sync) };
    search("two operators", setup, Some(6));
}
