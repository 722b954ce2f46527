//! Every target: its seeds, the committed corpus, and a bounded number of mutated inputs under one
//! seed. Each in a process of its own, which a wild allocation may end.

#![allow(clippy::unwrap_used)] // in a test a panic is the failure

use std::process::Command;

use holdfast_fuzz::TARGETS;

/// The seed; `make fuzz` draws others.
const SEED: &str = "1";

/// Runs a target with so many mutated inputs.
fn run(name: &str, inputs: u32) {
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-fuzz"))
        .args(["--one", name, SEED, &inputs.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    print!("{said}");
    assert!(output.status.success(), "{name}: {}: {complained}", output.status);
}

macro_rules! targets {
    ($($test:ident: $name:literal, $inputs:literal;)*) => {
        $(#[test]
        fn $test() {
            run($name, $inputs);
        })*

        #[test]
        fn every_target_is_here() {
            let here = [$($name),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), here);
        }
    };
}

// As many as each gets through in a few seconds.
targets! {
    kafka_door: "kafka-door", 10_000;
    kafka_requests: "kafka-requests", 100_000;
    record_batch: "record-batch", 50_000;
    grpc_messages: "grpc-messages", 100_000;
    replica: "replica", 5_000;
    operator: "operator", 5_000;
    log_segment: "log-segment", 600;
    log_index: "log-index", 600;
    log_checkpoint: "log-checkpoint", 600;
    log_meta: "log-meta", 600;
    log_volume: "log-volume", 300;
    state_checkpoint: "state-checkpoint", 50_000;
    state_commands: "state-commands", 50_000;
    yaml: "yaml", 400;
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let once = || {
        Command::new(env!("CARGO_BIN_EXE_holdfast-fuzz"))
            .args(["--one", "state-commands", "7", "2000"])
            .output()
            .unwrap()
    };
    let first = once();
    assert!(first.status.success());
    assert_eq!(first.stdout, once().stdout);
}
