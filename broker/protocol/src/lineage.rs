//! What a record follows: which other records are its ancestors, and which it leaves behind.
//!
//! A record store that was restored from a backup gives the same numbers out again, so a number
//! alone does not say which record is meant. A record is named by its number together with its
//! writer (an operator draws one for each planner, and a planner never gives a name twice), and
//! tells the names of all its ancestors, as runs of one writer. So of two records it can be said
//! whether one follows the other, or whether they are forks.
//!
//! Whoever has taken a record takes another one only where that follows it. A record in whose
//! place others were committed under is so known to as many replicas as the minimum, and a fork
//! of it is not: where the minimum is a majority, at most one of two forks is ever in force.
//!
//! Records of older releases have no writer (0) and tell no ancestors: by them the number decides,
//! as it did then.

use serde::{Deserialize, Serialize};

use crate::record::{ShardRecord, Version};

/// Runs that a record tells of. One begins with each operator that writes the record; of ancestors
/// before the oldest run nothing is known, and the number decides.
pub const RUNS_MAX: usize = 32;
/// Branches that a record tells to have been left. Who knows one that is not told any more
/// says so to the operator, and it is left again.
pub const LEFT_MAX: usize = 16;

/// Successive records of one writer in one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    /// The oldest.
    pub first: Version,
    /// The revision of the newest.
    pub last: u64,
}

impl Run {
    /// Whether it has a record of that name. Who tells no writer means any.
    fn has(&self, name: Version) -> bool {
        let Version { generation, revision, writer } = self.first;
        generation == name.generation
            && (writer == name.writer || name.writer == 0)
            && (revision..=self.last).contains(&name.revision)
    }
}

/// A branch that was left: under none of its records anything was or will be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Left {
    /// Its first record that is no ancestor.
    pub root: Version,
    /// The generation that began in its place: younger ones on that branch were not known then.
    pub by: u32,
}

/// The ancestors of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lineage {
    /// All ancestors and the record itself, oldest first; none where nobody told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
    /// What was left on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
}

impl Lineage {
    /// Whether nothing is told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The lineage of the record `own` that is written over `base`, or as the first one.
    #[must_use]
    pub fn of(own: Version, base: Option<&ShardRecord>) -> Self {
        let mut lineage = base.map(|base| (*base.lineage).clone()).unwrap_or_default();
        if let Some(base) = base.filter(|base| base.lineage.is_empty()) {
            lineage.runs.push(Run { first: base.version, last: base.version.revision });
        }
        match lineage.runs.last_mut() {
            Some(run)
                if run.first.generation == own.generation
                    && run.first.writer == own.writer
                    && run.last + 1 == own.revision =>
            {
                run.last = own.revision;
            }
            Some(_) | None => lineage.runs.push(Run { first: own, last: own.revision }),
        }
        let old = lineage.runs.len().saturating_sub(RUNS_MAX);
        lineage.runs.drain(..old);
        lineage
    }

    /// Notes that the branch from `root` on was left by generation `by`.
    pub fn leave(&mut self, root: Version, by: u32) {
        self.left.push(Left { root, by });
        let old = self.left.len().saturating_sub(LEFT_MAX);
        self.left.drain(..old);
    }
}

impl ShardRecord {
    /// Whether the record of this name is this one or an ancestor of it; `None` where that is
    /// not known.
    #[must_use]
    pub fn descends_from(&self, name: Version) -> Option<bool> {
        if name.is_same_as(self.version) {
            return Some(true);
        }
        if self.lineage.is_empty() {
            return None;
        }
        if name.revision > self.version.revision {
            return Some(false);
        }
        let mut runs = self.lineage.runs.iter().rev();
        let run = runs.find(|run| run.first.revision <= name.revision)?;
        Some(run.has(name))
    }

    /// Whether who has taken `other` may take this one in its place: a descendant, or one that
    /// has left the branch which `other` is on.
    #[must_use]
    pub fn follows(&self, other: &Self) -> bool {
        if self.version == other.version {
            return false;
        }
        match self.descends_from(other.version) {
            Some(true) => !other.version.is_same_as(self.version),
            Some(false) => self.lineage.left.iter().any(|left| {
                other.version.generation < left.by && other.descends_from(left.root) == Some(true)
            }),
            // Told by an older release, or too long ago.
            None => self.version > other.version,
        }
    }

    /// The first of this record's ancestors, or itself, that is no ancestor of `other`; `None`
    /// where they are not known to have any ancestor in common.
    #[must_use]
    pub fn parts_from(&self, other: &Self) -> Option<Version> {
        let mut is_common = false;
        for run in &self.lineage.runs {
            let mut theirs = other.lineage.runs.iter().filter(|their| their.has(run.first));
            match theirs.next() {
                Some(their) if their.last >= run.last => is_common = true,
                Some(their) => return Some(Version { revision: their.last + 1, ..run.first }),
                None if is_common => return Some(run.first),
                None if other.descends_from(run.first) == Some(false) => return None,
                // Before all that the other tells of.
                None => {}
            }
        }
        None
    }

    /// This record as an older release would tell it.
    #[must_use]
    pub fn unnamed(&self) -> Self {
        let version = Version { writer: 0, ..self.version };
        Self { version, lineage: Box::default(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, ShardId};
    use crate::record::FlushMode;

    fn version(generation: u32, revision: u64, writer: u64) -> Version {
        Version { generation, revision, writer }
    }

    fn record(version: Version, base: Option<&ShardRecord>) -> ShardRecord {
        ShardRecord {
            shard: ShardId(0),
            version,
            epoch: Epoch(1),
            leader: None,
            isr: Vec::new(),
            replicas: Vec::new(),
            min_in_sync_replicas: 2,
            flush: FlushMode::Sync,
            unclean_epoch: None,
            loss: None,
            starts: Vec::new(),
            lineage: Lineage::of(version, base).into(),
        }
    }

    fn next(base: &ShardRecord, writer: u64) -> ShardRecord {
        record(Version { writer, ..base.version.next() }, Some(base))
    }

    #[test]
    fn only_a_descendant_follows_whatever_the_numbers() {
        let one = record(version(0, 1, 1), None);
        let two = next(&one, 1);
        let lost = next(&next(&two, 1), 2);
        let other = next(&next(&next(&two, 3), 3), 3);
        let old = ShardRecord { version: version(0, 2, 0), ..two.unnamed() };
        for (later, earlier, follows) in [
            (&two, &one, true),
            (&lost, &one, true),
            (&lost, &two, true),
            (&other, &two, true),
            (&one, &two, false),
            (&two, &two, false),
            (&other, &lost, false),
            (&lost, &other, false),
            // Told by an older release: the number decides.
            (&lost, &old, true),
            (&old, &one, true),
            (&old, &lost, false),
            (&two, &old, false),
        ] {
            assert_eq!(later.follows(earlier), follows, "{later:#?} after {earlier:#?}");
        }
        assert_eq!(lost.parts_from(&other), Some(version(0, 3, 1)));
        assert_eq!(other.parts_from(&lost), Some(version(0, 3, 3)));
        assert_eq!(other.parts_from(&two), Some(version(0, 3, 3)));
        assert_eq!(record(version(0, 9, 9), None).parts_from(&two), None);
    }

    #[test]
    fn a_branch_that_was_left_is_followed_but_not_what_is_younger_there() {
        let one = record(version(0, 1, 1), None);
        let (lost, stored) = (next(&one, 2), next(&one, 3));
        let mut adopted = record(version(1, 5, 4), Some(&stored));
        assert!(!adopted.follows(&lost));
        adopted.lineage.leave(lost.version, 1);
        assert!(adopted.follows(&lost) && adopted.follows(&next(&lost, 2)));
        assert!(next(&adopted, 4).follows(&lost));
        assert!(!adopted.follows(&next(&one, 5)));
        // Between the adopted one and what it was adopted from there is no record.
        assert!(!adopted.follows(&next(&stored, 3)));
        assert!(!adopted.follows(&record(version(1, 4, 5), Some(&lost))));
    }

    #[test]
    fn what_is_older_than_all_that_is_told_goes_by_its_number() {
        let mut newest = record(version(0, 1, 1), None);
        let first = newest.clone();
        for writer in 2..RUNS_MAX as u64 + 3 {
            newest = next(&newest, writer);
        }
        assert_eq!(newest.lineage.runs.len(), RUNS_MAX);
        assert_eq!(newest.descends_from(first.version), None);
        assert!(newest.follows(&first) && !first.follows(&newest));
    }
}
