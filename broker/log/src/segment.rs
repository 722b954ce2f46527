//! Segment files: their names, and growing them ahead of what is written.
//!
//! Behind the first bytes, which say whose it is ([`Identity`]), entries follow one another. The
//! active segment is preallocated: the bytes behind its last entry are zero, and an entry of length
//! zero marks the unwritten rest.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_protocol::Position;
use rustix::io::Errno;

use crate::Error;
use crate::disk;
use crate::identity::Identity;
use crate::storage::{Disk, File};
use crate::summary::Summary;

/// Longest segment, whatever the configuration says: places in it are 32 bits wide.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Extension of segment files.
const SEGMENT: &str = "log";
/// Extension of index files.
const INDEX: &str = "index";

/// The file of the segment that begins at `base`.
pub(crate) fn path(dir: &Path, base: Position) -> PathBuf {
    dir.join(format!("{:020}.{SEGMENT}", base.0))
}

/// The index file of the segment that begins at `base`.
pub(crate) fn index_path(dir: &Path, base: Position) -> PathBuf {
    dir.join(format!("{:020}.{INDEX}", base.0))
}

/// The base position in the name of a segment file.
pub(crate) fn base_of(name: &str) -> Option<Position> {
    number_of(name, SEGMENT)
}

/// The base position in the name of an index file.
pub(crate) fn index_base_of(name: &str) -> Option<Position> {
    number_of(name, INDEX)
}

fn number_of(name: &str, extension: &str) -> Option<Position> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Position).filter(|base| *base <= Position::MAX)
}

/// A sealed segment, as it is known in memory.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) identity: Identity,
    pub(crate) path: PathBuf,
    pub(crate) index_path: PathBuf,
    pub(crate) summary: Summary,
}

/// How a segment file grows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Growth {
    /// In steps of this many bytes; 0 for as it is written.
    pub(crate) step: u64,
    /// Only while the filesystem keeps this many bytes free.
    pub(crate) reserve: u64,
}

/// The file of the active segment and how far it is written and allocated.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) identity: Identity,
    pub(crate) path: PathBuf,
    pub(crate) file: std::sync::Arc<File>,
    /// Bytes written, the head included.
    pub(crate) used: u64,
    /// Length of the file; zero from `used` on.
    pub(crate) allocated: u64,
    /// Its name may not be durable yet.
    pub(crate) new: bool,
}

impl Writer {
    /// Makes an empty segment file. What there is under the name is dead and is overwritten.
    pub(crate) fn create(
        disk: &Disk,
        dir: &Path,
        identity: Identity,
        growth: Growth,
    ) -> Result<Self, Error> {
        let path = path(dir, identity.base);
        disk::remove(disk, &path)?;
        let file = disk::create(disk, &path)?;
        let mut writer = Self {
            identity,
            path,
            file: std::sync::Arc::new(file),
            used: 0,
            allocated: 0,
            new: true,
        };
        let written = writer.write(&identity.head(), growth);
        if written.is_err() {
            disk::remove(disk, &writer.path)?;
        }
        written.map(|()| writer)
    }

    /// Writes `bytes` behind what is written. On an error nothing of them is left behind.
    pub(crate) fn write(&mut self, bytes: &[u8], growth: Growth) -> Result<(), Error> {
        let end = self.used + bytes.len() as u64;
        let written =
            self.allocate(end, growth).and_then(|()| self.file.write_all_at(bytes, self.used));
        match written {
            Ok(()) => {
                self.used = end;
                self.allocated = self.allocated.max(end);
                Ok(())
            }
            Err(error) => {
                self.cut()?;
                Err(Error::write(&self.path, error))
            }
        }
    }

    /// Drops every byte behind what is written, so that none is ever taken for an entry.
    pub(crate) fn cut(&mut self) -> Result<(), Error> {
        self.file
            .set_length(self.used)
            .map_err(|source| Error::WriteFailed { path: self.path.clone(), source })?;
        self.allocated = self.used;
        Ok(())
    }

    /// Sees to it that the file has room up to `end`, and some ahead where the disk has it.
    fn allocate(&mut self, end: u64, growth: Growth) -> io::Result<()> {
        if end <= self.allocated {
            return Ok(());
        }
        let free = self.free(growth)?;
        if growth.step == 0 {
            let wanted = end - self.allocated;
            return if wanted <= free { Ok(()) } else { Err(Errno::NOSPC.into()) };
        }
        let ahead = end.div_ceil(growth.step) * growth.step;
        let grown = self
            .extend(ahead, free)
            // Too little room to go ahead may be enough for what is at hand.
            .or_else(|error| match error {
                Errno::NOSPC | Errno::FBIG | Errno::DQUOT => self.extend(end, free),
                other => Err(other),
            });
        match grown {
            Ok(()) => Ok(()),
            // A filesystem that can't: writing will tell whether there is room.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes that the filesystem has free beyond the reserve.
    fn free(&self, growth: Growth) -> io::Result<u64> {
        if growth.reserve == 0 {
            return Ok(u64::MAX);
        }
        Ok(self.file.free_bytes()?.saturating_sub(growth.reserve))
    }

    fn extend(&mut self, to: u64, free: u64) -> Result<(), Errno> {
        let length = to - self.allocated;
        if length > free {
            return Err(Errno::NOSPC);
        }
        loop {
            match self.file.allocate(self.allocated, length) {
                Err(Errno::INTR) => {}
                other => {
                    other?;
                    self.allocated = to;
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::HEAD;
    use crate::storage::Mode;

    #[test]
    fn names_carry_the_base() {
        let dir = Path::new("dir");
        assert_eq!(path(dir, Position(7)), Path::new("dir/00000000000000000007.log"));
        assert_eq!(base_of("00000000000000000007.log"), Some(Position(7)));
        assert_eq!(index_base_of("00000000000000000007.index"), Some(Position(7)));
        for name in ["7.log", "0000000000000000000x.log", "meta", "é.log"] {
            assert_eq!(base_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { generation: 1, revision: 0, base: Position(0) };
        let growth = Growth { step: 4096, reserve: 0 };
        let mut writer = Writer::create(&Disk::Files, dir.path(), identity, growth).unwrap();
        assert_eq!(writer.file.length().unwrap(), 4096);
        assert_eq!(Identity::read(&writer.file, &writer.path).unwrap(), Some(identity));
        writer.write(&[7; 100], growth).unwrap();
        writer.file =
            std::sync::Arc::new(disk::open(&Disk::Files, &writer.path, Mode::Read).unwrap());
        assert!(writer.write(&[8; 10], growth).is_err());
        assert_eq!(writer.used, HEAD + 100);
    }

    #[test]
    fn nothing_grows_into_the_reserve() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { generation: 1, revision: 0, base: Position(0) };
        for step in [0, 4096] {
            let mut writer =
                Writer::create(&Disk::Files, dir.path(), identity, Growth::default()).unwrap();
            let full = writer.write(&[1; 10], Growth { step, reserve: u64::MAX }).unwrap_err();
            assert!(matches!(full, Error::DiskFull { .. }), "{full}");
            assert_eq!(writer.used, HEAD);
            writer.write(&[1; 10], Growth { step, reserve: 1 }).unwrap();
        }
    }
}
