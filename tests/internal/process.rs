//! One broker's process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

/// The longest that anything here may take.
pub(crate) const BOUND: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The cluster of all tests.
pub(crate) const CLUSTER: &str = "shop/orders";

pub(crate) struct Process {
    child: Child,
    pub(crate) log: PathBuf,
}

/// Where a broker listens.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) peer: SocketAddr,
    pub(crate) kafka: SocketAddr,
    http: SocketAddr,
}

/// How many ports this process has tried.
static TRIED: AtomicU16 = AtomicU16::new(0);
/// Ports of brokers: below those that the system gives to whoever dials, for one of these is free
/// from here until a broker listens on it, and from its end until it is started again.
const PORTS: Range<u16> = 21_000..31_000;

impl Ports {
    pub(crate) fn free() -> Self {
        // Runs beside this one begin elsewhere.
        let begin = PORTS.start + 100 * u16::try_from(std::process::id() % 80).unwrap();
        let free = || loop {
            let port = begin + TRIED.fetch_add(1, Ordering::Relaxed);
            assert!(PORTS.contains(&port), "no port is free");
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                return listener.local_addr().unwrap();
            }
        };
        Self { peer: free(), kafka: free(), http: free() }
    }
}

impl Process {
    /// Starts broker `id` with its data in `directory`.
    pub(crate) fn start(id: u32, directory: &Path, ports: Ports, tls: &Path) -> Self {
        let log = directory.join(format!("broker-{id}.log"));
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .arg("broker")
            .env("HOLDFAST_BROKER", id.to_string())
            .arg(format!("--cluster={CLUSTER}"))
            .arg(format!("--data={}", directory.join(format!("data-{id}")).display()))
            .arg(format!("--peer={}", ports.peer))
            .arg(format!("--kafka=internal={}", ports.kafka))
            .arg(format!("--http={}", ports.http))
            .arg(format!("--tls-dir={}", tls.display()))
            .arg(format!("--die-with-parent={}", std::process::id()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < BOUND, "it does not end: {}", self.log());
            sleep(LOOK_EVERY).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until its log has `text`.
    pub(crate) async fn says(&self, text: &str) {
        until(&format!("`{text}` in its log"), || self.log().contains(text)).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}
