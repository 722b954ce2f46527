//! Each rule of the replication table is taken away, and its loss is noticed; or it is said why
//! it is not, and shown that it holds.

use std::collections::VecDeque;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

use holdfast_model::invariants::Invariant;
use holdfast_model::quiet::Unrest;
use holdfast_model::rows::{ROWS, Row, Verdict};
use holdfast_model::setup::Operators;
use holdfast_model::{Cluster, walk};
use holdfast_protocol::FlushMode;

/// Steps of a walk.
const STEPS: usize = 400;
/// Walks after the noted one within which a loss is noticed, should the walks have changed.
const SEEDS: u64 = 6_000;
/// Walks within which nothing is noticed.
const HOLDS_SEEDS: u64 = 300;

/// A single invariant, as the setup takes it.
fn only(invariant: Invariant) -> &'static [Invariant] {
    let at = Invariant::ALL.iter().position(|other| *other == invariant).unwrap();
    static ALL: [Invariant; 11] = Invariant::ALL;
    &ALL[at..=at]
}

/// The seed of a walk that breaks the invariant, and its shortest trace.
fn broken(cluster: &Cluster, from: u64, invariant: Invariant) -> Option<(u64, usize)> {
    let start = cluster.start();
    (from..from + SEEDS).find_map(|seed| {
        // Without a rule, a core may notice by itself that something can't be.
        let walk = catch_unwind(AssertUnwindSafe(|| walk::walk(cluster, &start, seed, STEPS)));
        let walk = walk.ok().filter(|walk| walk.broken() == Some(invariant))?;
        let trace = walk::minimal(cluster, &walk.trace, invariant);
        if env::var("TRACE").is_ok() {
            println!("{}", walk::explain(cluster, &trace).join("\n"));
        }
        Some((seed, trace.len()))
    })
}

fn holds(row: &Row) -> Result<(), String> {
    for operators in [Operators::Arbitrary, Operators::Shipped(2)] {
        for flush in [FlushMode::Sync, FlushMode::Async] {
            // The leader's own minimum is all that the arbitrary operator has.
            if operators == Operators::Arbitrary && row.without.ends_with("alone") {
                continue;
            }
            let cluster = row.cluster(flush, operators, &Invariant::ALL);
            let start = cluster.start();
            for seed in 0..HOLDS_SEEDS {
                if let Some(broken) = walk::walk(&cluster, &start, seed, STEPS).broken() {
                    return Err(format!("{}: {broken:?} with seed {seed}", row.without));
                }
            }
        }
    }
    Ok(())
}

/// The seed of a walk after which the quiet does not bring something.
fn stuck(cluster: &Cluster, from: u64, unrest: Unrest) -> Option<u64> {
    let start = cluster.start();
    (from..from + SEEDS).find(|seed| {
        let rest = catch_unwind(AssertUnwindSafe(|| {
            walk::ends_well(cluster, &walk::walk(cluster, &start, *seed, STEPS))
        }));
        matches!(rest, Ok(Err(found)) if found == unrest)
    })
}

fn judge(row: &Row) -> Result<String, String> {
    match row.verdict {
        Verdict::Breaks(flush, operators, invariant, seed) => {
            let cluster = row.cluster(flush, operators, only(invariant));
            let found = broken(&cluster, seed, invariant);
            let (seed, steps) = found.ok_or(format!("{}: nothing is noticed", row.without))?;
            Ok(format!("{}: {invariant:?}, seed {seed}, {steps} steps at least", row.without))
        }
        Verdict::Stuck(flush, operators, unrest, seed, why) => {
            holds(row)?;
            let cluster = row.cluster(flush, operators, &Invariant::ALL);
            let found = stuck(&cluster, seed, unrest);
            let seed = found.ok_or(format!("{}: every walk ends well", row.without))?;
            Ok(format!("{}: {unrest:?} in the quiet, seed {seed}, for {why}", row.without))
        }
        Verdict::Holds(why) => holds(row).map(|()| format!("{}: holds, for {why}", row.without)),
    }
}

#[test]
fn every_rule_is_needed_or_it_is_said_why_not() {
    let only = env::var("ROW").unwrap_or_default();
    let rows = ROWS.iter().filter(|row| row.without.contains(&only));
    let waiting: Mutex<VecDeque<&Row>> = Mutex::new(rows.collect());
    let next = || waiting.lock().unwrap().pop_front();
    let work = || {
        let mut failed = Vec::new();
        while let Some(row) = next() {
            match judge(row) {
                Ok(line) => println!("without {line}"),
                Err(line) => failed.push(line),
            }
        }
        failed
    };
    let failed: Vec<String> = thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_invariant_is_seen_to_break() {
    let breaks = |invariant| {
        let this =
            |row: &Row| matches!(row.verdict, Verdict::Breaks(_, _, it, _) if it == invariant);
        ROWS.iter().any(this)
    };
    let never: Vec<_> = Invariant::ALL.into_iter().filter(|it| !breaks(*it)).collect();
    assert!(never.is_empty(), "an invariant that no row breaks shows nothing: {never:?}");
}

#[test]
fn the_table_in_the_documentation_is_that_of_the_rows() {
    let told = include_str!("../../../../docs/model.md");
    let begin = "| without | what breaks |\n|---|---|\n";
    let table = told.split_once(begin).unwrap().1.split_once("\n\n").unwrap().0;
    let rows: Vec<_> =
        ROWS.iter().map(|row| format!("| {} | {} |", row.without, row.verdict)).collect();
    assert_eq!(table, rows.join("\n"), "docs/model.md is to have these lines");
}
