//! Searches for a third of so many seconds, then walks with fresh seeds: `holdfast-model SECONDS`.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdfast_model::setup::Operators;
use holdfast_model::{Cluster, Setup, walk};
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
    let kinds = [Operators::Arbitrary, Operators::Shipped(2)];
    let modes = [FlushMode::Sync, FlushMode::Async];
    let setups = kinds.into_iter().flat_map(|kind| modes.map(|flush| Setup::large(flush, kind)));
    let threads: Vec<_> =
        setups.map(|setup| std::thread::spawn(move || walks(setup, first, until))).collect();
    broken += threads.into_iter().filter_map(|thread| thread.join().ok()).sum::<usize>();
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// Walks until it is time; gives how many walks ended badly.
fn walks(setup: Setup, first: u64, until: Instant) -> usize {
    let name = format!("{:?}, {:?}", setup.operators, setup.flush);
    let cluster = Cluster { setup };
    let start = cluster.start();
    let (mut count, mut steps, mut committed, mut bad) = (0_u64, 0, 0, 0);
    while Instant::now() < until {
        let seed = first.wrapping_add(count);
        let walk = walk::walk(&cluster, &start, seed, STEPS);
        if let Some(broken) = walk.broken() {
            let trace = walk::minimal(&cluster, &walk.trace, broken);
            let lines = walk::explain(&cluster, &trace).join("\n");
            println!("{name}, seed {seed}: {broken:?} after\n{lines}");
            bad += 1;
        } else if let Err(unrest) = walk::ends_well(&cluster, &walk) {
            println!("{name}, seed {seed}: {unrest:?} in the quiet");
            bad += 1;
        }
        count += 1;
        steps += walk.trace.len();
        committed += walk.state.seen.committed.len();
    }
    println!("{name}: {count} walks, {steps} steps, {committed} entries committed, {bad} bad");
    bad
}
