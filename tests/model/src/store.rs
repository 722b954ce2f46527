//! The record store: compare-and-swap, writes that arrive late, and restores from a backup.

use holdfast_protocol::{Lineage, ShardRecord, Version};

use crate::cluster::FIRST_WRITER;
use crate::invariants::written;
use crate::setup::{Setup, Shell};
use crate::state::{Call, State};

impl State {
    /// A write reaches the store; gives whether it happened.
    pub(crate) fn swap(&mut self, setup: &Setup, call: &Call) -> bool {
        let Some(record) = &call.record else { return false };
        let matches = call.expected == Some(self.store.record().version);
        if !matches && setup.missing.keeps(Shell::CompareAndSwap) {
            return false;
        }
        let before = self.store.record().clone();
        let judged = setup.missing.keeps(Shell::CompareAndSwap);
        if judged && let Some(broken) = written(self, &before, record) {
            self.judge(setup, broken);
        }
        self.prove(&before, record);
        let store = self.store_mut();
        store.history.push(record.clone());
        store.at = store.history.len() - 1;
        if setup.bounds.rollbacks == 0 {
            self.seen_mut().asked.clear();
        }
        true
    }

    /// Who joins the in-sync replicas under the name of its log is proven from then on.
    fn prove(&mut self, before: &ShardRecord, after: &ShardRecord) {
        for member in after.isr.iter().filter(|member| !before.isr.contains(member)) {
            let broker = member.broker.0 as usize;
            let node = &self.nodes[broker];
            if node.unproven && node.disk.incarnation == member.incarnation {
                self.node_mut(broker).unproven = false;
            }
        }
    }

    /// The store is restored: it has an older record again. It was down for that, so what was on
    /// its way to it is gone.
    pub(crate) fn roll_back(&mut self, at: usize) {
        let store = self.store_mut();
        store.at = at;
        store.late.clear();
        self.spent.rollbacks += 1;
    }

    /// The arbitrary operator writes `next` over the record `base` that it read.
    pub(crate) fn change(&mut self, setup: &Setup, base: &ShardRecord, next: ShardRecord) {
        // After a restore it is another one that writes.
        let writer = FIRST_WRITER + u64::from(self.spent.rollbacks);
        let version = Version { writer, ..next.version };
        let lineage = Lineage::of(version, Some(base)).into();
        let next = ShardRecord { version, lineage, ..next };
        self.swap(setup, &Call { expected: Some(base.version), record: Some(next) });
    }
}
