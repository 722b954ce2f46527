//! A place where only the newest message of each shard waits to be sent.
//!
//! Fetches and their answers replace each other: a newer one of the same shard makes the older
//! one pointless. So what waits for a slow connection is bounded by the number of shards.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdfast_protocol::ShardId;
use tokio::sync::Notify;

/// The newest message of each shard.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    waiting: Mutex<BTreeMap<ShardId, T>>,
    filled: Notify,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), filled: Notify::new() }
    }
}

impl<T> Outbox<T> {
    /// Puts a message in, in place of the shard's last.
    pub(crate) fn put(&self, shard: ShardId, message: T) {
        self.lock().insert(shard, message);
        self.filled.notify_one();
    }

    /// Takes all that waits, waiting for at least one. Cancel safe.
    pub(crate) async fn take(&self) -> Vec<(ShardId, T)> {
        loop {
            let filled = self.filled.notified();
            let taken = std::mem::take(&mut *self.lock());
            if !taken.is_empty() {
                return taken.into_iter().collect();
            }
            filled.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
