//! What can go wrong with bytes on disk.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_protocol::entry;
use holdfast_protocol::{Epoch, Position};
use rustix::io::Errno;

/// What was tried where reading failed.
pub(crate) const READING: &str = "reading";

/// Why the log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flush failed: what the kernel dropped can't be known. Stop the process at once; after a
    /// restart the tail is copied and offered again.
    #[error("flushing {} failed; stop this broker at once", path.display())]
    FsyncFailed {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// No room. The log is exactly as it was before the call, and the call may be repeated.
    #[error("no room left on the disk for {}; free some or enlarge the volume", path.display())]
    DiskFull {
        /// The file that was to grow.
        path: PathBuf,
    },
    /// Writing failed for another reason than room. Treat as a failed flush.
    #[error("writing {} failed; stop this broker at once", path.display())]
    WriteFailed {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// An earlier write or flush of this log failed: it takes nothing more until it is reopened.
    #[error("the log in {} failed before; restart this broker", path.display())]
    Failed {
        /// The directory of the log.
        path: PathBuf,
    },
    /// Reading, opening, listing or removing failed.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file was written by a newer release.
    #[error("{} has format version {version}, this broker knows {known}; upgrade the broker", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        version: u32,
        /// The newest version known.
        known: u32,
    },
    /// Bytes that were durable are not what was written: rot. The replica must leave the in-sync
    /// replicas and fetch again.
    #[error("{} is damaged at byte {at} (position {position}): {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file, bytes.
        at: u64,
        /// The first position that can't be trusted.
        position: Position,
        /// What is wrong.
        reason: String,
    },
    /// An entry was written by a newer release.
    #[error("{} at byte {at}: {source}", path.display())]
    UnknownEntry {
        /// The file.
        path: PathBuf,
        /// Where in the file, bytes.
        at: u64,
        /// The version and kind found.
        source: entry::Error,
    },
    /// What was to be appended is no entry.
    #[error("refused to append: {0}")]
    Entry(#[from] entry::Error),
    /// What was to be appended does not continue the log.
    #[error("refused to append position {found}: the log goes on at {expected}")]
    NotContiguous {
        /// The position that was to come next.
        expected: Position,
        /// The position offered.
        found: Position,
    },
    /// What was to be appended is of an older epoch than the log.
    #[error("refused to append epoch {found}: the log is in epoch {last}")]
    EpochBackwards {
        /// The last epoch of the log.
        last: Epoch,
        /// The epoch offered.
        found: Epoch,
    },
    /// One append of more bytes than a segment can hold.
    #[error("refused to append {bytes} bytes at once: at most {max}")]
    TooLarge {
        /// Bytes offered.
        bytes: usize,
        /// Most bytes of one append.
        max: usize,
    },
    /// A position where the log can't be cut, checkpointed or begun.
    #[error("position {position} is out of range: the log can {action} from {low} to {high}")]
    OutOfRange {
        /// What was asked.
        action: &'static str,
        /// The position asked for.
        position: Position,
        /// Lowest position allowed.
        low: Position,
        /// Highest position allowed.
        high: Position,
    },
    /// The directory is locked.
    #[error("data directory {} is in use by another process{}; stop that one, or give this one another directory", path.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Who holds it, as far as it said.
        pid: Option<u32>,
    },
}

impl Error {
    /// Whether the process must stop: what the disk holds is no longer known.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::FsyncFailed { .. } | Self::WriteFailed { .. } | Self::Failed { .. })
    }

    /// Whether bytes that were durable are lost, as far as this disk goes: they are not what was
    /// written, or the disk can't read them any more.
    #[must_use]
    pub fn is_rot(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { action: READING, source, .. } => {
                source.raw_os_error() == Some(Errno::IO.raw_os_error())
            }
            _ => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn fsync(path: &Path, source: io::Error) -> Self {
        Self::FsyncFailed { path: path.to_owned(), source }
    }

    /// Tells a full disk from a failing one.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::DiskFull { path },
            _ => Self::WriteFailed { path, source },
        }
    }
}
