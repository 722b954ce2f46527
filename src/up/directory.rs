//! The directory that everything is in, and that one `holdfast up` has at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use holdfast_operator::store::{Written, read_json, write_json};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::desired::Stored;
use super::state::free_bytes;

/// With less on the disk nothing starts: there would be no room for records and logs.
const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// A data directory, locked for as long as any copy of this lives.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: Arc<File>,
}

impl Directory {
    /// Makes the directory where it is not there, and takes it.
    ///
    /// # Errors
    /// Where it can't be made or written, or another process has it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::create_dir_all(path.join("operator"))
            .with_context(|| format!("can't make the data directory {shown}"))?;
        let path = path.canonicalize().with_context(|| format!("can't find {shown}"))?;
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join("lock"))
            .with_context(|| format!("can't write in the data directory {shown}"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut owner = String::new();
                // Who has it is only a help; it may be writing this very moment.
                let _ = lock.read_to_string(&mut owner);
                bail!(
                    "the data directory {shown} is in use by another holdfast (process {}): stop \
                     it, or choose another directory with --data",
                    owner.trim()
                );
            }
            Err(error) => bail!("can't lock the data directory {shown}: {error}"),
        }
        if let Some(free) = free_bytes(&path).filter(|free| *free < FREE_BYTES_MIN) {
            bail!(
                "the disk of the data directory {shown} is full ({} KiB free): free at least {} \
                 MiB, or choose another directory with --data",
                free >> 10,
                FREE_BYTES_MIN >> 20
            );
        }
        lock.set_len(0).context("can't write the lock")?;
        writeln!(lock, "{}", std::process::id()).context("can't write the lock")?;
        Ok(Self { path, _lock: Arc::new(lock) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What one broker keeps.
    pub(crate) fn broker(&self, id: u32) -> PathBuf {
        self.path.join(format!("broker-{id}"))
    }

    /// What one broker logs. Next to its data, which is the broker's own.
    pub(crate) fn broker_log(&self, id: u32) -> PathBuf {
        self.broker(id).join("log")
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.path.join("operator").join("records")
    }

    pub(crate) fn operator_log(&self) -> PathBuf {
        self.path.join("operator").join("log")
    }

    pub(crate) fn status_file(&self) -> PathBuf {
        self.path.join("status.json")
    }

    fn cluster_file(&self) -> PathBuf {
        self.path.join("operator").join("cluster.json")
    }

    /// What the run before kept; `None` in a new directory.
    ///
    /// # Errors
    /// Where it can't be read.
    pub(crate) fn stored(&self) -> anyhow::Result<Option<Stored>> {
        let path = self.cluster_file();
        let stored: Option<Stored> = read_json(&path)?;
        if let Some(Err(why)) = stored.as_ref().map(Stored::check_format) {
            bail!("{} can't be used: {why}; run the version that wrote it", path.display());
        }
        Ok(stored)
    }

    /// Keeps what the next run needs.
    ///
    /// # Errors
    /// Where it can't be written.
    pub(crate) fn store(&self, stored: &Stored) -> anyhow::Result<()> {
        Ok(write_json(&self.cluster_file(), stored, Written::Durably)?)
    }
}
