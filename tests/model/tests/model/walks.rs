//! Walks at random, far beyond what can be searched, each ended by a quiet in which the cluster
//! must become whole again.

use std::env;
use std::time::Instant;

use holdfast_model::setup::Operators;
use holdfast_model::{Cluster, Setup, walk};
use holdfast_protocol::FlushMode;

/// Walks of each kind; `SEEDS` asks for more, and `SEED=7` for one alone.
pub(crate) const SEEDS: u64 = 3_000;
/// Steps of a walk.
pub(crate) const STEPS: usize = 400;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

pub(crate) fn holds(name: &str, setup: Setup) {
    let begun = Instant::now();
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let cluster = Cluster { setup };
    let start = cluster.start();
    let (mut steps, mut committed, mut epochs, mut served) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        let walk = walk::walk(&cluster, &start, seed, STEPS);
        if let Some(broken) = walk.broken() {
            let trace = walk::minimal(&cluster, &walk.trace, broken);
            let lines = walk::explain(&cluster, &trace).join("\n");
            panic!("{name}, seed {seed}: {broken:?} after\n{lines}\nSEED={seed} shows it again");
        }
        match walk::ends_well(&cluster, &walk) {
            Ok(leads) => served += usize::from(leads),
            Err(unrest) => panic!("{name}, seed {seed}: {unrest:?} in the quiet"),
        }
        steps += walk.trace.len();
        committed += walk.state.seen.committed.len();
        epochs += walk.state.store.epochs();
    }
    println!(
        "{name}: {} walks, {steps} steps, {epochs} epochs, {committed} entries committed; \
         {served} served again in the quiet, the others had lost too much; {:.1?}",
        seeds.end - seeds.start,
        begun.elapsed()
    );
    assert!(committed > 0 && served > 0, "walks that commit nothing show nothing");
}

#[test]
fn whatever_stale_operators_could_write() {
    holds("arbitrary, Sync", Setup::large(FlushMode::Sync, Operators::Arbitrary));
    holds("arbitrary, Async", Setup::large(FlushMode::Async, Operators::Arbitrary));
}

#[test]
fn two_operators_that_both_believe_to_be_active() {
    holds("two operators, Sync", Setup::large(FlushMode::Sync, Operators::Shipped(2)));
    holds("two operators, Async", Setup::large(FlushMode::Async, Operators::Shipped(2)));
}
