//! A store whose writes fail before or after they happen, so that nobody knows which.

use std::sync::atomic::{AtomicUsize, Ordering};

use holdfast_operator::store::{Error, LocalStore, RecordStore, Swap};
use holdfast_protocol::{ShardId, ShardRecord, Version};

pub(crate) struct FlakyStore {
    store: LocalStore,
    calls: AtomicUsize,
}

impl FlakyStore {
    pub(crate) fn new(store: LocalStore) -> Self {
        Self { store, calls: AtomicUsize::new(0) }
    }
}

impl RecordStore for FlakyStore {
    async fn list(&self) -> Result<Vec<ShardRecord>, Error> {
        self.store.list().await
    }

    async fn read(&self, shard: ShardId) -> Result<Option<ShardRecord>, Error> {
        self.store.read(shard).await
    }

    async fn compare_and_swap(
        &self,
        expected: Option<Version>,
        record: ShardRecord,
    ) -> Result<Swap, Error> {
        match self.calls.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => Err(Error::Closed),
            1 => {
                self.store.compare_and_swap(expected, record).await?;
                Err(Error::Closed)
            }
            _ => self.store.compare_and_swap(expected, record).await,
        }
    }
}
