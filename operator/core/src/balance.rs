//! Planned moves back to the preferred leaders.

use holdfast_protocol::{BrokerId, Member, ShardRecord};

use crate::election::could_lead;
use crate::replica::{Holder, find};

/// How many planned moves may be under way.
pub(crate) const MOVES_AT_ONCE: usize = 4;

/// How far a preferred leader may be behind the leader, entries. It is in sync, so it lacks only
/// what is under way; the less, the shorter the move.
const MOVE_LAG_ENTRIES_MAX: u64 = 1000;

/// The preferred leader, where it could take over now and does not lead.
pub(crate) fn wanted(record: &ShardRecord, holders: &[Holder<'_>]) -> Option<Member> {
    let leader = record.leader?;
    let preferred = *record.replicas.first()?;
    if leader.broker == preferred {
        return None;
    }
    could_take_over(record, preferred, holders)
}

/// `broker`, where it could take over from the present leader now.
pub(crate) fn could_take_over(
    record: &ShardRecord,
    broker: BrokerId,
    holders: &[Holder<'_>],
) -> Option<Member> {
    let member = could_lead(record, broker, holders)?;
    let now = find(record.leader?.broker, holders)?.report?;
    let then = find(broker, holders)?.report?;
    let serves = now.leading && now.leads_epoch == record.epoch;
    let close = then.last_epoch == now.last_epoch && then.end.plus(MOVE_LAG_ENTRIES_MAX) >= now.end;
    (serves && close).then_some(member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{holders, record};

    #[test]
    fn leadership_goes_back_to_a_preferred_leader_that_has_caught_up() {
        let three = "v7 e3 leader 1a isr 0a 1a 2a min 2";
        for (of, brokers, moves) in [
            (three, "0 live a 3/9; 1 live a 3/9", true),
            (three, "0 live a 3/9; 1 live a 3/900", true),
            (three, "0 live a 3/9; 1 live a 3/9000", false),
            (three, "0 live a 2/9; 1 live a 3/9", false),
            (three, "0 live b 3/9; 1 live a 3/9", false),
            (three, "0 live a 3/9 stopping; 1 live a 3/9", false),
            ("v7 e3 leader 1a isr 1a 2a min 2", "0 live a 3/9; 1 live a 3/9", false),
            ("v7 e3 leader 0a isr 0a 1a min 2", "0 live a 3/9; 1 live a 3/9", false),
        ] {
            let (record, mut reports) = (record(of), holders(brokers));
            reports.leading(record.leader.unwrap().broker, record.epoch);
            let moved = wanted(&record, &reports.view()).is_some();
            assert_eq!(moved, moves, "{of} | {brokers}");
        }
    }
}
