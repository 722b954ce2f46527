//! `holdfast broker`: one broker.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use holdfast_broker::Settings;
use holdfast_protocol::BrokerId;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::logging;

/// Run one broker. An operator finds it and tells it what to do; `holdfast up` and Kubernetes
/// start brokers by themselves.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of this broker, from 0.
    #[arg(long, env = "HOLDFAST_BROKER")]
    id: u32,
    /// Id of the cluster: operators and peers of another one are refused.
    #[arg(long)]
    cluster: String,
    /// Directory of its data.
    #[arg(long)]
    data: PathBuf,
    /// Address for other brokers and the operator (gRPC).
    #[arg(long, value_name = "IP:PORT")]
    peer: SocketAddr,
    /// Listener for Kafka clients, such as internal=127.0.0.1:9092. May be given more than once.
    #[arg(long, value_name = "NAME=IP:PORT", value_parser = listener, required = true)]
    kafka: Vec<(String, SocketAddr)>,
    /// Address for /metrics, /livez and /readyz.
    #[arg(long, value_name = "IP:PORT")]
    http: SocketAddr,
    /// Directory of ca.crt, tls.crt and tls.key (or broker-<ID>.crt and .key) for connections
    /// among brokers and with the operator; read again when they change. Without it these connections are plain, and
    /// anyone who reaches --peer is let in.
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// How long to go on serving after SIGTERM while others take over, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    stop_timeout: u64,
    /// How often everything on the volume is read, so that rot is found and repaired while
    /// other replicas have what it took; seconds, 0 for never.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, env = "HOLDFAST_SCRUB_EVERY")]
    scrub_every: u64,
    /// End at once when the process with this id, which must be the parent, ends.
    #[arg(long, value_name = "PID")]
    die_with_parent: Option<i32>,
}

fn listener(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("write NAME=IP:PORT")?;
    let address = address.parse().map_err(|_| format!("`{address}` is not IP:PORT"))?;
    Ok((name.to_owned(), address))
}

/// Runs until a signal ends it.
///
/// # Errors
/// Where it can't start.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Some(parent) = arguments.die_with_parent {
        die_with(parent)?;
    }
    logging::to_stderr();
    let mut terminate = signal(SignalKind::terminate()).context("can't wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let id = arguments.id;
    let settings = Settings {
        broker: BrokerId(arguments.id),
        cluster: arguments.cluster,
        data: arguments.data,
        peer: arguments.peer,
        kafka: arguments.kafka,
        http: arguments.http,
        tls: arguments.tls_dir,
        stop_timeout: Duration::from_secs(arguments.stop_timeout),
        scrub_every: (arguments.scrub_every > 0)
            .then(|| Duration::from_secs(arguments.scrub_every)),
    };
    holdfast_broker::run(settings, stop)
        .await
        .with_context(|| format!("broker {id} does not start"))?;
    Ok(ExitCode::SUCCESS)
}

/// Has the kernel end this process together with its parent.
fn die_with(parent: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("can't follow the parent")?;
    // The parent may have ended before the kernel was told.
    let still = getppid().map(Pid::as_raw_nonzero).is_some_and(|pid| pid.get() == parent);
    anyhow::ensure!(still, "the parent process {parent} has ended");
    Ok(())
}
