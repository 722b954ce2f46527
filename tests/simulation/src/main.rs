//! Runs fresh seeds for a while, or one seed again.
//!
//! usage: `holdfast-simulation SECONDS [THREADS]`, or `holdfast-simulation --seed SEED`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdfast_protocol::mark::Mark;
use holdfast_simulation::run;

/// What all threads have seen.
#[derive(Default)]
struct Total {
    runs: u64,
    faults: BTreeMap<&'static str, u64>,
    marks: BTreeMap<Mark, u64>,
    acknowledged: u64,
    read: u64,
    committed_cursors: u64,
    lost: u64,
    healed_ms_max: u64,
    waited_ms_max: u64,
    peak: BTreeMap<&'static str, u64>,
    violations: Vec<u64>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    if arguments.first().is_some_and(|first| first == "--seed") {
        let seed = number(1).unwrap_or(0);
        match run(seed) {
            Ok(outcome) => println!("seed {seed}: {outcome:#?}"),
            Err(violation) => {
                println!("seed {seed}: VIOLATION: {violation}");
                std::process::exit(1);
            }
        }
        return;
    }
    let seconds = Duration::from_secs(number(0).unwrap_or(60));
    let threads = number(1).unwrap_or(2);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = since.as_secs() * 1_000_000;
    println!("fresh seeds from {first} on, for {} s, {threads} at a time", seconds.as_secs());
    let (next, total, begun) =
        (AtomicU64::new(first), Mutex::new(Total::default()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while begun.elapsed() < seconds {
                    try_seed(next.fetch_add(1, Ordering::Relaxed), &total);
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Total { runs, acknowledged, read, committed_cursors, lost, .. } = total;
    println!("runs {runs} in {} s", begun.elapsed().as_secs());
    println!("acknowledged {acknowledged}, read {read}, offsets committed {committed_cursors}");
    println!("lost in Async mode, where it was possible and told: {lost}");
    println!("well again after at most {} ms", total.healed_ms_max);
    println!("stored after at most {} ms while all but one were well", total.waited_ms_max);
    for (what, most) in &total.peak {
        println!("most {what} at once: {most}");
    }
    println!("most memory of this process, {threads} clusters at a time: {}", peak_memory());
    for (fault, count) in &total.faults {
        println!("  {fault}: {count}");
    }
    println!("marks reached: {} of {}", total.marks.len(), Mark::ALL.len());
    for mark in Mark::ALL {
        println!("  {mark:?}: {}", total.marks.get(mark).copied().unwrap_or(0));
    }
    println!("violations: {}, seeds {:?}", total.violations.len(), total.violations);
    if !total.violations.is_empty() {
        std::process::exit(1);
    }
}

fn try_seed(seed: u64, total: &Mutex<Total>) {
    let outcome = std::panic::catch_unwind(|| run(seed));
    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.runs += 1;
    match outcome {
        Ok(Ok(outcome)) => {
            total.acknowledged += outcome.acknowledged;
            total.read += outcome.read;
            total.committed_cursors += outcome.committed_cursors;
            total.lost += outcome.lost;
            total.waited_ms_max = total.waited_ms_max.max(outcome.waited_ms);
            total.healed_ms_max = total.healed_ms_max.max(outcome.healed_ms);
            for (what, most) in outcome.peak {
                let known = total.peak.entry(what).or_default();
                *known = (*known).max(most);
            }
            for (fault, count) in outcome.faults {
                *total.faults.entry(fault).or_default() += count;
            }
            for (mark, count) in outcome.marks {
                *total.marks.entry(mark).or_default() += count;
            }
        }
        Ok(Err(violation)) => {
            println!("seed {seed}: VIOLATION: {violation}");
            total.violations.push(seed);
        }
        Err(_) => {
            println!("seed {seed}: VIOLATION: a broker's or operator's invariant broke (above)");
            total.violations.push(seed);
        }
    }
}

/// The most memory that this process has had at any time, as the system tells.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "not known".to_owned(), |most| most.trim().to_owned())
}
