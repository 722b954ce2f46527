//! Files whose errors name them, and small files that are replaced as a whole.
//!
//! A *frame* is a versioned, checksummed run of bytes: magic (8), version (4), CRC32C (4) of all
//! the rest, payload length (8), payload. Its layout is the same for every version of every file,
//! so that a newer version is told from damage.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::READING;
use crate::storage::{Disk, File, Mode, Sequential};

/// Suffix of files that are being written and do not count yet.
pub(crate) const TEMPORARY: &str = "tmp";

/// Which file a frame is, and the version that this release reads and writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u32,
}

/// What is where a frame should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// No file.
    Missing,
    /// Something else, and why.
    Bad(&'static str),
    /// The payload.
    Good(Vec<u8>),
}

impl Format {
    /// Bytes before the payload.
    pub(crate) const HEAD: usize = 24;

    /// The bytes that come before the payload made of `pieces`.
    pub(crate) fn head(self, pieces: &[&[u8]]) -> [u8; Self::HEAD] {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut head = [0; Self::HEAD];
        head[..8].copy_from_slice(&self.magic);
        head[8..12].copy_from_slice(&self.version.to_le_bytes());
        head[16..24].copy_from_slice(&(length as u64).to_le_bytes());
        let crc = crc(&head, pieces);
        head[12..16].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// Reads the frame at byte `at` of `file`, and where it ends.
    pub(crate) fn read_at(self, file: &File, path: &Path, at: u64) -> Result<(Frame, u64), Error> {
        let read = |error| Error::io(READING, path, error);
        let left = file.length().map_err(read)?.saturating_sub(at);
        if left < Self::HEAD as u64 {
            return Ok((Frame::Bad("it is cut short"), at));
        }
        let mut head = [0; Self::HEAD];
        file.read_exact_at(&mut head, at).map_err(read)?;
        if head[..8] != self.magic {
            return Ok((Frame::Bad("it does not begin as such a file does"), at));
        }
        let length = u64::from_le_bytes(head[16..24].try_into().expect("8 bytes"));
        let Some(length) = usize::try_from(length)
            .ok()
            .filter(|length| *length as u64 <= left - Self::HEAD as u64)
        else {
            return Ok((Frame::Bad("it is cut short"), at));
        };
        let mut payload = vec![0; length];
        file.read_exact_at(&mut payload, at + Self::HEAD as u64).map_err(read)?;
        let found = u32::from_le_bytes(head[12..16].try_into().expect("4 bytes"));
        if found != crc(&head, &[&payload]) {
            return Ok((Frame::Bad("its checksum does not match"), at));
        }
        let version = u32::from_le_bytes(head[8..12].try_into().expect("4 bytes"));
        if version != self.version {
            return Err(Error::Version { path: path.to_owned(), version, known: self.version });
        }
        let end = at + (Self::HEAD + length) as u64;
        Ok((Frame::Good(payload), end))
    }

    /// Reads a file that is one frame.
    pub(crate) fn read(self, disk: &Disk, path: &Path) -> Result<Frame, Error> {
        match disk.open(path, Mode::Read) {
            Ok(file) => Ok(self.read_at(&file, path, 0)?.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Frame::Missing),
            Err(error) => Err(Error::io("opening", path, error)),
        }
    }

    /// Replaces the file at `path` durably by a frame of `pieces`: written beside it, synced,
    /// renamed over it, and the directory synced.
    pub(crate) fn replace(self, disk: &Disk, path: &Path, pieces: &[&[u8]]) -> Result<(), Error> {
        let temporary = temporary(path);
        let written = self
            .write_new(disk, &temporary, pieces)
            .and_then(|out| out.file.sync_all().map_err(|error| Error::fsync(&temporary, error)));
        if let Err(error) = written {
            // Best effort: leftovers are removed on the next open as well.
            let _ = disk.remove_file(&temporary);
            return Err(error);
        }
        rename(disk, &temporary, path)?;
        sync_parent(disk, path)
    }

    /// Writes a frame to a new file, without syncing it.
    pub(crate) fn write_new(
        self,
        disk: &Disk,
        path: &Path,
        pieces: &[&[u8]],
    ) -> Result<Sequential, Error> {
        let mut out = Sequential::new(create(disk, path)?);
        let head = self.head(pieces);
        for piece in [&head[..]].iter().chain(pieces) {
            out.write_all(piece).map_err(|error| Error::write(path, error))?;
        }
        Ok(out)
    }
}

fn crc(head: &[u8; Format::HEAD], pieces: &[&[u8]]) -> u32 {
    let mut crc = crc32c::crc32c(&head[..12]);
    crc = crc32c::crc32c_append(crc, &head[16..]);
    for piece in pieces {
        crc = crc32c::crc32c_append(crc, piece);
    }
    crc
}

/// Where the replacement of `path` is written.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(TEMPORARY);
    PathBuf::from(name)
}

/// Creates the file, empty, for reading and writing.
pub(crate) fn create(disk: &Disk, path: &Path) -> Result<File, Error> {
    disk.open(path, Mode::Create).map_err(|error| match Error::write(path, error) {
        Error::WriteFailed { path, source } => Error::io("creating", &path, source),
        full => full,
    })
}

/// Opens an existing file.
pub(crate) fn open(disk: &Disk, path: &Path, mode: Mode) -> Result<File, Error> {
    disk.open(path, mode).map_err(|error| Error::io("opening", path, error))
}

/// Renames without syncing the directory.
pub(crate) fn rename(disk: &Disk, from: &Path, to: &Path) -> Result<(), Error> {
    disk.rename(from, to).map_err(|error| Error::write(to, error))
}

/// Removes a file that may be gone already.
pub(crate) fn remove(disk: &Disk, path: &Path) -> Result<(), Error> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("removing", path, error))
        }
        _ => Ok(()),
    }
}

/// Removes a directory and all in it.
pub(crate) fn remove_all(disk: &Disk, path: &Path) -> Result<(), Error> {
    disk.remove_dir_all(path).map_err(|error| Error::io("removing", path, error))
}

/// Length of a file, bytes.
pub(crate) fn length(disk: &Disk, path: &Path) -> Result<u64, Error> {
    disk.length(path).map_err(|error| Error::io(READING, path, error))
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(disk: &Disk, dir: &Path) -> Result<(), Error> {
    disk.sync_dir(dir).map_err(|error| Error::fsync(dir, error))
}

fn sync_parent(disk: &Disk, path: &Path) -> Result<(), Error> {
    path.parent().map_or(Ok(()), |parent| sync_dir(disk, parent))
}

/// Makes `dir` and its missing parents, durably.
pub(crate) fn create_dir(disk: &Disk, dir: &Path) -> Result<(), Error> {
    if disk.is_dir(dir) {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(disk, parent)?;
    }
    match disk.create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(match Error::write(dir, error) {
                Error::WriteFailed { path, source } => Error::io("creating", &path, source),
                full => full,
            })
        }
        _ => sync_parent(disk, dir),
    }
}

/// The names in `dir`, sorted.
pub(crate) fn names(disk: &Disk, dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = disk.names(dir).map_err(|error| Error::io("listing", dir, error))?;
    names.sort_unstable();
    Ok(names)
}

/// Reads until `buffer` is full or the file ends; says how many bytes.
pub(crate) fn read_at(
    file: &File,
    path: &Path,
    buffer: &mut [u8],
    at: u64,
) -> Result<usize, Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(READING, path, error)),
        }
    }
    Ok(filled)
}

/// Reads a short text file whole, at most `max` bytes of it.
pub(crate) fn read_text(path: &Path, max: u64) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(max).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const FORMAT: Format = Format { magic: *b"HFTEST\0\0", version: 3 };

    #[test]
    fn a_frame_survives_and_every_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(FORMAT.read(&Disk::Files, &path).unwrap(), Frame::Missing);
        FORMAT.replace(&Disk::Files, &path, &[b"one", b"two"]).unwrap();
        assert_eq!(FORMAT.read(&Disk::Files, &path).unwrap(), Frame::Good(b"onetwo".to_vec()));
        let good = fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            assert!(matches!(FORMAT.read(&Disk::Files, &path).unwrap(), Frame::Bad(_)));
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            assert!(matches!(FORMAT.read(&Disk::Files, &path).unwrap(), Frame::Bad(_)));
        }
    }

    #[test]
    fn a_newer_version_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let newer = Format { version: 4, ..FORMAT };
        newer.replace(&Disk::Files, &path, &[b"x"]).unwrap();
        let error = FORMAT.read(&Disk::Files, &path).unwrap_err().to_string();
        assert!(error.contains("file has format version 4"), "{error}");
    }
}
