//! The way in for tests: lines of text on a Unix socket, each answered by a line that begins with
//! `ok` or `error`.
//!
//! | line | what it does |
//! |---|---|
//! | `cut PID [SEED]` | the power goes: the process is killed, what was not flushed is lost, with a seed any part of it; the disk stays off |
//! | `on` | the power is there again |
//! | `fail-flush PART` | the next flush of a file with this in its path fails, later ones claim success |
//! | `ignore-flushes on\|off` | flushes say that all is well, and do nothing |
//! | `slow-flushes MS` | how long a flush takes |
//! | `size BYTES` | how much room there is |
//! | `rot PATH BYTE BIT` | flips a bit |
//! | `status` | what there is to say |
//! | `quit` | unmounts, and ends |

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::fuse::Shared;

/// How long a killed process may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether it is.
const GONE_EVERY: Duration = Duration::from_millis(1);
/// Longest line.
const LINE_BYTES_MAX: u64 = 4096;

/// Answers until it is told to quit.
///
/// # Errors
/// Where the socket fails.
pub fn serve(listener: &UnixListener, disk: &Shared) -> anyhow::Result<()> {
    for stream in listener.incoming() {
        if talk(&stream.context("the control socket failed")?, disk).unwrap_or(false) {
            return Ok(());
        }
    }
    Ok(())
}

/// Answers the lines of one connection; `true` where it said to quit.
fn talk(stream: &UnixStream, disk: &Shared) -> anyhow::Result<bool> {
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        let read = std::io::Read::take(&mut lines, LINE_BYTES_MAX).read_line(&mut line)?;
        if read == 0 {
            return Ok(false);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match obey(&words, disk) {
            Ok(said) => format!("ok {said}\n"),
            Err(error) => format!("error {error:#}\n"),
        };
        let mut out = stream;
        out.write_all(answer.as_bytes())?;
        if words == ["quit"] {
            return Ok(true);
        }
    }
}

fn obey(words: &[&str], disk: &Shared) -> anyhow::Result<String> {
    match words {
        ["cut", pid] => return cut(pid.parse()?, None, disk),
        ["cut", pid, seed] => return cut(pid.parse()?, Some(seed.parse()?), disk),
        ["on"] => disk.lock().power_up(),
        ["fail-flush", part] => disk.lock().fail_next_flush(part),
        ["ignore-flushes", "on"] => disk.lock().ignore_flushes(true),
        ["ignore-flushes", "off"] => disk.lock().ignore_flushes(false),
        ["slow-flushes", ms] => disk.lock().slow_flushes(ms.parse()?),
        ["size", bytes] => disk.lock().resize(bytes.parse()?),
        ["rot", path, at, bit] => {
            disk.lock().rot(path, at.parse()?, bit.parse()?).with_context(|| (*path).to_owned())?;
        }
        ["status"] => return Ok(disk.lock().status()),
        ["quit"] => {}
        _ => bail!("no such command: {}", words.join(" ")),
    }
    Ok(String::new())
}

/// From the moment that the disk is off nothing of the process gets to it, whatever it still does;
/// what is lost is decided once it is gone.
fn cut(pid: i32, seed: Option<u64>, disk: &Shared) -> anyhow::Result<String> {
    let pid = Pid::from_raw(pid).context("no such process")?;
    disk.lock().cut_power();
    kill_process(pid, Signal::KILL).context("it can't be killed")?;
    let deadline = Instant::now() + GONE_MAX;
    while !is_gone(pid) {
        if Instant::now() > deadline {
            bail!("process {} is not gone after {GONE_MAX:?}", pid.as_raw_nonzero());
        }
        thread::sleep(GONE_EVERY);
    }
    let (bytes, names) = disk.lock().lose(seed);
    Ok(format!("bytes={bytes} names={names}"))
}

/// Whether no thread of the process runs any more.
fn is_gone(pid: Pid) -> bool {
    let tasks = PathBuf::from(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let Ok(tasks) = std::fs::read_dir(tasks) else { return true };
    tasks.flatten().all(|task| {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { return true };
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, None | Some('Z' | 'X'))
    })
}
