//! One JSON value in one file, replaced whole and durably, or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;

/// Whether a write must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is synced, and so is the directory that names it.
    Durably,
    /// It replaces the old file whole, but a power cut may undo it.
    Atomically,
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

/// Reads a value; `None` where there is no such file.
///
/// # Errors
/// Where the file can't be read, or is not what was written.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let value = serde_json::from_slice(&bytes)
        .map_err(|source| Error::Damaged { path: path.to_owned(), source })?;
    Ok(Some(value))
}

/// Replaces the file at `path` by `value`: a new file, renamed over the old one.
///
/// # Errors
/// Where any step fails; then either the old or the new file is there, whole.
pub fn write_json<T: Serialize>(path: &Path, value: &T, written: Written) -> Result<(), Error> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Damaged { path: path.to_owned(), source })?;
    let draft = path.with_extension("new");
    let mut file = File::create(&draft).map_err(failed("write", &draft))?;
    file.write_all(&bytes).map_err(failed("write", &draft))?;
    if written == Written::Durably {
        file.sync_all().map_err(failed("sync", &draft))?;
    }
    fs::rename(&draft, path).map_err(failed("rename", &draft))?;
    if written == Written::Durably {
        let directory = path.parent().unwrap_or(Path::new("."));
        let opened = File::open(directory).map_err(failed("open", directory))?;
        opened.sync_all().map_err(failed("sync", directory))?;
    }
    Ok(())
}
