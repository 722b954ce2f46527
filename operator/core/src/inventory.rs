//! The store went back in time: noticed, and put right.
//!
//! A broker that has persisted a newer record than the store has, or another one under the same
//! version, shows that the store was restored from a backup. Until every broker has told which
//! record it knows, nothing may be decided; then the newest of them is the record, at a higher
//! generation, so that whatever was written before counts as older.

use holdfast_protocol::{Epoch, ShardRecord, Version};

use crate::broker::Liveness;
use crate::input::Report;
use crate::replica::{Holder, keeps};
use crate::rules::Rule;

/// Whether `report` knows more than `stored`.
pub(crate) fn is_ahead(report: &Report, stored: Option<&ShardRecord>) -> bool {
    let Some(stored) = stored else {
        return report.version != Version::default() || report.epoch.0 > 0 || report.end.0 > 0;
    };
    let other = report
        .record
        .as_ref()
        .is_some_and(|record| record.version == stored.version && record != stored);
    report.version > stored.version || report.epoch > stored.epoch || other
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

/// The record to go on with, from all that are known; `None` where there is none.
pub(crate) fn adopted<'a>(
    known: impl Iterator<Item = &'a ShardRecord>,
    epoch_seen: Epoch,
) -> Option<ShardRecord> {
    let mut generation = 0;
    let mut revision = 0;
    let mut newest: Option<&ShardRecord> = None;
    let age = |record: &ShardRecord| {
        let Version { generation, revision } = record.version;
        (generation, record.epoch, revision)
    };
    for record in known {
        generation = generation.max(record.version.generation);
        revision = revision.max(record.version.revision);
        if newest.is_none_or(|newest| age(record) > age(newest)) {
            newest = Some(record);
        }
    }
    let newest = newest?;
    Some(ShardRecord {
        version: Version { generation: generation + 1, revision: revision + 1 },
        // Someone led an epoch that no known record names: its leader is nobody now.
        leader: newest.leader.filter(|_| newest.epoch >= epoch_seen),
        epoch: newest.epoch.max(epoch_seen),
        ..newest.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{holders, incarnation, record, report, show};
    use holdfast_protocol::BrokerId;

    #[test]
    fn a_newer_or_another_record_shows_that_the_store_went_back() {
        let stored = record("v7 e3 leader 0a isr 0a 1a min 2");
        let knows = |text: &str| {
            let record = record(text);
            Report {
                version: record.version,
                epoch: record.epoch,
                record: Some(record),
                ..report(incarnation('a'))
            }
        };
        for (text, stored, ahead) in [
            ("v7 e3 leader 0a isr 0a 1a min 2", Some(&stored), false),
            ("v6 e3 leader 0a isr 0a 1a min 2", Some(&stored), false),
            ("v8 e3 leader 0a isr 0a 1a min 2", Some(&stored), true),
            ("v7 e3 leader 1a isr 0a 1a min 2", Some(&stored), true),
            ("v6 e4 leader 0a isr 0a 1a min 2", Some(&stored), true),
            ("v1 e1 leader 0a isr 0a 1a min 2", None, true),
            ("v0 e0 leader none min 2", None, false),
        ] {
            assert_eq!(is_ahead(&knows(text), stored), ahead, "{text}");
        }
    }

    #[test]
    fn a_record_is_vouched_for_by_some_of_those_who_would_know_a_newer_one() {
        let three = "v7 e3 leader 0a isr 0a 1a 2a min 2";
        for (of, brokers, vouched) in [
            (three, "0 live a; 1 live a; 2 live a", true),
            (three, "0 dead a; 1 live a; 2 live b", true),
            (three, "0 dead a; 1 dead a; 2 live a", false),
            (three, "0 unsure a; 1 dead a; 2 live a", false),
            // All three have what is committed.
            ("v7 e3 leader 0a isr 0a 1a 2a min 3", "0 dead a; 1 dead a; 2 live a", true),
            // It takes one to commit, so one is enough; that a newer record was lost may go
            // unnoticed then.
            ("v7 e3 leader 0a isr 0a 1a min 1", "0 dead a; 1 live a; 2 dead a", true),
        ] {
            let mut record = record(of);
            record.replicas = vec![BrokerId(0), BrokerId(1), BrokerId(2)];
            let reports = holders(brokers);
            assert_eq!(is_vouched_for(&record, 3, &reports.view()), vouched, "{of} | {brokers}");
        }
    }

    #[test]
    fn the_newest_is_adopted_at_a_higher_generation() {
        let known = [
            record("v7 e3 leader 0a isr 0a 1a min 2"),
            record("v9 e5 leader 1a isr 1a 2a min 2"),
            // Written by someone who did not know better.
            record("v12 e4 leader 0a isr 0a 1a min 2"),
        ];
        let adopt = |epoch| {
            let adopted = adopted(known.iter(), Epoch(epoch)).unwrap();
            assert_eq!(adopted.version.generation, 1);
            show(&adopted)
        };
        assert_eq!(adopt(5), "v13 e5 leader 1a isr 1a 2a min 2");
        assert_eq!(adopt(6), "v13 e6 leader none isr 1a 2a min 2");
        assert_eq!(adopted([].into_iter(), Epoch(1)), None);
    }
}
