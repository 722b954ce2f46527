//! The record store: compare-and-swap, with outages, answers that get lost, writes that arrive
//! late, lists that are old, and restores from a backup.

use std::collections::BTreeMap;

use holdfast_protocol::{ShardId, ShardRecord, Version};

/// How many states of the store are remembered.
const HISTORY_MAX: usize = 256;

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Store {
    records: BTreeMap<ShardId, ShardRecord>,
    /// Earlier states, the oldest first.
    history: Vec<BTreeMap<ShardId, ShardRecord>>,
    /// What each name stands for, of all that anyone ever wanted to write.
    named: BTreeMap<(ShardId, Version), ShardRecord>,
    /// Unclean elections that were written, with the record before, and not judged yet.
    unclean: Vec<(ShardRecord, ShardRecord)>,
    /// Records that name somebody no more, with the record before, and not judged yet.
    left: Vec<(ShardRecord, ShardRecord)>,
    /// Nobody reaches it before, ms.
    pub(crate) away_until_ms: u64,
}

impl Store {
    pub(crate) fn read(&self, shard: ShardId) -> Option<ShardRecord> {
        self.records.get(&shard).cloned()
    }

    pub(crate) fn records(&self) -> &BTreeMap<ShardId, ShardRecord> {
        &self.records
    }

    /// Remembers what `record` is called; gives the other record that was called the same.
    pub(crate) fn name(&mut self, record: &ShardRecord) -> Option<&ShardRecord> {
        let first = self.named.entry((record.shard, record.version));
        let first = first.or_insert_with(|| record.clone());
        (first != record).then_some(first)
    }

    /// Writes where it has `expected`; gives what it has otherwise.
    pub(crate) fn swap(
        &mut self,
        expected: Option<Version>,
        record: ShardRecord,
    ) -> Result<(), Option<Box<ShardRecord>>> {
        let present = self.records.get(&record.shard);
        if present.map(|present| present.version) != expected {
            return Err(present.cloned().map(Box::new));
        }
        if let Some(present) = present
            && present.unclean_epoch != record.unclean_epoch
        {
            self.unclean.push((present.clone(), record.clone()));
        }
        if let Some(present) = present
            && present.replicas.iter().any(|broker| !record.replicas.contains(broker))
        {
            self.left.push((present.clone(), record.clone()));
        }
        self.history.push(self.records.clone());
        if self.history.len() > HISTORY_MAX {
            self.history.remove(0);
        }
        self.records.insert(record.shard, record);
        Ok(())
    }

    /// Unclean elections since this was asked last.
    pub(crate) fn take_unclean(&mut self) -> Vec<(ShardRecord, ShardRecord)> {
        std::mem::take(&mut self.unclean)
    }

    /// Writes by which somebody left since this was asked last.
    pub(crate) fn take_left(&mut self) -> Vec<(ShardRecord, ShardRecord)> {
        std::mem::take(&mut self.left)
    }

    /// A list that is as many writes old.
    pub(crate) fn list(&self, writes_ago: usize) -> Vec<ShardRecord> {
        let at = self.history.len().checked_sub(writes_ago.max(1));
        let old = at.and_then(|at| self.history.get(at)).filter(|_| writes_ago > 0);
        old.unwrap_or(&self.records).values().cloned().collect()
    }

    /// Restored from a backup that is as many writes old.
    pub(crate) fn restore(&mut self, writes_ago: usize) {
        let at = self.history.len().saturating_sub(writes_ago.max(1));
        if let Some(old) = self.history.get(at) {
            self.records = old.clone();
        }
    }
}
