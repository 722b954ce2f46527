//! `holdfast up`: a whole cluster on this machine.
//!
//! The brokers are child processes on loopback; the operator runs in this process, over records
//! in files. What is told here is what people and scripts see: plain words before anything
//! starts, a table or lines while it runs, `status.json` for whoever asks.

mod addresses;
mod brokers;
mod desired;
mod directory;
mod ignored;
mod screen;
mod state;
mod status_file;

use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use holdfast_api::load::{Loaded, Previous, Source, load_update};
use holdfast_operator::Operator;
use holdfast_operator::store::{LocalStore, RecordStore};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::logging;
use addresses::Addresses;
use brokers::Brokers;
use desired::{Desired, Stored};
use directory::Directory;
use state::View;

/// Exit code for input that is refused, as of a usage error.
const REFUSED: u8 = 2;

/// For how long brokers may take to listen before a refused connection is taken for a loss.
const PATIENCE: Duration = Duration::from_secs(15);

/// A signal so soon after the first is the same wish.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Run a whole cluster on this machine, from the YAML of a ReplicationPolicy and its Topics.
///
/// Brokers are processes on 127.0.0.1; one that ends is started again. Data, logs and
/// status.json are in one directory, kept between runs; delete it to begin anew. Ctrl-C stops
/// everything in order; a second one kills what has not stopped yet.
///
/// Ports: Kafka clients of broker N use the port of the policy's internal listener plus N (9092,
/// 9093, ...), brokers among themselves that plus 100, /metrics, /livez and /readyz that plus 200.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// YAML files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Directory of all data.
    #[arg(long, default_value = "holdfast-data")]
    data: PathBuf,
    /// Kafka port of the first broker, in place of the policy's; the other ports follow it.
    #[arg(long, value_name = "PORT")]
    port_base: Option<u16>,
    /// No table: print a line for whatever happens, also on a terminal.
    #[arg(long, visible_alias = "no-table")]
    plain: bool,
}

/// Runs until a signal ends it.
///
/// # Errors
/// Where it can't start, or a broker does not start, or what it was told to stop does not.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let texts = read(&arguments.files)?;
    // Refused before anything is made; held to what ran before as soon as that is known.
    if let Err(code) = check(&texts, &Previous::default()) {
        return Ok(code);
    }
    let directory = Directory::open(&arguments.data)?;
    let stored = directory.stored()?;
    let topics = stored.as_ref().map(Stored::topics).unwrap_or_default();
    let policy = stored.as_ref().map(Stored::policy);
    let loaded = match check(&texts, &Previous { policy, topics: &topics, queues: &[] }) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    let store = LocalStore::open(&directory.records()).context("can't open the record store")?;
    let records = store.list().await.context("can't read the record store")?;
    let desired = match Desired::new(loaded, stored, &records) {
        Ok(desired) => desired,
        Err(problems) => return Ok(refuse(problems.iter())),
    };
    let policy = &desired.policy.spec;
    let base = arguments.port_base.unwrap_or(policy.listeners.kafka.internal.port);
    let addresses = Addresses::new(base, desired.brokers)?;
    addresses.check_free()?;
    let table = stdout().is_terminal() && !arguments.plain;
    if table {
        logging::to_file(logging::open(&directory.operator_log())?);
    } else {
        logging::to_stderr();
    }
    let mut signals = Signals::new()?;
    directory.store(&desired.to_store())?;
    let (desired, addresses) = (&desired, &addresses);
    let ended = serve(&directory, store, desired, addresses, table, &mut signals).await;
    info!("stopped");
    ended.map(|()| ExitCode::SUCCESS)
}

/// Starts everything, waits for a signal or a broker that won't start, and stops everything.
async fn serve(
    directory: &Directory,
    store: LocalStore,
    desired: &Desired,
    addresses: &Addresses,
    table: bool,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let mut brokers = Brokers::start(directory, desired, addresses)?;
    let settings = desired.settings(addresses, PATIENCE);
    let operator = Operator::start(settings, store, desired.topics())
        .await
        .context("can't read the record store")?;
    let view = View {
        operator: operator.snapshots(),
        brokers: brokers.states(),
        events: operator.events(),
        about: state::About::new(directory.path(), desired, addresses),
    };
    let file = tokio::spawn(status_file::keep(directory.status_file(), view.again()));
    let ids = tokio::spawn(keep_ids(directory.clone(), desired.clone(), view.again()));
    let shown = tokio::spawn(screen::show(view.again(), table));
    let ended = tokio::select! {
        () = signals.stop() => Ok(()),
        failure = brokers.failed(operator.snapshots()) => Err(failure),
    };
    shown.abort();
    // It ends by putting the terminal back as it was.
    let _ = shown.await;
    ids.abort();
    if !table {
        say("stopping");
    }
    operator.stop().await;
    let stopped = tokio::select! {
        stopped = brokers.stop() => stopped,
        () = signals.stop() => Err(anyhow::anyhow!("stopped in haste: the brokers were killed")),
    };
    // The last word is that no broker runs.
    file.abort();
    let _ = file.await;
    ended.and(stopped).and(status_file::write_stopped(&directory.status_file(), &view))
}

/// A line for whoever listens; nobody may be there any more.
fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// Persists the ids of topics that were found under another id than was drawn.
async fn keep_ids(directory: Directory, desired: Desired, mut view: View) {
    let mut stored = desired.to_store();
    while view.operator.changed().await.is_ok() {
        let snapshot = view.operator.borrow_and_update().clone();
        if stored.learn(&snapshot)
            && let Err(error) = directory.store(&stored)
        {
            tracing::warn!("the ids of topics are not kept: {error:#}");
        }
    }
}

/// The files' names and texts.
fn read(files: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    files.iter().map(|path| Ok((path.display().to_string(), text(path)?))).collect()
}

/// Checks what was read, also as a change of `previous`. Where it is refused, that has been told.
fn check(texts: &[(String, String)], previous: &Previous<'_>) -> Result<Loaded, ExitCode> {
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    load_update(&sources, previous).map_err(|problems| refuse(problems.iter()))
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

fn refuse(problems: impl Iterator<Item = impl std::fmt::Display>) -> ExitCode {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    eprintln!("nothing was started");
    ExitCode::from(REFUSED)
}

/// The signals that ask for an end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// When the end was asked for first.
    asked: Option<Instant>,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("can't wait for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
            asked: None,
        })
    }

    /// Waits until the end is asked for: once, or again by somebody who loses patience.
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = self.hangup.recv() => {}
            }
            // One Ctrl-C may come as two signals, from the terminal and from what started this.
            if self.asked.is_none_or(|asked| asked.elapsed() > AGAIN_AFTER) {
                self.asked.get_or_insert_with(Instant::now);
                return;
            }
        }
    }
}
