//! The cluster under all its weathers, and proof that it notices a rule that is missing.
//!
//! `SEEDS=50000 cargo test -p holdfast-core cluster` runs more of them, and `SEED=7` one alone. A
//! failure says which seed it was, and shows the last steps.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use holdfast_protocol::FlushMode;

use super::{Setup, World};
use crate::replica::rules::Rule;

/// Runs of every kind of cluster by default; `SEEDS` asks for more.
const SEEDS: u64 = 1_000;
/// Runs within which a missing rule is noticed.
const BROKEN_SEEDS: u64 = 4_000;

const SYNC: Setup = Setup {
    replicas: 3,
    flush: FlushMode::Sync,
    unclean: false,
    tells_commits: false,
    broken: None,
};
const ASYNC: Setup = Setup { flush: FlushMode::Async, ..SYNC };

/// What a run showed, with the last steps if asked for.
fn run(seed: u64, setup: Setup, traced: bool) -> Result<usize, (String, String)> {
    let mut world = World::new(seed, setup, traced);
    let result = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    });
    let trace = world.trace.take().unwrap_or_default();
    let trace: Vec<String> = trace.into_iter().collect();
    result.map(|()| world.checker.acknowledged()).map_err(|violation| (violation, trace.join("\n")))
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs the seeds, or the one of `SEED`, and shows the trace of the first that fails.
fn holds(setup: Setup) {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let mut acknowledged = 0;
    for seed in seeds {
        match run(seed, setup, false) {
            Ok(more) => acknowledged += more,
            Err((violation, _)) => {
                let trace = run(seed, setup, true).err().map(|(_, trace)| trace);
                panic!(
                    "seed {seed} of {setup:?}: {violation}\n{}\nSEED={seed} shows it again",
                    trace.unwrap_or_default()
                );
            }
        }
    }
    println!("{count} runs of {setup:?}: {acknowledged} batches acknowledged, none lost");
    assert!(setup.unclean || acknowledged > 0, "clusters that acknowledge nothing show nothing");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| {
        let mut world = World::new(seed, SYNC, true);
        let result = world.run();
        (result, world.trace)
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7).1, trace(8).1);
}

#[test]
fn three_replicas_that_flush_before_they_count() {
    holds(SYNC);
}

#[test]
fn three_replicas_that_count_before_they_flush() {
    holds(ASYNC);
}

#[test]
fn four_replicas() {
    holds(Setup { replicas: 4, ..SYNC });
    holds(Setup { replicas: 4, ..ASYNC });
}

#[test]
fn leaders_that_tell_of_commits_at_once() {
    holds(Setup { tells_commits: true, ..SYNC });
    holds(Setup { tells_commits: true, replicas: 4, ..ASYNC });
}

#[test]
fn unclean_elections_end_well() {
    holds(Setup { unclean: true, ..ASYNC });
}

/// Without the rule, some run within the bound ends badly.
fn is_needed(rule: Rule) {
    let seeds = 0..number("SEEDS").unwrap_or(BROKEN_SEEDS);
    let found = seeds.flat_map(|seed| [SYNC, ASYNC].map(|setup| (seed, setup))).find_map(
        |(seed, setup)| {
            let setup = Setup { broken: Some(rule), ..setup };
            run(seed, setup, false).err().map(|(violation, _)| (seed, violation))
        },
    );
    let (seed, violation) = found.expect("the cluster does not notice that the rule is missing");
    println!("without {rule:?}, seed {seed}: {violation}");
    let harmless = violation.starts_with("no rest");
    assert!(!harmless, "{violation}");
}

#[test]
fn what_is_proposed_counts_while_its_fate_is_unknown() {
    is_needed(Rule::Union);
}

#[test]
fn who_joins_has_what_is_committed() {
    is_needed(Rule::JoinAtCommit);
}

#[test]
fn logs_are_cut_where_the_epochs_part() {
    is_needed(Rule::EpochHistory);
}

#[test]
fn answers_to_a_log_that_moved_are_dropped() {
    is_needed(Rule::DropMoved);
}
