//! The data directory of one broker: its lock, its layout version, its boots.
//!
//! `lock` is locked for as long as the process has the volume and names the process that did so
//! last; `volume` is a frame of boot counter (8), how it was left (1) and the kernel's boot id
//! (counted bytes); `shards/<n>/` are the logs. The version of `volume` is that of the layout.
//!
//! What a start found is kept until every replica has drawn its consequences
//! ([`Volume::settle`]): a start that ends before finds the same again.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use holdfast_protocol::ShardId;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::codec::{Fields, Put};
use crate::disk::{self, Format, Frame};
use crate::{Disk, Error};

const FORMAT: Format = Format { magic: *b"HFVOLUME", version: 1 };
/// Longest boot id that is kept, bytes.
const BOOT_ID_BYTES_MAX: usize = 256;

/// An open data directory, locked against other processes for as long as this lives.
#[derive(Debug)]
pub struct Volume {
    disk: Disk,
    data_dir: PathBuf,
    boot_id: String,
    boot: Boot,
    /// The lock goes with the file.
    _lock: Option<File>,
}

/// What opening the volume found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// How often this volume has been opened, this time included. One that is lower than before
    /// tells that the volume was rolled back.
    pub counter: u64,
    /// The last process closed the volume in order ([`Volume::close_cleanly`]).
    pub clean: bool,
    /// The kernel has not been restarted since: the page cache survived whatever happened to the
    /// process.
    pub same_kernel_boot: bool,
    /// The volume was empty.
    pub fresh: bool,
    /// The volume's own file was missing or rotten beside shards: the counter began anew.
    pub damaged: bool,
    /// It was put back to an older state, as its operator found ([`Volume::renew`]).
    pub rolled_back: bool,
}

impl Boot {
    /// Whether no replica on the volume is what it was, whatever its log looks like.
    #[must_use]
    pub fn renews_all(&self) -> bool {
        self.fresh || self.damaged || self.rolled_back
    }
}

/// How the volume was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Left {
    /// In use, or by a crash.
    #[default]
    Open,
    /// In order.
    Clean,
    /// Its own file was damaged, and not every replica has another name yet.
    Damaged,
    /// It was put back to an older state, and not every replica has another name yet.
    RolledBack,
}

impl Left {
    fn code(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Clean => 1,
            Self::Damaged => 2,
            Self::RolledBack => 3,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Open, Self::Clean, Self::Damaged, Self::RolledBack].get(usize::from(code)).copied()
    }
}

/// What the file `volume` holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    counter: u64,
    left: Left,
    boot_id: String,
}

impl Volume {
    /// Locks `data_dir`, making it where it does not exist, and counts this boot durably.
    /// `boot_id` names this run of the kernel (`/proc/sys/kernel/random/boot_id`); an empty one is
    /// never taken for the one before.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Version`], and any IO error.
    pub fn open(data_dir: &Path, boot_id: &str) -> Result<Self, Error> {
        Self::open_on(&Disk::Files, data_dir, boot_id)
    }

    /// As [`Volume::open`], on `disk`. Only files are locked.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn open_on(disk: &Disk, data_dir: &Path, boot_id: &str) -> Result<Self, Error> {
        disk::create_dir(disk, data_dir)?;
        let lock = match disk {
            Disk::Files => Some(lock(data_dir)?),
            #[cfg(feature = "simulated")]
            Disk::Simulated(_) => None,
        };
        disk::create_dir(disk, &data_dir.join("shards"))?;
        let boot_id: String = boot_id.trim().chars().take(BOOT_ID_BYTES_MAX / 4).collect();
        let path = data_dir.join("volume");
        let found = match FORMAT.read(disk, &path)? {
            Frame::Missing => None,
            Frame::Bad(_) => Some(None),
            Frame::Good(payload) => Some(parse(&mut Fields(&payload))),
        };
        let has_shards = !shards(disk, data_dir)?.is_empty();
        let fresh = found.is_none() && !has_shards;
        let last = found.flatten();
        let damaged = last.is_none() && !fresh;
        let last = last.unwrap_or_default();
        let boot = Boot {
            counter: last.counter.saturating_add(1),
            clean: last.left == Left::Clean,
            same_kernel_boot: !boot_id.is_empty() && last.boot_id == boot_id,
            fresh,
            damaged: damaged || last.left == Left::Damaged,
            rolled_back: last.left == Left::RolledBack,
        };
        let (disk, data_dir) = (disk.clone(), data_dir.to_owned());
        let volume = Self { disk, data_dir, boot_id, boot, _lock: lock };
        let left = match last.left {
            _ if damaged => Left::Damaged,
            Left::Open | Left::Clean => Left::Open,
            Left::Damaged | Left::RolledBack => last.left,
        };
        volume.save(left, boot.counter, &last.boot_id)?;
        Ok(volume)
    }

    /// Notes that every replica that lies here has drawn its consequences from [`Volume::boot`].
    ///
    /// # Errors
    /// Any IO error; the next boot finds what this one found.
    pub fn settle(&self) -> Result<(), Error> {
        self.save(Left::Open, self.boot.counter, &self.boot_id)
    }

    /// Notes that the volume was put back to an older state: the next boot gives every replica
    /// another name, and counts on from `counter`, where that is more. End this one.
    ///
    /// # Errors
    /// Any IO error; nothing is noted then.
    pub fn renew(&self, counter: u64) -> Result<(), Error> {
        self.save(Left::RolledBack, counter.max(self.boot.counter), &self.boot_id)
    }

    /// What opening found.
    #[must_use]
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// Where the log of `shard` lies.
    #[must_use]
    pub fn shard_dir(&self, shard: ShardId) -> PathBuf {
        self.data_dir.join("shards").join(shard.to_string())
    }

    /// The shards that have a directory, in order.
    ///
    /// # Errors
    /// Any IO error.
    pub fn shards(&self) -> Result<Vec<ShardId>, Error> {
        shards(&self.disk, &self.data_dir)
    }

    /// Notes durably that everything was closed in order, then unlocks. Close the shards first.
    ///
    /// # Errors
    /// Any IO error; the next boot is an unclean one then.
    pub fn close_cleanly(self) -> Result<(), Error> {
        self.save(Left::Clean, self.boot.counter, &self.boot_id)
    }

    fn save(&self, left: Left, counter: u64, boot_id: &str) -> Result<(), Error> {
        let mut out = Vec::new();
        out.put_u64(counter);
        out.push(left.code());
        out.put_count(boot_id.len());
        out.extend_from_slice(boot_id.as_bytes());
        FORMAT.replace(&self.disk, &self.data_dir.join("volume"), &[&out])
    }
}

fn parse(fields: &mut Fields<'_>) -> Option<State> {
    let counter = fields.u64()?;
    let left = Left::from_code(fields.u8()?)?;
    let length = fields.count(1)?;
    let boot_id = String::from_utf8(fields.bytes(length)?.to_vec()).ok()?;
    Some(State { counter, left, boot_id })
}

fn shards(disk: &Disk, data_dir: &Path) -> Result<Vec<ShardId>, Error> {
    let mut shards: Vec<ShardId> = disk::names(disk, &data_dir.join("shards"))?
        .iter()
        .filter_map(|name| name.parse().ok())
        .map(ShardId)
        .collect();
    shards.sort_unstable();
    Ok(shards)
}

/// Takes the lock, and leaves word of who has it.
fn lock(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| Error::io("opening", &path, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let pid = disk::read_text(&path, 32).and_then(|text| text.trim().parse().ok());
            return Err(Error::InUse { path: data_dir.to_owned(), pid });
        }
        Err(error) => return Err(Error::io("locking", &path, error.into())),
    }
    // Only for the message above: nothing depends on it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A start that opens all replicas, and is killed then.
    fn start(data: &Path, kernel: &str) -> Boot {
        let volume = Volume::open(data, kernel).unwrap();
        volume.settle().unwrap();
        volume.boot()
    }

    #[test]
    fn boots_are_counted_and_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        let first = start(&data, "kernel-1\n");
        assert!(first.fresh && first.renews_all());
        assert!(!first.clean && !first.same_kernel_boot && !first.damaged && !first.rolled_back);
        assert_eq!(first.counter, 1);
        let crashed = start(&data, "kernel-1");
        assert_eq!(crashed.counter, 2);
        assert!(!crashed.clean && crashed.same_kernel_boot && !crashed.renews_all());
        Volume::open(&data, "kernel-2").unwrap().close_cleanly().unwrap();
        let closed = start(&data, "kernel-3");
        assert_eq!(closed.counter, 4);
        assert!(closed.clean && !closed.same_kernel_boot);
        // Whatever happens next is unclean until it is closed again.
        assert!(!start(&data, "kernel-3").clean);
    }

    #[test]
    fn a_start_that_ends_before_all_replicas_are_open_finds_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        start(dir.path(), "kernel-1");
        let killed = |kernel| Volume::open(dir.path(), kernel).unwrap().boot();
        // The machine stopped: what was not flushed is gone, whoever starts first to see it.
        assert!(!killed("kernel-2").same_kernel_boot);
        assert!(!killed("kernel-2").same_kernel_boot);
        assert!(!start(dir.path(), "kernel-2").same_kernel_boot);
        assert!(start(dir.path(), "kernel-2").same_kernel_boot);
        std::fs::create_dir(dir.path().join("shards/0")).unwrap();
        std::fs::write(dir.path().join("volume"), b"rot").unwrap();
        assert!(killed("kernel-2").damaged);
        assert!(killed("kernel-2").damaged);
        assert!(start(dir.path(), "kernel-2").damaged);
        assert!(!start(dir.path(), "kernel-2").renews_all());
    }

    #[test]
    fn a_volume_that_was_put_back_counts_on_and_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        start(dir.path(), "kernel-1");
        Volume::open(dir.path(), "kernel-1").unwrap().renew(7).unwrap();
        for counter in [8, 9] {
            let killed = Volume::open(dir.path(), "kernel-1").unwrap().boot();
            assert!(killed.rolled_back && killed.renews_all());
            assert_eq!(killed.counter, counter);
        }
        assert!(start(dir.path(), "kernel-1").rolled_back);
        assert!(!start(dir.path(), "kernel-1").rolled_back);
        // It never counts back.
        let volume = Volume::open(dir.path(), "kernel-1").unwrap();
        volume.renew(3).unwrap();
        drop(volume);
        assert_eq!(Volume::open(dir.path(), "kernel-1").unwrap().boot().counter, 13);
    }

    #[test]
    fn a_volume_in_use_is_refused_with_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let held = Volume::open(dir.path(), "k").unwrap();
        let error = Volume::open(dir.path(), "k").unwrap_err().to_string();
        let pid = std::process::id();
        assert!(error.contains(&format!("in use by another process (pid {pid})")));
        assert!(error.contains(&dir.path().display().to_string()));
        drop(held);
        Volume::open(dir.path(), "k").unwrap();
    }

    #[test]
    fn a_damaged_volume_begins_anew_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path(), "k").unwrap();
        std::fs::create_dir(volume.shard_dir(ShardId(10))).unwrap();
        std::fs::create_dir(volume.shard_dir(ShardId(9))).unwrap();
        assert_eq!(volume.shards().unwrap(), [ShardId(9), ShardId(10)]);
        drop(volume);
        std::fs::write(dir.path().join("volume"), b"rot").unwrap();
        let boot = start(dir.path(), "k");
        assert!(boot.damaged && !boot.fresh && !boot.clean && !boot.same_kernel_boot);
        assert_eq!(boot.counter, 1);
        std::fs::remove_file(dir.path().join("volume")).unwrap();
        let boot = start(dir.path(), "k");
        assert!(boot.damaged && !boot.fresh);
    }
}
