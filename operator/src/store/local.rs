//! The store of `holdfast up`: one file a shard in one directory.
//!
//! The directory is locked by its owner, so nobody else writes it; the mutex makes a
//! compare-and-swap one step. Every call reads the file, so what is compared is what is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_protocol::{ShardId, ShardRecord, Version};
use serde::{Deserialize, Serialize};

use super::file::{Written, read_json, write_json};
use super::{Error, RecordStore, Swap};

/// The version of the files' format.
const FORMAT: u32 = 1;

/// What is in a file.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    record: ShardRecord,
}

/// Records in files.
#[derive(Clone, Debug)]
pub struct LocalStore {
    files: Arc<Mutex<Files>>,
}

#[derive(Debug)]
struct Files {
    directory: PathBuf,
}

impl LocalStore {
    /// Opens the store in `directory`, which is made where it is not there.
    ///
    /// # Errors
    /// Where the directory can't be made.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(|source| Error::Io {
            action: "make",
            path: directory.to_owned(),
            source,
        })?;
        let files = Files { directory: directory.to_owned() };
        Ok(Self { files: Arc::new(Mutex::new(files)) })
    }

    /// Runs `work` where blocking is allowed, one at a time.
    async fn with_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let files = Arc::clone(&self.files);
        let task = tokio::task::spawn_blocking(move || {
            // A panic between two steps left a whole file, old or new.
            work(&files.lock().unwrap_or_else(PoisonError::into_inner))
        });
        task.await.map_err(|_| Error::Closed)?
    }
}

impl Files {
    fn path(&self, shard: ShardId) -> PathBuf {
        self.directory.join(format!("shard-{shard}.json"))
    }

    fn read(&self, shard: ShardId) -> Result<Option<ShardRecord>, Error> {
        Ok(read_json::<Stored>(&self.path(shard))?.map(|stored| stored.record))
    }

    fn list(&self) -> Result<Vec<ShardRecord>, Error> {
        let failed = |source| Error::Io { action: "list", path: self.directory.clone(), source };
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(stored) = read_json::<Stored>(&path)?
            {
                records.push(stored.record);
            }
        }
        records.sort_by_key(|record| record.shard);
        Ok(records)
    }

    fn swap(&self, expected: Option<Version>, record: ShardRecord) -> Result<Swap, Error> {
        let current = self.read(record.shard)?;
        if current.as_ref().map(|current| current.version) != expected {
            return Ok(Swap::Conflict(current));
        }
        let path = self.path(record.shard);
        let stored = Stored { format: FORMAT, record };
        write_json(&path, &stored, Written::Durably)?;
        Ok(Swap::Done)
    }
}

impl RecordStore for LocalStore {
    async fn list(&self) -> Result<Vec<ShardRecord>, Error> {
        self.with_files(Files::list).await
    }

    async fn read(&self, shard: ShardId) -> Result<Option<ShardRecord>, Error> {
        self.with_files(move |files| files.read(shard)).await
    }

    async fn compare_and_swap(
        &self,
        expected: Option<Version>,
        record: ShardRecord,
    ) -> Result<Swap, Error> {
        self.with_files(move |files| files.swap(expected, record)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::{BrokerId, Epoch, FlushMode};

    fn record(revision: u64) -> ShardRecord {
        ShardRecord {
            shard: ShardId(3),
            version: Version { generation: 0, revision, writer: 0 },
            epoch: Epoch(1),
            leader: None,
            isr: Vec::new(),
            replicas: vec![BrokerId(0)],
            min_in_sync_replicas: 1,
            flush: FlushMode::Sync,
            unclean_epoch: None,
            loss: None,
            starts: Vec::new(),
            lineage: Default::default(),
        }
    }

    #[tokio::test]
    async fn only_the_expected_version_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(directory.path()).unwrap();
        let swap = |expected: Option<u64>, revision| {
            let expected = expected.map(|revision| record(revision).version);
            store.compare_and_swap(expected, record(revision))
        };
        assert_eq!(swap(Some(1), 2).await.unwrap(), Swap::Conflict(None));
        assert_eq!(swap(None, 1).await.unwrap(), Swap::Done);
        assert_eq!(swap(None, 1).await.unwrap(), Swap::Conflict(Some(record(1))));
        assert_eq!(swap(Some(1), 2).await.unwrap(), Swap::Done);
        // It survives its owner, and a draft that a crash left behind is nothing.
        fs::write(directory.path().join("shard-3.new"), "{").unwrap();
        let again = LocalStore::open(directory.path()).unwrap();
        assert_eq!(again.list().await.unwrap(), [record(2)]);
        assert_eq!(again.read(ShardId(3)).await.unwrap(), Some(record(2)));
        assert_eq!(again.read(ShardId(4)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(directory.path()).unwrap();
        fs::write(directory.path().join("shard-3.json"), "{").unwrap();
        let error = store.list().await.unwrap_err().to_string();
        assert!(error.contains("shard-3.json"), "{error}");
        let swap = store.compare_and_swap(None, record(1)).await;
        assert!(swap.is_err(), "damage is not absence");
    }
}
