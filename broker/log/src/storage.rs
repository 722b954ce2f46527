//! What the log needs of a file system, and no more: the real one, and in builds for tests one in
//! memory that loses what was not flushed.
//!
//! An enum and not a trait: a build without the feature `simulated` has one variant, which costs
//! nothing, and no type above has to carry a parameter.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

#[cfg(feature = "simulated")]
use crate::simulated::{self, SimulatedDisk};

/// Where the files of a log lie.
#[derive(Clone, Debug, Default)]
pub enum Disk {
    /// In the file system of this machine.
    #[default]
    Files,
    /// In memory, for tests.
    #[cfg(feature = "simulated")]
    Simulated(SimulatedDisk),
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// An existing one, to be read.
    Read,
    /// An existing one, to be read and written.
    Write,
    /// A new one, or an old one emptied, to be read and written.
    Create,
}

/// An open file.
#[derive(Debug)]
pub(crate) enum File {
    Real(fs::File),
    #[cfg(feature = "simulated")]
    Simulated(simulated::Handle),
}

impl Disk {
    pub(crate) fn open(&self, path: &Path, mode: Mode) -> io::Result<File> {
        match self {
            Self::Files => fs::OpenOptions::new()
                .read(true)
                .write(mode != Mode::Read)
                .create(mode == Mode::Create)
                .truncate(mode == Mode::Create)
                .open(path)
                .map(File::Real),
            #[cfg(feature = "simulated")]
            Self::Simulated(disk) => disk.open(path, mode).map(File::Simulated),
        }
    }

    /// Renames without making the names durable.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Self::Files => fs::rename(from, to),
            #[cfg(feature = "simulated")]
            Self::Simulated(disk) => disk.rename(from, to),
        }
    }

    pub(crate) fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Self::Files => fs::hard_link(from, to),
            #[cfg(feature = "simulated")]
            Self::Simulated(disk) => disk.hard_link(from, to),
        }
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Files => fs::remove_file(path),
            #[cfg(feature = "simulated")]
            Self::Simulated(disk) => disk.remove_file(path),
        }
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Files => fs::remove_dir_all(path),
            #[cfg(feature = "simulated")]
            Self::Simulated(disk) => disk.remove_dir_all(path),
        }
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        match self {
            Self::Files => path.is_dir(),
            #[cfg(feature = "simulated")]
            Self::Simulated(disk) => disk.is_dir(path),
        }
    }

    pub(crate) fn create_dir(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Files => fs::create_dir(path),
            #[cfg(feature = "simulated")]
            Self::Simulated(disk) => disk.create_dir(path),
        }
    }

    /// Makes the names in a directory durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Files => fs::File::open(path)?.sync_all(),
            #[cfg(feature = "simulated")]
            Self::Simulated(disk) => disk.sync_dir(path),
        }
    }

    /// The names in a directory, in no order. Files of ours have plain names; others are left out.
    pub(crate) fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        match self {
            Self::Files => {
                let mut names = Vec::new();
                for entry in fs::read_dir(path)? {
                    if let Ok(name) = entry?.file_name().into_string() {
                        names.push(name);
                    }
                }
                Ok(names)
            }
            #[cfg(feature = "simulated")]
            Self::Simulated(disk) => disk.names(path),
        }
    }

    /// Length of a file, bytes.
    pub(crate) fn length(&self, path: &Path) -> io::Result<u64> {
        match self {
            Self::Files => Ok(fs::metadata(path)?.len()),
            #[cfg(feature = "simulated")]
            Self::Simulated(disk) => disk.length(path),
        }
    }
}

impl File {
    pub(crate) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::Real(file) => file.read_at(buffer, at),
            #[cfg(feature = "simulated")]
            Self::Simulated(file) => file.read_at(buffer, at),
        }
    }

    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.read_exact_at(buffer, at),
            #[cfg(feature = "simulated")]
            Self::Simulated(file) => {
                let read = file.read_at(buffer, at)?;
                if read == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            }
        }
    }

    pub(crate) fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.write_all_at(bytes, at),
            #[cfg(feature = "simulated")]
            Self::Simulated(file) => file.write_all_at(bytes, at),
        }
    }

    pub(crate) fn length(&self) -> io::Result<u64> {
        match self {
            Self::Real(file) => Ok(file.metadata()?.len()),
            #[cfg(feature = "simulated")]
            Self::Simulated(file) => file.length(),
        }
    }

    pub(crate) fn set_length(&self, length: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.set_len(length),
            #[cfg(feature = "simulated")]
            Self::Simulated(file) => file.set_length(length),
        }
    }

    /// Gives the file room, as zeros, for `length` bytes from `at` on.
    pub(crate) fn allocate(&self, at: u64, length: u64) -> Result<(), Errno> {
        match self {
            Self::Real(file) => rustix::fs::fallocate(file, FallocateFlags::empty(), at, length),
            #[cfg(feature = "simulated")]
            Self::Simulated(file) => file.allocate(at + length),
        }
    }

    /// Bytes that the file system has free.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        match self {
            Self::Real(file) => {
                let stat = rustix::fs::fstatvfs(file)?;
                Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
            }
            #[cfg(feature = "simulated")]
            Self::Simulated(file) => Ok(file.free_bytes()),
        }
    }

    /// Has the next read of these bytes ask the disk, where that can be had. What is not written
    /// back yet stays in memory.
    pub(crate) fn forget_cached(&self, at: u64, length: usize) {
        match self {
            Self::Real(file) => {
                let length = std::num::NonZeroU64::new(length as u64);
                // Only a wish: a file system may not have it.
                let _ = rustix::fs::fadvise(file, at, length, Advice::DontNeed);
            }
            #[cfg(feature = "simulated")]
            Self::Simulated(_) => {}
        }
    }

    /// Makes the content durable, and of what is known of the file what is needed to read it.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_data(),
            #[cfg(feature = "simulated")]
            Self::Simulated(file) => file.sync(),
        }
    }

    /// Makes the content durable, and all that is known of the file.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_all(),
            #[cfg(feature = "simulated")]
            Self::Simulated(file) => file.sync(),
        }
    }
}

/// Writes a file from its first byte on.
#[derive(Debug)]
pub(crate) struct Sequential {
    pub(crate) file: File,
    at: u64,
}

impl Sequential {
    pub(crate) fn new(file: File) -> Self {
        Self { file, at: 0 }
    }
}

impl io::Write for Sequential {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
