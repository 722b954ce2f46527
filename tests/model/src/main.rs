//! Searches for a third of so many seconds, then walks with fresh seeds: `holdfast-model SECONDS`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdfast_model::setup::Operators;
use holdfast_model::walk::Walk;
use holdfast_model::{Cluster, Setup, State, walk};
use holdfast_protocol::FlushMode;
use stateright::{Checker, Model};

/// Steps of a walk.
const STEPS: usize = 600;

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(60);
    let mut broken = search(Duration::from_secs(seconds / 6));
    let until = Instant::now() + Duration::from_secs(seconds - 2 * (seconds / 6));
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let first = u64::try_from(fresh & u128::from(u64::MAX)).unwrap_or_default();
    let spawn = |setup| thread::spawn(move || walks(setup, first, until));
    broken += tally(setups().into_iter().map(spawn).collect());
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every kind of cluster that is walked: with and without a restore of the record store.
fn setups() -> Vec<Setup> {
    let kinds = [Operators::Arbitrary, Operators::Shipped(1), Operators::Shipped(2)];
    let modes = [FlushMode::Sync, FlushMode::Async];
    let both = |flush, kind| [Setup::large(flush, kind), Setup::restored(flush, kind)];
    let of_kind = |kind| modes.into_iter().flat_map(move |flush| both(flush, kind));
    kinds.into_iter().flat_map(of_kind).collect()
}

/// Searches breadth first, for so long in each mode; gives how many invariants were broken.
fn search(time: Duration) -> usize {
    let search = |flush| {
        let checker = Cluster { setup: Setup::small(flush) }.checker().threads(4).timeout(time);
        let checker = checker.spawn_bfs().join();
        let (states, depth) = (checker.unique_state_count(), checker.max_depth());
        let broken = checker.discoveries();
        println!("search, {flush:?}: {states} states, depth {depth}, {} broken", broken.len());
        for (name, path) in &broken {
            println!("{name} after\n{path}");
        }
        broken.len()
    };
    search(FlushMode::Sync) + search(FlushMode::Async)
}

/// Waits for all threads; gives how many walks ended badly. A thread that panicked is one of those.
fn tally(threads: Vec<JoinHandle<usize>>) -> usize {
    let bad = |thread: JoinHandle<usize>| {
        thread.join().unwrap_or_else(|panic| {
            println!("a thread of walks ended: {}", message(&*panic));
            1
        })
    };
    threads.into_iter().map(bad).sum()
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

/// Walks until it is time; gives how many walks ended badly.
fn walks(setup: Setup, first: u64, until: Instant) -> usize {
    let restored = if setup.bounds.rollbacks > 0 { ", restored store" } else { "" };
    let name = format!("{:?}, {:?}{restored}", setup.operators, setup.flush);
    let cluster = Cluster { setup };
    let start = cluster.start();
    let (mut count, mut steps, mut committed, mut bad) = (0_u64, 0, 0, 0);
    while Instant::now() < until {
        let seed = first.wrapping_add(count);
        match one_walk(&cluster, &start, seed) {
            Ok(walk) => {
                steps += walk.trace.len();
                committed += walk.state.seen.committed.len();
            }
            Err(what) => {
                println!("{name}, seed {seed}: {what}");
                bad += 1;
            }
        }
        count += 1;
    }
    println!("{name}: {count} walks, {steps} steps, {committed} entries committed, {bad} bad");
    bad
}

/// A walk and the quiet after it; or what went wrong, be it that a core itself noticed it.
fn one_walk(cluster: &Cluster, start: &State, seed: u64) -> Result<Walk, String> {
    let walk = || {
        let walk = walk::walk(cluster, start, seed, STEPS);
        if let Some(broken) = walk.broken() {
            let trace = walk::minimal(cluster, &walk.trace, broken);
            let lines = walk::explain(cluster, &trace).join("\n");
            return Err(format!("{broken:?} after\n{lines}"));
        }
        if cluster.setup.recovers() {
            let rest = walk::ends_well(cluster, &walk);
            rest.map_err(|unrest| format!("{unrest:?} in the quiet"))?;
        }
        Ok(walk)
    };
    let caught = catch_unwind(AssertUnwindSafe(walk));
    caught.unwrap_or_else(|panic| Err(format!("panicked: {}", message(&*panic))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More operators than the model can number.
    fn too_many() -> Cluster {
        Cluster { setup: Setup::large(FlushMode::Sync, Operators::Shipped(300)) }
    }

    #[test]
    fn a_walk_that_panics_is_a_bad_one() {
        let cluster = too_many();
        let walk = one_walk(&cluster, &cluster.start(), 0);
        let said = walk.map(|walk| walk.trace).expect_err("it can't be walked");
        assert_eq!(
            said.split(": ").take(2).collect::<Vec<_>>()[..],
            ["panicked", "everything in the model is small"]
        );
    }

    #[test]
    fn a_thread_that_panics_is_counted() {
        let panics = |text: &'static str| thread::spawn(move || -> usize { panic!("{text}") });
        let threads = vec![thread::spawn(|| 2), panics("a core noticed"), panics("another")];
        assert_eq!(tally(threads), 4);
    }

    #[test]
    fn all_kinds_are_walked() {
        let count = |which: fn(&Setup) -> bool| setups().iter().filter(|it| which(it)).count();
        assert_eq!(count(|setup| setup.bounds.rollbacks > 0), 6);
        assert_eq!(count(|setup| setup.operators == Operators::Shipped(1)), 4);
    }
}
