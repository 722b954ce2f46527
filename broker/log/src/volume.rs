//! The data directory of one broker: its lock, its layout version, its boots.

use std::path::{Path, PathBuf};

use holdfast_protocol::ShardId;

use crate::Error;

/// An open data directory, locked against other processes for as long as this lives.
#[derive(Debug)]
pub struct Volume {}

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

impl Volume {
    /// Locks `data_dir`, making it where it does not exist, and counts this boot durably.
    /// `boot_id` names this run of the kernel (`/proc/sys/kernel/random/boot_id`).
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Version`], and any IO error.
    pub fn open(data_dir: &Path, boot_id: &str) -> Result<Self, Error> {
        todo!()
    }

    /// What opening found.
    #[must_use]
    pub fn boot(&self) -> Boot {
        todo!()
    }

    /// Where the log of `shard` lies.
    #[must_use]
    pub fn shard_dir(&self, shard: ShardId) -> PathBuf {
        todo!()
    }

    /// The shards that have a directory, in order.
    ///
    /// # Errors
    /// Any IO error.
    pub fn shards(&self) -> Result<Vec<ShardId>, Error> {
        todo!()
    }

    /// Notes durably that everything was closed in order, then unlocks. Close the shards first.
    ///
    /// # Errors
    /// Any IO error; the next boot is an unclean one then.
    pub fn close_cleanly(self) -> Result<(), Error> {
        todo!()
    }
}
