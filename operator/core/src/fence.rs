//! Takes members that can't take part out of the in-sync replicas, never below the minimum.
//!
//! At the minimum a lost member stays: nothing is committed until it is back or another replica
//! has caught up and takes its place. So every member of the in-sync replicas always holds
//! every committed entry, and any of them may lead.

use holdfast_protocol::{BrokerId, Member, ShardRecord};

use crate::replica::{Holder, Standing, find, keeps, standing};
use crate::rules::Rule;

/// The in-sync replicas of `record` without those that are lost, as far as the minimum allows;
/// `leader` stays in any case.
pub(crate) fn fence(
    record: &ShardRecord,
    leader: Option<BrokerId>,
    holders: &[Holder<'_>],
) -> Vec<Member> {
    let mut lost: Vec<(Standing, BrokerId)> = record
        .isr
        .iter()
        .filter(|member| Some(member.broker) != leader)
        .map(|member| (standing(*member, holders), member.broker))
        // Who is about to be stopped goes before its end can hold up a commit, but after those
        // who are lost: it takes part until then.
        .filter(|(standing, broker)| standing.is_lost() || is_stopping(*broker, holders))
        .collect();
    lost.sort();
    let floor = match keeps(holders, Rule::Floor) {
        true => record.min_in_sync_replicas as usize,
        false => 1,
    };
    let spare = record.isr.len().saturating_sub(floor);
    lost.truncate(spare);
    let stays = |member: &&Member| lost.iter().all(|(_, gone)| *gone != member.broker);
    record.isr.iter().filter(stays).copied().collect()
}

fn is_stopping(broker: BrokerId, holders: &[Holder<'_>]) -> bool {
    find(broker, holders).is_some_and(|holder| holder.stopping)
}

/// The record with the lost followers of a live leader fenced, if there is anyone to fence.
pub(crate) fn followers(record: &ShardRecord, holders: &[Holder<'_>]) -> Option<ShardRecord> {
    let leader = record.leader?;
    let isr = fence(record, Some(leader.broker), holders);
    (isr.len() < record.isr.len()).then(|| ShardRecord {
        version: record.version.next(),
        isr,
        ..record.clone()
    })
}

#[cfg(test)]
mod tests {
    use crate::text::{holders, record, show};

    fn fenced(of: &str, brokers: &str) -> String {
        let reports = holders(brokers);
        super::followers(&record(of), &reports.view())
            .map_or_else(|| "nothing".to_owned(), |record| show(&record))
    }

    #[test]
    fn lost_followers_leave_down_to_the_minimum() {
        let three = "v7 e3 leader 0a isr 0a 1a 2a min 2";
        for (of, brokers, expected) in [
            (three, "0 live a; 1 live a; 2 live a", "nothing"),
            (three, "0 live a; 1 live a; 2 dead a", "v8 e3 leader 0a isr 0a 1a min 2"),
            (three, "0 live a; 1 dead a; 2 dead a", "v8 e3 leader 0a isr 0a 2a min 2"),
            // Who can't come back goes first.
            (three, "0 live a; 1 dead a; 2 live b", "v8 e3 leader 0a isr 0a 1a min 2"),
            (three, "0 live a; 1 dead a; 2 live a failed", "v8 e3 leader 0a isr 0a 1a min 2"),
            (three, "0 live a; 1 live a; 2 unsure a", "nothing"),
            // Who is about to be stopped goes last, and only where it can be spared.
            (three, "0 live a; 1 live a stopping; 2 live a", "v8 e3 leader 0a isr 0a 2a min 2"),
            (three, "0 live a stopping; 1 live a; 2 live a", "nothing"),
            (three, "0 live a; 1 live a stopping; 2 dead a", "v8 e3 leader 0a isr 0a 1a min 2"),
            ("v7 e3 leader 0a isr 0a 1a min 2", "0 live a; 1 live a stopping; 2 live a", "nothing"),
            // At the minimum nobody goes.
            ("v7 e3 leader 0a isr 0a 1a min 2", "0 live a; 1 dead a; 2 live a", "nothing"),
            (
                "v7 e3 leader 0a isr 0a 1a min 1",
                "0 live a; 1 dead a",
                "v8 e3 leader 0a isr 0a min 1",
            ),
            // Without a leader there is nothing to keep going.
            ("v7 e3 leader none isr 0a 1a 2a min 2", "0 live a; 1 live a; 2 dead a", "nothing"),
        ] {
            assert_eq!(fenced(of, brokers), expected, "{of} | {brokers}");
        }
    }
}
