//! The brokers' processes: started, started again when they end, stopped in order.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use holdfast_operator::Snapshot;
use holdfast_operator_core::BrokerState;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::addresses::Addresses;
use super::desired::{Desired, LISTENER};
use super::directory::Directory;
use super::state::Process;
use crate::logging;

/// Pause before a broker is started again, at first and at most.
const RESTART_MIN: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(5);
/// After so long a life the next pause is the shortest again.
const STEADY: Duration = Duration::from_secs(10);
/// A broker that was never there and ended so often won't start.
const ATTEMPTS_MAX: u32 = 3;
/// How long a broker may take to stop. It bounds its own end by a little less.
const STOP_MAX: Duration = Duration::from_secs(25);
/// Lines of a broker's log that are shown when it won't start.
const TAIL_LINES: usize = 12;

/// All brokers' processes. They are killed where this is dropped without a stop.
pub(crate) struct Brokers {
    states: watch::Receiver<Vec<Process>>,
    stop: CancellationToken,
    ends: mpsc::Receiver<End>,
    keepers: JoinSet<Option<String>>,
    /// Those that the operator has heard of in this run.
    proven: BTreeSet<u32>,
}

/// A process ended, unasked.
struct End {
    broker: u32,
    attempt: u32,
    how: String,
    log: PathBuf,
    tail: Vec<String>,
}

impl Brokers {
    /// Starts all.
    ///
    /// # Errors
    /// Where this program can't be found to be started again.
    pub(crate) fn start(
        directory: &Directory,
        desired: &Desired,
        addresses: &Addresses,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("can't find this program")?;
        let count = desired.brokers;
        let (states, states_rx) = watch::channel(vec![Process::default(); count as usize]);
        let states = Arc::new(states);
        let stop = CancellationToken::new();
        let (ends, ends_rx) = mpsc::channel(count as usize + 1);
        let mut keepers = JoinSet::new();
        for id in 0..count {
            let keeper = Keeper {
                id,
                program: program.clone(),
                arguments: arguments(id, directory, desired, addresses),
                log: directory.broker_log(id),
                states: Arc::clone(&states),
                stop: stop.clone(),
                ends: ends.clone(),
            };
            keepers.spawn(keeper.keep());
        }
        Ok(Self { states: states_rx, stop, ends: ends_rx, keepers, proven: BTreeSet::new() })
    }

    /// The processes, whenever they change.
    pub(crate) fn states(&self) -> watch::Receiver<Vec<Process>> {
        self.states.clone()
    }

    /// Waits until a broker is known not to start, and says why.
    pub(crate) async fn failed(
        &mut self,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> anyhow::Error {
        let mut observed = true;
        loop {
            tokio::select! {
                changed = snapshots.changed(), if observed => {
                    observed = changed.is_ok();
                    let snapshot = Arc::clone(&snapshots.borrow_and_update());
                    let live = snapshot.status.brokers.iter();
                    let live = live.filter(|broker| broker.state == BrokerState::Live);
                    self.proven.extend(live.map(|broker| broker.id.0));
                }
                end = self.ends.recv() => match end {
                    Some(end) if end.attempt >= ATTEMPTS_MAX && !self.proven.contains(&end.broker) => {
                        return wont_start(&end);
                    }
                    Some(end) => warn!(broker = end.broker, "the process ended: {}", end.how),
                    None => return anyhow!("nobody looks after the brokers any more"),
                },
            }
        }
    }

    /// Asks all to stop, and waits; kills those that take too long, and names them.
    ///
    /// # Errors
    /// Where one had to be killed.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut killed = Vec::new();
        while let Some(ended) = self.keepers.join_next().await {
            killed.extend(ended.context("a broker's keeper failed")?);
        }
        anyhow::ensure!(killed.is_empty(), "{}", killed.join("; "));
        Ok(())
    }
}

fn wont_start(end: &End) -> anyhow::Error {
    let mut text = format!("broker {} does not start: {}", end.broker, end.how);
    if end.tail.is_empty() {
        text.push_str("; it logged nothing");
    } else {
        text.push_str("; the end of its log, ");
        text.push_str(&format!("{}:\n  {}", end.log.display(), end.tail.join("\n  ")));
    }
    anyhow!(text)
}

fn arguments(
    id: u32,
    directory: &Directory,
    desired: &Desired,
    addresses: &Addresses,
) -> Vec<String> {
    let words = [
        "broker".to_owned(),
        format!("--id={id}"),
        format!("--cluster={}", desired.cluster_id),
        format!("--data={}", directory.broker(id).join("data").display()),
        format!("--peer={}", addresses.peer(id)),
        format!("--kafka={LISTENER}={}", addresses.kafka(id)),
        format!("--http={}", addresses.http(id)),
        format!("--die-with-parent={}", std::process::id()),
    ];
    words.into()
}

/// Keeps one broker's process.
struct Keeper {
    id: u32,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    states: Arc<watch::Sender<Vec<Process>>>,
    stop: CancellationToken,
    ends: mpsc::Sender<End>,
}

impl Keeper {
    /// Runs until the process is to stop; returns what is to be said about its stop, if anything.
    async fn keep(self) -> Option<String> {
        let mut pause = RESTART_MIN;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let began = Instant::now();
            let log_from = std::fs::metadata(&self.log).map_or(0, |log| log.len());
            let how = match self.spawn() {
                Err(error) => format!("{error:#}"),
                Ok(mut child) => {
                    self.note(child.id());
                    tokio::select! {
                        ended = child.wait() => how_it_ended(ended),
                        () = self.stop.cancelled() => {
                            let killed = self.end(&mut child).await;
                            self.note(None);
                            return killed;
                        }
                    }
                }
            };
            self.note_end(&how);
            if began.elapsed() > STEADY {
                pause = RESTART_MIN;
            }
            let tail = logging::tail(&self.log, log_from, TAIL_LINES);
            let end = End { broker: self.id, attempt, how, log: self.log.clone(), tail };
            let rest = async {
                // Nobody to tell is the end of all, which the next wait meets.
                let _ = self.ends.send(end).await;
                sleep(pause).await;
            };
            tokio::select! {
                () = rest => {}
                () = self.stop.cancelled() => return None,
            }
            pause = (pause * 2).min(RESTART_MAX);
            self.states.send_modify(|all| {
                if let Some(process) = all.get_mut(self.id as usize) {
                    process.restarts += 1;
                }
            });
        }
    }

    /// Starts the process. In a group of its own, so that Ctrl-C on a terminal reaches this
    /// process alone, which then stops the brokers in order.
    fn spawn(&self) -> anyhow::Result<Child> {
        let log = logging::open(&self.log)?;
        let also = log.try_clone().context("can't open its log twice")?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also)
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        child.with_context(|| format!("can't run {}", self.program.display()))
    }

    fn note(&self, pid: Option<u32>) {
        if let Some(pid) = pid {
            info!(broker = self.id, pid, "started");
        }
        self.states.send_modify(|all| {
            if let Some(process) = all.get_mut(self.id as usize) {
                process.pid = pid;
            }
        });
    }

    fn note_end(&self, how: &str) {
        self.states.send_modify(|all| {
            if let Some(process) = all.get_mut(self.id as usize) {
                process.pid = None;
                process.last_end = Some(how.to_owned());
            }
        });
    }

    /// Asks the process to stop and waits; kills it when that takes too long.
    async fn end(&self, child: &mut Child) -> Option<String> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)?;
        // Either fails only where it has ended already. A frozen process could not stop.
        let _ = kill_process(pid, Signal::TERM);
        let _ = kill_process(pid, Signal::CONT);
        if timeout(STOP_MAX, child.wait()).await.is_ok() {
            return None;
        }
        // The same: it has ended already.
        let _ = child.kill().await;
        Some(format!("broker {} did not stop within {STOP_MAX:?} and was killed", self.id))
    }
}

fn how_it_ended(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => status.to_string(),
        Err(error) => format!("it can't be waited for: {error}"),
    }
}
