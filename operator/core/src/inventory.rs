//! The store went back in time: noticed, and put right.
//!
//! A broker that has persisted a record which the store's does not follow shows that the store was
//! restored from a backup. Until every broker has told which record it knows, nothing may be
//! decided; then one of them is the record again, in a new generation.
//!
//! Where records compete, each the first of its branch, at most one of the branches can be or come
//! in force: that takes as many replicas as the minimum, and who has taken a record of one branch
//! takes none of another. A branch is left only when so many replicas are known to be on others
//! that too few remain. Replicas that could still take either are given one of them first.
//!
//! What a replica told may be old. That does no harm: what it has taken since follows what it told,
//! or left that for a newer generation, and only what was told in the newest generation counts.

use holdfast_protocol::{BrokerId, Epoch, Lineage, ShardRecord, Version};

use crate::broker::Liveness;
use crate::input::Report;
use crate::replica::{Holder, keeps};
use crate::rules::Rule;

/// Whether both are the same record, as far as both tell.
fn is_same(one: &ShardRecord, other: &ShardRecord) -> bool {
    match one.version.writer == 0 || other.version.writer == 0 {
        true => one.unnamed() == other.unnamed(),
        false => one == other,
    }
}

/// Whether `report` knows what does not lead to `stored`.
pub(crate) fn is_ahead(report: &Report, stored: Option<&ShardRecord>) -> bool {
    let Some(stored) = stored else {
        return report.version != Version::default() || report.epoch.0 > 0 || report.end.0 > 0;
    };
    let is_ahead = match &report.record {
        Some(record) => !is_same(record, stored) && !stored.follows(record),
        None => report.version > stored.version && !report.version.is_same_as(stored.version),
    };
    is_ahead || report.epoch > stored.epoch
}

/// Whether the store, which has `stored` now, has lost what was `known`.
pub(crate) fn has_gone_back(known: Option<&ShardRecord>, stored: Option<&ShardRecord>) -> bool {
    match (known, stored) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(known), Some(stored)) => !is_same(known, stored) && !stored.follows(known),
    }
}

/// Whether enough replicas have told what they know for a newer record to be noticed, should the
/// store have lost one. Whatever was committed under it is known to as many replicas as the
/// minimum, so among so many live ones is one of those. Where the minimum is no majority that may
/// be more than it takes to commit: the shard is not held up for it. A record that names more than
/// the `wanted` replicas, as some are to leave, needs as many more.
pub(crate) fn is_vouched_for(record: &ShardRecord, wanted: u32, holders: &[Holder<'_>]) -> bool {
    let min = record.min_in_sync_replicas as usize;
    let all = (record.replicas.len() + 1).saturating_sub(min);
    let needed = if 2 * min > wanted as usize { all } else { all.min(min) };
    let tells = |holder: &&Holder<'_>| {
        holder.liveness == Liveness::Live
            && holder.report.is_some()
            && record.replicas.contains(&holder.broker)
    };
    !keeps(holders, Rule::Inventory) || holders.iter().filter(tells).count() >= needed
}

/// What a broker has told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) broker: BrokerId,
    /// The newest record that it has taken.
    pub(crate) record: &'a ShardRecord,
}

/// All that is known of a frozen shard.
#[derive(Clone, Debug)]
pub(crate) struct Inventory<'a> {
    pub(crate) told: Vec<Told<'a>>,
    /// What the planner knows, and what the store has.
    pub(crate) others: Vec<&'a ShardRecord>,
    /// The newest epoch that anyone told.
    pub(crate) epoch_seen: Epoch,
    /// The highest revision that this planner has given.
    pub(crate) revision_named: u64,
    /// The name of this planner.
    pub(crate) writer: u64,
    /// How many replicas the shard is to have.
    pub(crate) replicas_wanted: u32,
    /// A branch is left only when nothing can have been committed on it.
    pub(crate) leaves_dead_only: bool,
}

/// What is to be the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Adoption {
    /// Nobody knows any.
    None,
    /// This one.
    Record(ShardRecord),
    /// Several may; who can is to take this one before it is asked again.
    Undecided(ShardRecord),
}

/// Which of two records is to be preferred where either will do.
fn age(record: &ShardRecord) -> (u32, Epoch, u64, u64) {
    let Version { generation, revision, writer } = record.version;
    (generation, record.epoch, revision, writer)
}

impl<'a> Inventory<'a> {
    /// All records that are known.
    pub(crate) fn known(&self) -> impl Iterator<Item = &'a ShardRecord> + '_ {
        self.told.iter().map(|told| told.record).chain(self.others.iter().copied())
    }

    /// The records that no known one follows, the preferred one first.
    pub(crate) fn heads(&self) -> Vec<&'a ShardRecord> {
        let mut heads: Vec<&ShardRecord> = Vec::new();
        for record in self.known() {
            let is_followed = self.known().any(|other| other.follows(record));
            if !is_followed && !heads.contains(&record) {
                heads.push(record);
            }
        }
        heads.sort_by_key(|record| std::cmp::Reverse(age(record)));
        heads
    }

    /// The record to go on with.
    pub(crate) fn adopted(&self) -> Adoption {
        let heads = self.heads();
        let Some(newest) = heads.first() else {
            return Adoption::None;
        };
        let mut candidates = heads.iter();
        let base = candidates.find(|base| {
            !self.leaves_dead_only
                || heads.iter().all(|head| head == *base || self.is_dead(head, base))
        });
        match base {
            Some(base) => Adoption::Record(self.adopt(base, &heads)),
            None => Adoption::Undecided((*newest).clone()),
        }
    }

    /// Whether nothing can have been, or will be, committed on the branch of `head` where it parts
    /// from that of `base`.
    fn is_dead(&self, head: &ShardRecord, base: &ShardRecord) -> bool {
        let (min, count) = (head.min_in_sync_replicas as usize, head.replicas.len());
        let tells = |record: &ShardRecord| record.version.writer != 0;
        let is_majority = 2 * min > self.replicas_wanted as usize;
        if !is_majority || !tells(head) || !tells(base) {
            // Both may be in force, or an older release does not tell: the newest has to do.
            return age(head) <= age(base);
        }
        let Some(root) = head.parts_from(base) else {
            return false;
        };
        let newest = self.generation();
        let elsewhere = self.told.iter().filter(|told| {
            let generation = told.record.version.generation.max(root.generation);
            generation == newest
                && head.replicas.contains(&told.broker)
                && told.record.descends_from(root) == Some(false)
                && !head.follows(told.record)
        });
        elsewhere.count() + min > count
    }

    /// A record that follows `base`, and leaves the other heads.
    fn adopt(&self, base: &ShardRecord, heads: &[&ShardRecord]) -> ShardRecord {
        let generation = self.generation() + 1;
        let revision = self.known().map(|record| record.version.revision).max().unwrap_or(0);
        let revision = revision.max(self.revision_named) + 1;
        let version = Version { generation, revision, writer: self.writer };
        let mut lineage = Lineage::of(version, Some(base));
        for head in heads.iter().filter(|head| **head != base) {
            let oldest = head.lineage.runs.first().map_or(head.version, |run| run.first);
            lineage.leave(head.parts_from(base).unwrap_or(oldest), generation);
        }
        ShardRecord {
            version,
            // Someone led an epoch that the record does not name: its leader is nobody now.
            leader: base.leader.filter(|_| base.epoch >= self.epoch_seen()),
            epoch: base.epoch.max(self.epoch_seen()),
            lineage: lineage.into(),
            ..base.clone()
        }
    }

    /// The newest generation that is known.
    fn generation(&self) -> u32 {
        self.known().map(|record| record.version.generation).max().unwrap_or(0)
    }

    fn epoch_seen(&self) -> Epoch {
        self.known().map(|record| record.epoch).max().max(Some(self.epoch_seen)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
