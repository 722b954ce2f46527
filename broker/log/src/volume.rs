//! The data directory of one broker: its lock, its layout version, its boots.
//!
//! `lock` is locked for as long as the process has the volume and names the process that did so
//! last; `volume` is a frame of boot counter (8), clean-stop marker (1) and the kernel's boot id
//! (counted bytes); `shards/<n>/` are the logs. The version of `volume` is that of the layout.

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
}

/// What the file `volume` holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    counter: u64,
    clean: bool,
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
            counter: last.counter + 1,
            clean: last.clean,
            same_kernel_boot: !boot_id.is_empty() && last.boot_id == boot_id,
            fresh,
            damaged,
        };
        let (disk, data_dir) = (disk.clone(), data_dir.to_owned());
        let volume = Self { disk, data_dir, boot_id, boot, _lock: lock };
        volume.save(false)?;
        Ok(volume)
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
        self.save(true)
    }

    fn save(&self, clean: bool) -> Result<(), Error> {
        let mut out = Vec::new();
        out.put_u64(self.boot.counter);
        out.push(u8::from(clean));
        out.put_count(self.boot_id.len());
        out.extend_from_slice(self.boot_id.as_bytes());
        FORMAT.replace(&self.disk, &self.data_dir.join("volume"), &[&out])
    }
}

fn parse(fields: &mut Fields<'_>) -> Option<State> {
    let counter = fields.u64()?;
    let clean = fields.u8()? != 0;
    let length = fields.count(1)?;
    let boot_id = String::from_utf8(fields.bytes(length)?.to_vec()).ok()?;
    Some(State { counter, clean, boot_id })
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

    #[test]
    fn boots_are_counted_and_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        let first = Volume::open(&data, "kernel-1\n").unwrap();
        assert_eq!(
            first.boot(),
            Boot { counter: 1, clean: false, same_kernel_boot: false, fresh: true, damaged: false }
        );
        drop(first);
        let crashed = Volume::open(&data, "kernel-1").unwrap().boot();
        assert_eq!(crashed.counter, 2);
        assert!(!crashed.clean && crashed.same_kernel_boot && !crashed.fresh);
        Volume::open(&data, "kernel-2").unwrap().close_cleanly().unwrap();
        let closed = Volume::open(&data, "kernel-3").unwrap().boot();
        assert_eq!(closed.counter, 4);
        assert!(closed.clean && !closed.same_kernel_boot);
        // Whatever happens next is unclean until it is closed again.
        assert!(!Volume::open(&data, "kernel-3").unwrap().boot().clean);
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
        let boot = Volume::open(dir.path(), "k").unwrap().boot();
        assert!(boot.damaged && !boot.fresh && !boot.clean && !boot.same_kernel_boot);
        assert_eq!(boot.counter, 1);
        std::fs::remove_file(dir.path().join("volume")).unwrap();
        let boot = Volume::open(dir.path(), "k").unwrap().boot();
        assert!(boot.damaged && !boot.fresh);
    }
}
