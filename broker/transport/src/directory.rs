//! Credentials from a directory, read again when they change.
//!
//! Kubernetes swaps the files of a mounted Secret by a symlink, so they are looked at by their
//! content. A look that falls into the middle of a swap finds parts that don't belong together,
//! and is done again.

use std::convert::Infallible;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::credentials::{AUTHORITIES_FILE, CERTIFICATE_FILE, Credentials, KEY_FILE, shared_files};
use crate::identity::{Identity, Role};
use crate::tls::{self, Tls};

/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why credentials can't be had from a directory.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file can't be read.
    #[error("can't read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the files hold is not taken.
    #[error("{}: {source}", directory.display())]
    Credentials {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: tls::Error,
    },
}

/// The side of `own`, by the files in `directory`.
///
/// # Errors
/// Where a file is missing, or they don't fit together, or are somebody else's.
pub fn open(own: Identity, directory: &Path) -> Result<Tls, ReadError> {
    let credentials = read(directory, own.role())?;
    Tls::new(own, &credentials)
        .map_err(|source| ReadError::Credentials { directory: directory.to_owned(), source })
}

/// Looks after `directory` for ever, and has `tls` use what it holds. What can't be used is
/// told once, and what was used before goes on being used.
pub async fn follow(tls: Tls, directory: PathBuf) -> Infallible {
    let mut used: Option<Credentials> = None;
    let mut told = String::new();
    loop {
        let found = match read(&directory, tls.own().role()) {
            Ok(found) if used.as_ref() == Some(&found) => Ok(()),
            Ok(found) => tls
                .replace(&found)
                .map(|()| {
                    if used.is_some() {
                        info!(directory = %directory.display(), "new certificates are in use");
                    }
                    used = Some(found);
                })
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok(()) => told.clear(),
            Err(error) if error != told => {
                warn!(directory = %directory.display(), %error, "new certificates are not used");
                told = error;
            }
            Err(_) => {}
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What `role` finds in `directory`, a few kilobytes together.
///
/// # Errors
/// Where one can't be read.
pub fn read(directory: &Path, role: Role) -> Result<Credentials, ReadError> {
    let (mut certificate, mut key) = (CERTIFICATE_FILE.to_owned(), KEY_FILE.to_owned());
    if !directory.join(&certificate).exists() {
        let (shared, of_shared) = shared_files(role);
        if directory.join(&shared).exists() {
            (certificate, key) = (shared, of_shared);
        }
    }
    let file = |name: &str| {
        let path = directory.join(name);
        read_file(&path).map_err(|source| ReadError::File { path, source })
    };
    Ok(Credentials {
        authorities: file(AUTHORITIES_FILE)?,
        certificate: file(&certificate)?,
        key: file(&key)?,
    })
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
