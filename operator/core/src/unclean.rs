//! An election that may lose messages: nobody who can lead holds all that was committed.
//!
//! Only where the policy allows it, and only when every in-sync replica has told what it holds.
//! The elected replica is the only one in sync afterwards, below the minimum: nothing is
//! committed until others have caught up with it, so no second loss can hide behind the first.

use holdfast_protocol::{LossRange, Member, Position, ShardRecord, Version};

use crate::broker::Liveness;
use crate::replica::{Holder, Standing, find, standing};

/// Whether every in-sync replica that tells of another log tells so knowing this record. What is
/// older may be of the log before the one that another operator took in.
pub(crate) fn is_judged(record: &ShardRecord, holders: &[Holder<'_>]) -> bool {
    let replaced =
        record.isr.iter().filter(|member| standing(**member, holders) == Standing::Replaced);
    let mut told = replaced.filter_map(|member| find(member.broker, holders)?.report);
    let number = |version: Version| (version.generation, version.revision);
    told.all(|report| number(report.version) >= number(record.version))
}

/// The record after an unclean election, if one may be held. `committed_seen` is the furthest
/// commit position that a leader told before.
pub(crate) fn elected(
    record: &ShardRecord,
    holders: &[Holder<'_>],
    committed_seen: Position,
) -> Option<ShardRecord> {
    let mut best = None;
    for member in &record.isr {
        // Whoever still has its log will be able to lead again: wait for it.
        match standing(*member, holders) {
            Standing::Replaced => {}
            Standing::Able | Standing::Failed | Standing::Dead | Standing::Unsure => return None,
        }
        let holder = find(member.broker, holders)?;
        if let Some(report) = holder.report.filter(|report| report.failure.is_none()) {
            let leader = Member { broker: member.broker, incarnation: report.incarnation };
            best = best.max(Some((report.last_epoch, report.end, leader)));
        }
    }
    let (_, _, leader) = best?;
    let epoch = record.epoch.next_of(leader.broker);
    Some(ShardRecord {
        version: record.version.next(),
        epoch,
        leader: Some(leader),
        isr: vec![leader],
        unclean_epoch: Some(epoch),
        loss: Some(loss(leader, holders, committed_seen)),
        ..record.clone()
    })
}

/// What the election may lose: from the end of the elected log to the furthest commit position
/// that anyone told. Empty where nothing is known to be lost.
fn loss(leader: Member, holders: &[Holder<'_>], committed_seen: Position) -> LossRange {
    let from = find(leader.broker, holders)
        .filter(|holder| holder.liveness == Liveness::Live)
        .and_then(|holder| holder.report)
        .map_or(Position(0), |report| report.end);
    let told = holders.iter().filter_map(|holder| holder.report);
    let furthest = told.map(|report| report.committed).max();
    let to = furthest.max(Some(committed_seen)).unwrap_or(from).max(from);
    LossRange { from, to }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::{LossRange, Position};

    use crate::text::{holders, record, show};

    #[test]
    fn the_most_complete_leads_once_all_have_told() {
        let two = "v7 e3 leader 0a isr 0a 1a min 2";
        let lossy = "v8 e65 leader 1b isr 1b min 2 unclean 65";
        for (of, brokers, expected) in [
            (two, "0 live b 3/8; 1 live b 3/9; 2 live a 3/9", lossy),
            (two, "0 dead b 3/8; 1 live b 3/9; 2 live a 3/9", "wait"),
            (two, "0 unsure b 3/8; 1 live b 3/9; 2 live a 3/9", "wait"),
            // Broker 0 still has everything, when its disk is freed.
            (two, "0 live a 3/8 failed; 1 live b 3/9", "wait"),
            (two, "0 live b 3/99 failed; 1 live b 3/9", lossy),
        ] {
            let reports = holders(brokers);
            let text = super::elected(&record(of), &reports.view(), Position(0))
                .map_or_else(|| "wait".to_owned(), |record| show(&record));
            assert_eq!(text, expected, "{of} | {brokers}");
        }
    }

    #[test]
    fn the_loss_is_told_as_a_range() {
        let reports = holders("0 live b 3/8 committed 7; 1 live b 3/9 committed 12");
        let before = record("v7 e3 leader 0a isr 0a 1a min 2");
        let range = |seen| {
            let elected = super::elected(&before, &reports.view(), Position(seen)).unwrap();
            elected.loss.map(|LossRange { from, to }| (from.0, to.0))
        };
        assert_eq!(range(0), Some((9, 12)));
        assert_eq!(range(20), Some((9, 20)));
    }
}
