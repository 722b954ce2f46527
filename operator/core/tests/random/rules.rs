//! What must hold of every record that is written, whoever wrote it and why.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{BrokerId, Member, ShardId, ShardRecord, UncleanElection, Version};

/// What was written so far, and asked for.
#[derive(Default)]
pub(crate) struct Rules {
    pub(crate) written: BTreeMap<(ShardId, Version), ShardRecord>,
    /// In-sync replicas that leaders asked for.
    pub(crate) asked: Vec<(ShardId, Version, Vec<Member>)>,
}

impl Rules {
    /// Judges the write of `next` over `before`.
    pub(crate) fn judge(
        &mut self,
        before: Option<&ShardRecord>,
        next: &ShardRecord,
        unclean: UncleanElection,
    ) {
        let key = (next.shard, next.version);
        if let Some(other) = self.written.insert(key, next.clone()) {
            assert_eq!(other, *next, "two records under one version");
        }
        if let Some(leader) = next.leader {
            assert!(next.isr.contains(&leader), "the leader is in sync: {next:?}");
        }
        let brokers: BTreeSet<BrokerId> = next.replicas.iter().copied().collect();
        assert_eq!(brokers.len(), next.replicas.len(), "a replica twice: {next:?}");
        let is_replica = |member: &Member| brokers.contains(&member.broker);
        assert!(next.isr.iter().all(is_replica), "in sync and no replica: {next:?}");
        let Some(before) = before else { return };
        if before.version.generation < next.version.generation {
            return; // adopted from what brokers know; its own rules are elsewhere
        }
        let writer = next.version.writer;
        assert_eq!(next.version, Version { writer, ..before.version.next() });
        assert_eq!(next.descends_from(before.version), Some(true), "{before:?} {next:?}");
        assert!(next.epoch >= before.epoch, "the epoch never goes back: {before:?} {next:?}");
        let elected = next.epoch > before.epoch;
        let is_unclean = elected && next.unclean_epoch == Some(next.epoch);
        if is_unclean {
            assert_eq!(unclean, UncleanElection::AllReported);
            assert_eq!(next.isr.len(), 1);
            return;
        }
        assert_eq!((next.unclean_epoch, next.loss), (before.unclean_epoch, before.loss));
        if elected {
            let leader = next.leader.expect("an epoch has a leader");
            assert_eq!(next.epoch, before.epoch.next_of(leader.broker));
            assert!(before.isr.contains(&leader), "only a member in sync is elected");
        } else {
            let same = next.leader == before.leader || next.leader.is_none();
            assert!(same, "a leader changes with the epoch alone: {before:?} {next:?}");
        }
        judge_replicas(before, next);
        let min = next.min_in_sync_replicas as usize;
        let floor = min.min(before.isr.len());
        assert!(next.isr.len() >= floor, "below the minimum: {before:?} {next:?}");
        if next.isr.iter().any(|member| !before.isr.contains(member)) {
            let asked = (next.shard, before.version, next.isr.clone());
            assert!(self.asked.contains(&asked), "only a leader's wish adds members: {next:?}");
        }
    }
}

/// Who comes is named and nothing else; who goes, goes when all that stay were in sync.
fn judge_replicas(before: &ShardRecord, next: &ShardRecord) {
    let without = |record: &ShardRecord, other: &ShardRecord| {
        record.replicas.iter().any(|broker| !other.replicas.contains(broker))
    };
    let (comes, goes) = (without(next, before), without(before, next));
    assert!(!(comes && goes), "who comes takes nobody's place at once: {before:?} {next:?}");
    if comes {
        let expected = ShardRecord {
            version: next.version,
            replicas: next.replicas.clone(),
            lineage: next.lineage.clone(),
            ..before.clone()
        };
        assert_eq!(*next, expected, "only who comes is new");
    }
    if goes {
        assert_eq!((next.leader, next.epoch), (before.leader, before.epoch));
        let stays = |broker: &BrokerId| {
            next.in_sync(*broker).is_some() && next.in_sync(*broker) == before.in_sync(*broker)
        };
        assert!(next.replicas.iter().all(stays), "gone too early: {before:?} {next:?}");
    }
}
