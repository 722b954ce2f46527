//! Who leads next: a live member of the in-sync replicas under the recorded incarnation, the
//! most complete first.
//!
//! Any such member holds every committed entry; the most complete one spares the others
//! truncation and keeps what was not committed yet.

use std::cmp::Reverse;

use holdfast_protocol::{BrokerId, Member, ShardRecord};

use crate::broker::Liveness;
use crate::failover::Reason;
use crate::fence::fence;
use crate::replica::{Holder, Standing, find, keeps, standing};
use crate::rules::Rule;

/// Why the recorded leader can't go on, as far as its standing shows.
pub(crate) fn leader_loss(leader: Member, holders: &[Holder<'_>]) -> Option<Reason> {
    let holder = find(leader.broker, holders)?;
    match standing(leader, holders) {
        Standing::Replaced => Some(Reason::LogReplaced),
        Standing::Failed => Some(Reason::DiskFailed),
        Standing::Dead => match holder.liveness {
            Liveness::Dead(loss) => Some(Reason::Lost(loss)),
            Liveness::Live | Liveness::Unsure => None,
        },
        Standing::Able if holder.gave_up => Some(Reason::Resigned),
        Standing::Able | Standing::Unsure => None,
    }
}

/// The member that leads next, if any can.
pub(crate) fn choose(record: &ShardRecord, holders: &[Holder<'_>]) -> Option<Member> {
    let candidates = match keeps(holders, Rule::ElectInSync) {
        true => record.isr.clone(),
        false => holders.iter().filter_map(Holder::member).collect(),
    };
    let complete = keeps(holders, Rule::MostComplete);
    let able = candidates.iter().filter_map(|member| {
        let holder = find(member.broker, holders)?;
        let report = holder.report?;
        // Who resigned leads again where nobody else can, but not at once.
        let rested = !holder.resigned || holder.rested;
        let able = standing(*member, holders) == Standing::Able && rested;
        let place = record.replicas.iter().position(|b| *b == member.broker);
        able.then_some((
            (
                !holder.resigned,
                !holder.stopping,
                if complete { (report.last_epoch, report.end) } else { Default::default() },
                Reverse(holder.leads),
                Reverse(place.unwrap_or(usize::MAX)),
            ),
            *member,
        ))
    });
    able.max_by_key(|(rank, _)| *rank).map(|(_, member)| member)
}

/// Whether a member might yet turn out to be able to lead.
pub(crate) fn is_pending(record: &ShardRecord, holders: &[Holder<'_>]) -> bool {
    record.isr.iter().any(|member| standing(*member, holders) == Standing::Unsure)
}

/// The record with `leader` in the next epoch, lost members fenced in the same write.
pub(crate) fn elected(record: &ShardRecord, leader: Member, holders: &[Holder<'_>]) -> ShardRecord {
    let in_sync = record.isr.contains(&leader) || !keeps(holders, Rule::ElectInSync);
    assert!(in_sync, "only a member of the in-sync replicas is elected");
    ShardRecord {
        version: record.version.next(),
        epoch: record.epoch.next_of(leader.broker),
        leader: Some(leader),
        isr: fence(record, Some(leader.broker), holders),
        ..record.clone()
    }
}

/// The record without a leader, in the same epoch: nobody was elected.
pub(crate) fn vacated(record: &ShardRecord) -> ShardRecord {
    ShardRecord { version: record.version.next(), leader: None, ..record.clone() }
}

/// Whether `broker` could lead `record` now without any loss.
pub(crate) fn could_lead(
    record: &ShardRecord,
    broker: BrokerId,
    holders: &[Holder<'_>],
) -> Option<Member> {
    let member = record.isr.iter().find(|member| member.broker == broker)?;
    let holder = find(broker, holders)?;
    let able = standing(*member, holders) == Standing::Able;
    (able && !holder.resigned && !holder.stopping).then_some(*member)
}

#[cfg(test)]
mod tests {
    use crate::text::{holders, record, show};

    fn election(of: &str, brokers: &str) -> String {
        let (record, reports) = (record(of), holders(brokers));
        let view = reports.view();
        match super::choose(&record, &view) {
            Some(leader) => show(&super::elected(&record, leader, &view)),
            None if super::is_pending(&record, &view) => "wait".to_owned(),
            None => "nobody".to_owned(),
        }
    }

    #[test]
    fn the_most_complete_live_member_leads() {
        let three = "v7 e3 leader 0a isr 0a 1a 2a min 2";
        let two = "v7 e3 leader 0a isr 0a 1a min 2";
        for (of, brokers, expected) in [
            (three, "0 dead a 3/9; 1 live a 3/9; 2 live a 3/8", "v8 e65 leader 1a isr 1a 2a min 2"),
            (three, "0 dead a 3/9; 1 live a 3/8; 2 live a 3/9", "v8 e66 leader 2a isr 1a 2a min 2"),
            // A later epoch is more complete than a longer log.
            (
                three,
                "0 dead a 3/9; 1 live a 2/99; 2 live a 3/8",
                "v8 e66 leader 2a isr 1a 2a min 2",
            ),
            // Then fewest leaderships, then preference.
            (
                three,
                "0 dead a 3/9; 1 live a 3/9 leads 4; 2 live a 3/9 leads 3",
                "v8 e66 leader 2a isr 1a 2a min 2",
            ),
            (three, "0 dead a 3/9; 1 live a 3/9; 2 live a 3/9", "v8 e65 leader 1a isr 1a 2a min 2"),
            // Not another log, however long.
            (
                three,
                "0 dead a 3/9; 1 live b 3/99; 2 live a 3/5",
                "v8 e66 leader 2a isr 0a 2a min 2",
            ),
            // Not who is out of sync.
            (two, "0 dead a 3/9; 1 live a 3/5; 2 live a 3/9", "v8 e65 leader 1a isr 0a 1a min 2"),
            (two, "0 dead a 3/9; 1 dead a 3/9; 2 live a 3/9", "nobody"),
            // Not a failed disk, not who resigned; who stops only where nobody else can.
            (
                three,
                "0 live a 3/9 failed; 1 live a 3/9 resigned; 2 live a 3/7",
                "v8 e66 leader 2a isr 1a 2a min 2",
            ),
            (
                three,
                "0 dead a 3/9; 1 live a 3/9 stopping; 2 live a 3/7",
                "v8 e66 leader 2a isr 1a 2a min 2",
            ),
            // Who resigned leads again after a while, where nobody else can.
            (two, "0 dead a 3/9; 1 live a 3/9 resigned", "nobody"),
            (two, "0 dead a 3/9; 1 live a 3/9 rested", "v8 e65 leader 1a isr 0a 1a min 2"),
            (
                three,
                "0 dead a 3/9; 1 live a 3/9 rested; 2 live a 3/7",
                "v8 e66 leader 2a isr 1a 2a min 2",
            ),
            (two, "0 dead a 3/9; 1 live a 3/9 stopping", "v8 e65 leader 1a isr 0a 1a min 2"),
            // Nobody yet.
            (three, "0 dead a 3/9; 1 unsure a 3/9; 2 dead a 3/9", "wait"),
            (three, "0 dead a 3/9; 1 dead a 3/9; 2 dead a 3/9", "nobody"),
        ] {
            assert_eq!(election(of, brokers), expected, "{of} | {brokers}");
        }
    }
}
