//! The consensus record of a shard: who leads, in which epoch, and who is in sync.
//!
//! Only the operator writes it, by compare-and-swap on its [`Version`]; brokers persist the
//! newest one they have seen and ignore anything older.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{BrokerId, Epoch, Incarnation, Position, ShardId};
use crate::lineage::Lineage;

/// A replica named together with the incarnation of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The broker that holds the replica.
    pub broker: BrokerId,
    /// The log that is meant; another log under the same broker does not count.
    pub incarnation: Incarnation,
}

/// Which record is newer. The generation grows when the record store was restored from a
/// backup; the revision with every write.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// Grows by one when records are adopted again after the store went back in time.
    pub generation: u32,
    /// Grows by one with every write of this record.
    pub revision: u64,
    /// Who wrote it: a store that was restored gives numbers out again, to another writer. 0
    /// where that is not told, as by older releases. It tells records apart, and not which is
    /// newer: see [`crate::lineage`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub writer: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Version {
    /// The largest that may come from outside: far enough from the end of the numbers that
    /// nothing which follows it gets there.
    pub const MAX: Self =
        Self { generation: i32::MAX as u32, revision: i64::MAX as u64, writer: u64::MAX };

    /// Writers are below this: JSON has room for them.
    pub const WRITERS: u64 = 1 << 53;

    /// The version that the next write carries, before its writer puts its own name to it.
    #[must_use]
    pub fn next(self) -> Self {
        Self { revision: self.revision + 1, ..self }
    }

    /// Whether both name the same record, as far as both tell.
    #[must_use]
    pub fn is_same_as(self, other: Self) -> bool {
        let names = self.writer == other.writer || self.writer == 0 || other.writer == 0;
        names && (self.generation, self.revision) == (other.generation, other.revision)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.revision)
    }
}

/// When a replica counts an entry as its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FlushMode {
    /// When it is durable: flushed to the disk.
    #[default]
    Sync,
    /// When it is written; flushed at the policy's interval.
    Async,
}

/// What to do when no member of the in-sync replicas can lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UncleanElection {
    /// Wait for a person.
    Never,
    /// Wait until every member has reported what it holds, then take the most complete.
    AllReported,
}

/// A start of a broker on its volume.
///
/// The counter is kept on the volume and grows with every start. The newest start of each broker is
/// remembered in the record of the catalog's shard, so that a volume that was put back to an
/// older state is noticed: it counts what it counted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Start {
    /// Which broker.
    pub broker: BrokerId,
    /// How often its volume had been opened, this time included; 0 where it does not tell.
    pub counter: u64,
    /// Drawn at the start: tells two starts with the same counter apart.
    pub process: u64,
}

impl Start {
    /// Whether `later`, of the same broker, can't have come after this start on this volume.
    #[must_use]
    pub fn is_undone_by(&self, later: &Self) -> bool {
        let told = self.counter > 0 && later.counter > 0;
        let again = later.counter == self.counter && later.process != self.process;
        told && (later.counter < self.counter || again)
    }
}

/// What an unclean election may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LossRange {
    /// The end of the elected log: nothing before it is lost.
    pub from: Position,
    /// One past the last position that was known to be committed; what was committed after that was
    /// told may be lost too. Equal to `from` where nothing is known to be lost.
    pub to: Position,
}

/// The consensus record of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardRecord {
    /// The shard.
    pub shard: ShardId,
    /// Which write of the record this is.
    pub version: Version,
    /// The present reign.
    pub epoch: Epoch,
    /// Who leads, and under which log; `None` while nobody can.
    pub leader: Option<Member>,
    /// The in-sync replicas.
    pub isr: Vec<Member>,
    /// All replicas, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Fewest in-sync replicas under which anything is committed.
    pub min_in_sync_replicas: u32,
    /// When a replica counts an entry as its own.
    pub flush: FlushMode,
    /// The epoch of the newest unclean election; a replica may truncate below its commit
    /// position only when it first meets an epoch at or after one recorded here.
    #[serde(default)]
    pub unclean_epoch: Option<Epoch>,
    /// What that election may have lost. For people: no replica acts on it.
    #[serde(default)]
    pub loss: Option<LossRange>,
    /// The newest start of each broker, by its number. Only in the record of the catalog's shard.
    #[serde(default)]
    pub starts: Vec<Start>,
    /// Which records it follows.
    #[serde(default, skip_serializing_if = "Lineage::is_empty")]
    pub lineage: Box<Lineage>,
}

impl ShardRecord {
    /// The epoch of the newest unclean election, and what that may have lost.
    #[must_use]
    pub fn possible_loss(&self) -> Option<(Epoch, LossRange)> {
        self.unclean_epoch.zip(self.loss)
    }

    /// The incarnation under which `broker` is in sync, if it is.
    #[must_use]
    pub fn in_sync(&self, broker: BrokerId) -> Option<Incarnation> {
        self.isr.iter().find(|member| member.broker == broker).map(|member| member.incarnation)
    }

    /// Whether enough replicas are in sync to commit anything.
    #[must_use]
    pub fn may_commit(&self) -> bool {
        self.isr.len() >= self.min_in_sync_replicas as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_was_counted_before_undoes_what_came_since() {
        let start = |counter, process| Start { broker: BrokerId(1), counter, process };
        let known = start(7, 70);
        for (later, undone) in [
            (start(8, 80), false),
            // The same process in another session.
            (start(7, 70), false),
            // A copy from before this start was started instead of it.
            (start(7, 71), true),
            (start(3, 30), true),
            // It does not tell.
            (start(0, 30), false),
        ] {
            assert_eq!(known.is_undone_by(&later), undone, "{later:?}");
        }
    }
}
