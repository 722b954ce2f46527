//! Logs: for people on a terminal, JSON otherwise. `RUST_LOG` says how much.

use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Seek, SeekFrom, stderr};
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// A log file longer than this is put aside (as `NAME.old`, in place of the one put aside before)
/// when its process starts.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

fn filter() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Logs to standard error. A line that can't be written (the disk is full) is lost: to say so on
/// standard error, as the subscriber would, means to panic when that is where it can't be said.
pub(crate) fn to_stderr() {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_writer(stderr)
        .log_internal_errors(false);
    if stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().init();
    }
}

/// Logs to `file`, for a process whose terminal shows something else.
pub(crate) fn to_file(file: File) {
    let writer = Mutex::new(file);
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter())
        .with_writer(writer)
        .log_internal_errors(false)
        .init();
}

/// Opens a log file to add to, with the directory that it is in.
///
/// # Errors
/// Where it can't be made.
pub(crate) fn open(path: &Path) -> anyhow::Result<File> {
    let failed = || format!("can't write the log {}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(failed)?;
    }
    let long = fs::metadata(path).is_ok_and(|file| file.len() > LOG_BYTES_MAX);
    if long {
        fs::rename(path, path.with_extension("old")).with_context(failed)?;
    }
    OpenOptions::new().create(true).append(true).open(path).with_context(failed)
}

/// The last `lines` lines of a file, from byte `from` on; nothing where it can't be read.
pub(crate) fn tail(path: &Path, from: u64, lines: usize) -> Vec<String> {
    const TAIL_BYTES_MAX: u64 = 64 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let start = from.max(length.saturating_sub(TAIL_BYTES_MAX)).min(length);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let skip = all.len().saturating_sub(lines);
    all.into_iter().skip(skip).map(str::to_owned).collect()
}
