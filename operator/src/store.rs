//! Where the shard records are kept: the consensus store, as the operator sees it.

mod file;
mod local;

use std::path::PathBuf;

use holdfast_protocol::{ShardId, ShardRecord, Version};

pub use file::{Written, read_json, write_json};
pub use local::LocalStore;

/// How a compare-and-swap ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// It is written, durably.
    Done,
    /// The store has this; nothing was written.
    Conflict(Option<ShardRecord>),
}

/// The store failed. After a failed write, what it has is unknown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A file that is not what was written.
    #[error(
        "{path} can't be read: {source}; it was damaged or is of another version: restore it \
         from a copy, or move it away so that the brokers' own records are adopted"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A store over the network did not do what it was asked for, or did not say so.
    #[error("can't {action}: {source}")]
    Remote {
        /// What was tried.
        action: String,
        /// What came of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The task that used the store ended early.
    #[error("the record store is being closed")]
    Closed,
}

/// The consensus store. One record a shard; every write names the version that it replaces.
pub trait RecordStore: Send + Sync + 'static {
    /// All records.
    fn list(&self) -> impl Future<Output = Result<Vec<ShardRecord>, Error>> + Send;

    /// One record, past every cache.
    fn read(
        &self,
        shard: ShardId,
    ) -> impl Future<Output = Result<Option<ShardRecord>, Error>> + Send;

    /// Writes `record` where the store has `expected`; `None`: where it has no record.
    fn compare_and_swap(
        &self,
        expected: Option<Version>,
        record: ShardRecord,
    ) -> impl Future<Output = Result<Swap, Error>> + Send;
}
