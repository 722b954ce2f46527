//! The `holdfast` program: one command, one file.
//!
//! `holdfast up` runs a whole cluster on this machine, `holdfast broker` one broker, `holdfast
//! operator` the operator on Kubernetes, and `holdfast verify` tries a cluster as a client would. A
//! library only so that tests can have the same program with a rule of replication taken away
//! (`src/ablation.rs`).

mod broker;
mod logging;
mod operator;
mod up;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A queue that does not lose messages.
#[derive(Parser)]
#[command(name = "holdfast", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Arguments),
    Broker(broker::Arguments),
    Verify(verify::Arguments),
    Operator(operator::Arguments),
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn run() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let ended = match command {
        Command::Up(arguments) => runtime.block_on(up::run(arguments)),
        Command::Broker(arguments) => runtime.block_on(broker::run(arguments)),
        Command::Verify(arguments) => runtime.block_on(verify::run(arguments)),
        Command::Operator(arguments) => runtime.block_on(operator::run(arguments)),
    };
    match ended {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// Says why it ended, in words for people.
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
