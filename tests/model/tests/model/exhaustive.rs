//! Every order of events, at bounds where nothing is left out.

use std::time::Instant;

use holdfast_model::setup::Bounds;
use holdfast_model::{Cluster, Setup};
use holdfast_protocol::FlushMode;
use stateright::{Checker, Model};

/// Searches all that a setup can reach; gives how many states that is.
fn search(name: &str, setup: Setup) -> usize {
    let begun = Instant::now();
    let checker = Cluster { setup }.checker().threads(2).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: all {states} states, depth {depth}, {:.1?}", begun.elapsed());
    checker.assert_properties();
    states
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
        search(&format!("power cut, {flush:?}"), Setup { bounds, ..Setup::small(flush) });
    }
}
