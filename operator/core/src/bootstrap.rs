//! The first record of a shard: made once, when every replica exists and is empty.

use holdfast_protocol::{BrokerId, Epoch, Member, ShardId, ShardRecord, Version};

use crate::input::Report;
use crate::placement;
use crate::policy::Policy;

/// Where the replicas of `shard` go, the preferred leader first.
pub(crate) fn replicas(policy: &Policy, shard: ShardId) -> Vec<BrokerId> {
    let Policy { staying, replicas, shards, .. } = *policy;
    placement::initial(staying, replicas, shards).remove(&shard).unwrap_or_default()
}

/// The first record of `shard`, once all its replicas have reported; `None` until then.
pub(crate) fn initial<'a>(
    policy: &Policy,
    shard: ShardId,
    report: impl Fn(BrokerId) -> Option<&'a Report>,
) -> Option<ShardRecord> {
    let replicas = replicas(policy, shard);
    let member = |broker: &BrokerId| {
        let report = report(*broker)?;
        let empty = report.failure.is_none() && report.end.0 == 0 && report.epoch.0 == 0;
        empty.then_some(Member { broker: *broker, incarnation: report.incarnation })
    };
    let isr: Vec<Member> = replicas.iter().map(member).collect::<Option<_>>()?;
    let leader = isr.first().copied()?;
    Some(ShardRecord {
        shard,
        version: Version::default().next(),
        epoch: Epoch::default().next_of(leader.broker),
        leader: Some(leader),
        isr,
        replicas,
        min_in_sync_replicas: policy.min_in_sync_replicas,
        flush: policy.flush,
        unclean_epoch: None,
        loss: None,
        starts: Vec::new(),
        // As every record, it is named when it is written.
        lineage: Box::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{incarnation, report, show};
    use holdfast_protocol::{FlushMode, Position, UncleanElection};

    fn policy(brokers: u32, replicas: u32) -> Policy {
        Policy {
            brokers,
            staying: brokers,
            replicas,
            min_in_sync_replicas: 2,
            shards: 12,
            flush: FlushMode::Sync,
            detection_timeout_ms: 3000,
            move_back_after_ms: 2000,
            unclean_election: UncleanElection::Never,
        }
    }

    #[test]
    fn a_shard_begins_when_all_its_replicas_are_there_and_empty() {
        let mut reports = vec![report(incarnation('a')), report(incarnation('b'))];
        let first = |reports: &[Report]| {
            let find = |broker: BrokerId| reports.get(broker.0 as usize);
            initial(&policy(3, 3), ShardId(1), find).map(|record| show(&record))
        };
        assert_eq!(first(&reports), None);
        reports.push(report(incarnation('c')));
        let begun = "v1 e1 leader 1b isr 1b 2c 0a min 2";
        assert_eq!(first(&reports).as_deref(), Some(begun));
        reports[0].end = Position(1);
        assert_eq!(first(&reports), None);
    }
}
