//! Mounts the lying disk, and obeys until it is told to quit.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use fuser::{Config, MountOption, Session};
use holdfast_lying_disk::control;
use holdfast_lying_disk::disk::Disk;
use holdfast_lying_disk::fuse::{Fuse, Shared};

/// A file system in memory that loses what was not flushed, for tests.
#[derive(Parser)]
struct Arguments {
    /// Where to mount it: an empty directory.
    mount: PathBuf,
    /// The Unix socket for commands; made here.
    #[arg(long)]
    control: PathBuf,
    /// How much it has room for, bytes.
    #[arg(long, default_value_t = 1 << 30)]
    size: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let disk = Shared::new(Disk::new(arguments.size));
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("lying-disk".to_owned()), MountOption::NoExec];
    let session =
        Session::new(Fuse(disk.clone()), &arguments.mount, &config).with_context(|| {
            format!(
                "can't mount on {}: is there a /dev/fuse, and are you root?",
                arguments.mount.display()
            )
        })?;
    let mounted = session.spawn().context("can't serve the mount")?;
    // Bound last: who finds it finds the mount too.
    let listener = UnixListener::bind(&arguments.control)
        .with_context(|| format!("can't listen on {}", arguments.control.display()))?;
    control::serve(&listener, &disk)?;
    // A process may still have files open: then the mount goes with the last of them.
    let _ = mounted.umount_and_join();
    Ok(())
}
