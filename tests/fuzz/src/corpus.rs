//! The committed inputs: `corpus/<target>/`, a file each. Those called `found-…` broke something
//! once.

use std::io;
use std::path::{Path, PathBuf};

use crate::Target;

/// Where the committed inputs of a target lie.
#[must_use]
pub fn directory(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The inputs in a directory, by name; none where there is no directory.
///
/// # Errors
/// Where a file can't be read.
pub fn read(directory: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = match std::fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}

/// Keeps an input under a name made of its bytes.
///
/// # Errors
/// Where it can't be written.
pub fn keep(directory: &Path, prefix: &str, input: &[u8]) -> io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(format!("{prefix}{:08x}", crc32c::crc32c(input)));
    std::fs::write(&path, input)?;
    Ok(path)
}
