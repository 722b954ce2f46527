//! A `holdfast up` in a directory of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The longest that anything here may take.
const BOUND: Duration = Duration::from_secs(60);
/// The longest that an end in order may take.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Ports that one cluster takes, from its base on.
const PORTS: u16 = 300;

pub(crate) const YAML: &str = "\
apiVersion: holdfast.dev/v1alpha1
kind: ReplicationPolicy
metadata:
  name: local
spec:
  shards: 6
---
apiVersion: holdfast.dev/v1alpha1
kind: Topic
metadata:
  name: orders
spec:
  policy: local
  partitions: 6
";

pub(crate) struct Cluster {
    child: Child,
    data: PathBuf,
    output: PathBuf,
}

/// What `status.json` says.
pub(crate) struct Status(pub(crate) Value);

impl Status {
    pub(crate) fn brokers(&self) -> Vec<Value> {
        self.0["brokers"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn pid(&self, broker: usize) -> Option<u64> {
        self.0["brokers"][broker]["pid"].as_u64()
    }

    /// Whether all replicas are where they are wanted: on each of so many brokers some, on others none.
    pub(crate) fn is_placed_on(&self, brokers: u64) -> bool {
        let shards = self.shards();
        let held: BTreeSet<u64> = shards
            .iter()
            .flat_map(|shard| shard["replicas"].as_array().cloned().unwrap_or_default())
            .filter_map(|broker| broker.as_u64())
            .collect();
        self.0["moving"] == 0 && self.in_sync(3) && held.into_iter().eq(0..brokers)
    }

    fn shards(&self) -> Vec<Value> {
        self.0["shards"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn serving(&self) -> bool {
        self.shards().iter().all(|shard| shard["condition"] == "serving")
    }

    pub(crate) fn in_sync(&self, replicas: usize) -> bool {
        let full = |shard: &Value| shard["isr"].as_array().is_some_and(|i| i.len() == replicas);
        self.0["ready"] == true && self.shards().iter().all(full)
    }
}

/// The first of [`PORTS`] ports that nobody uses, below those that the system hands out.
pub(crate) fn free_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = u16::try_from(std::process::id() % 40).unwrap();
    loop {
        let index = (seed + NEXT.fetch_add(1, Ordering::Relaxed)) % 40;
        let base = 20_000 + index * PORTS;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if [0, 1, 2, 3, 100, 101, 102, 103, 200, 201, 202, 203]
            .into_iter()
            .all(|above| free(base + above))
        {
            return base;
        }
    }
}

pub(crate) fn write_yaml(directory: &Path, yaml: &str) -> PathBuf {
    let path = directory.join("cluster.yaml");
    fs::write(&path, yaml).unwrap();
    path
}

fn up(yaml: &Path, directory: &Path, base: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.arg("up").arg(yaml).arg("--data").arg(directory.join("data"));
    command.arg(format!("--port-base={base}")).stdin(Stdio::null());
    command
}

/// Runs one that ends by itself; its exit code, and what it wrote.
pub(crate) fn run(yaml: &Path, directory: &Path, base: u16) -> (Option<i32>, String) {
    let output = up(yaml, directory, base).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// What `holdfast up --help` says.
pub(crate) fn help() -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_holdfast")).args(["up", "--help"]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// A disk of its own, gone with this; `None` (and said why) where mounting is not permitted.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn mount(at: &Path, options: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .output()
            .unwrap();
        if !mounted.status.success() {
            let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
            println!("skipped: a disk can't be mounted here: {why}");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is still open there goes with its process.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

pub(crate) fn until_gone(pid: u64) {
    wait("the process is gone", || !Path::new(&format!("/proc/{pid}")).exists());
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

fn signal(pid: u64, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

impl Cluster {
    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(directory: &Path, yaml: &str) -> Self {
        let cluster = Self::launch(directory, yaml);
        cluster.until_said("ready: ");
        cluster.until("status.json says so", |status| status.0["ready"] == true);
        cluster
    }

    /// Starts it.
    pub(crate) fn launch(directory: &Path, yaml: &str) -> Self {
        let yaml = write_yaml(directory, yaml);
        let output = directory.join("output");
        let file = File::create(&output).unwrap();
        let child = up(&yaml, directory, free_base())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, data: directory.join("data"), output }
    }

    /// Waits until it says this.
    pub(crate) fn until_said(&self, text: &str) {
        wait(text, || self.output().contains(text));
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        let text = fs::read(self.data.join("status.json")).unwrap_or_default();
        Status(serde_json::from_slice(&text).unwrap_or_default())
    }

    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) {
        let began = Instant::now();
        while !holds(&self.status()) {
            let late = began.elapsed() > BOUND;
            assert!(!late, "not within {BOUND:?}: {what}; {}\n{}", self.status().0, self.output());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn kill_broker(&self, broker: usize) {
        signal(self.status().pid(broker).unwrap(), Signal::KILL);
    }

    pub(crate) fn freeze_broker(&self, broker: usize) {
        signal(self.status().pid(broker).unwrap(), Signal::STOP);
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as Ctrl-C does, and returns what it wrote.
    pub(crate) fn stop(mut self) -> String {
        let pids: Vec<u64> = (0..3).filter_map(|broker| self.status().pid(broker)).collect();
        let began = Instant::now();
        signal(self.child.id().into(), Signal::INT);
        let ended = self.child.wait().unwrap();
        println!("stopped in order within {:?}", began.elapsed());
        assert!(began.elapsed() < STOP_MAX, "{:?}", began.elapsed());
        assert!(ended.success(), "{ended}: {}", self.output());
        for pid in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "broker {pid} still runs");
        }
        assert!(self.status().pid(0).is_none());
        self.output()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The brokers end with it. It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
