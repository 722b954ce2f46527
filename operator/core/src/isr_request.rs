//! Whether a leader's request for other in-sync replicas may be written.
//!
//! The leader knows who has caught up; the operator knows which record is the present one and
//! who is gone. A request that names an old version loses to whatever was written since.

use holdfast_protocol::{Member, ShardRecord, mark};

use crate::input::IsrRequest;
use crate::replica::{Holder, Standing, find, keeps, standing};
use crate::rules::Rule;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another record was written since.
    OldVersion,
    /// The asker does not lead this epoch.
    NotLeader,
    /// A member is named twice.
    Twice,
    /// A member is no replica of the shard.
    NotReplica,
    /// The leader left itself out, or named another log of its own.
    WithoutLeader,
    /// Fewer than the minimum, and fewer than now.
    BelowMinimum,
    /// A member that joins has another log, or is known not to be there.
    CannotJoin,
}

/// The record that the request leads to.
///
/// # Errors
/// Why it must not be written.
pub(crate) fn judge(
    record: &ShardRecord,
    request: &IsrRequest,
    holders: &[Holder<'_>],
) -> Result<ShardRecord, Refusal> {
    if !request.expected.is_same_as(record.version) && keeps(holders, Rule::OldWish) {
        mark!(WishOld);
        return Err(Refusal::OldVersion);
    }
    let leader = record
        .leader
        .filter(|leader| leader.broker == request.broker && record.epoch == request.epoch)
        .ok_or(Refusal::NotLeader)?;
    if !request.isr.contains(&leader) {
        return Err(Refusal::WithoutLeader);
    }
    let wanted = request.isr.len();
    let floor = keeps(holders, Rule::Floor);
    if floor && wanted < record.min_in_sync_replicas as usize && wanted < record.isr.len() {
        return Err(Refusal::BelowMinimum);
    }
    for (index, member) in request.isr.iter().enumerate() {
        let same = |other: &Member| other.broker == member.broker;
        if request.isr[..index].iter().any(same) {
            return Err(Refusal::Twice);
        }
        if !record.replicas.contains(&member.broker) {
            return Err(Refusal::NotReplica);
        }
        if !record.isr.contains(member) && !may_join(*member, holders) {
            return Err(Refusal::CannotJoin);
        }
    }
    Ok(ShardRecord { version: record.version.next(), isr: request.isr.clone(), ..record.clone() })
}

/// A member joins unless it is known that it can't: its broker is gone or about to be, its disk
/// failed, or it has another log than the leader saw.
fn may_join(member: Member, holders: &[Holder<'_>]) -> bool {
    let stopping = find(member.broker, holders).is_some_and(|holder| holder.stopping);
    match standing(member, holders) {
        Standing::Able => !stopping,
        Standing::Unsure => find(member.broker, holders)
            .and_then(|holder| holder.report)
            .is_none_or(|report| report.incarnation == member.incarnation),
        Standing::Replaced | Standing::Failed | Standing::Dead => false,
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::{BrokerId, Epoch, ShardId, Version};

    use crate::input::IsrRequest;
    use crate::text::{holders, member, record, show};

    /// A request as `from 0 v7 e3 isr 0a 1a`.
    fn request(text: &str) -> IsrRequest {
        let words: Vec<&str> = text.split_whitespace().collect();
        IsrRequest {
            broker: BrokerId(words[1].parse().unwrap()),
            shard: ShardId(0),
            expected: Version {
                generation: 0,
                revision: words[2][1..].parse().unwrap(),
                writer: 0,
            },
            epoch: Epoch(words[3][1..].parse().unwrap()),
            isr: words[5..].iter().map(|word| member(word)).collect(),
        }
    }

    #[test]
    fn only_the_present_leader_changes_the_present_record() {
        let all = "0 live a; 1 live a; 2 live a";
        let three = "v7 e3 leader 0a isr 0a 1a 2a min 2";
        let two = "v7 e3 leader 0a isr 0a 1a min 2";
        for (of, brokers, asked, expected) in [
            (three, all, "from 0 v7 e3 isr 0a 1a", "v8 e3 leader 0a isr 0a 1a min 2"),
            (two, all, "from 0 v7 e3 isr 0a 1a 2a", "v8 e3 leader 0a isr 0a 1a 2a min 2"),
            // A swap at the minimum.
            (two, all, "from 0 v7 e3 isr 0a 2a", "v8 e3 leader 0a isr 0a 2a min 2"),
            (three, all, "from 0 v6 e3 isr 0a 1a", "OldVersion"),
            (three, all, "from 0 v7 e2 isr 0a 1a", "NotLeader"),
            (three, all, "from 1 v7 e3 isr 0a 1a", "NotLeader"),
            (three, all, "from 0 v7 e3 isr 1a 2a", "WithoutLeader"),
            (three, all, "from 0 v7 e3 isr 0b 1a", "WithoutLeader"),
            (three, all, "from 0 v7 e3 isr 0a", "BelowMinimum"),
            (three, all, "from 0 v7 e3 isr 0a 1a 1a", "Twice"),
            (two, all, "from 0 v7 e3 isr 0a 1a 5a", "NotReplica"),
            (two, "0 live a; 1 live a; 2 live b", "from 0 v7 e3 isr 0a 1a 2a", "CannotJoin"),
            (two, "0 live a; 1 live a; 2 dead a", "from 0 v7 e3 isr 0a 1a 2a", "CannotJoin"),
            (two, "0 live a; 1 live a; 2 live a failed", "from 0 v7 e3 isr 0a 1a 2a", "CannotJoin"),
            (
                two,
                "0 live a; 1 live a; 2 live a stopping",
                "from 0 v7 e3 isr 0a 1a 2a",
                "CannotJoin",
            ),
            (two, "0 live a; 1 live a; 2 unsure b", "from 0 v7 e3 isr 0a 1a 2a", "CannotJoin"),
            // Not yet heard of is no reason to refuse.
            (
                two,
                "0 live a; 1 live a; 2 unsure a",
                "from 0 v7 e3 isr 0a 1a 2a",
                "v8 e3 leader 0a isr 0a 1a 2a min 2",
            ),
            // After an unclean election: it grows one by one.
            (
                "v7 e3 leader 0a isr 0a min 3",
                all,
                "from 0 v7 e3 isr 0a 1a",
                "v8 e3 leader 0a isr 0a 1a min 3",
            ),
        ] {
            let reports = holders(brokers);
            let judged = super::judge(&record(of), &request(asked), &reports.view());
            let text = judged.map_or_else(|refusal| format!("{refusal:?}"), |r| show(&r));
            assert_eq!(text, expected, "{of} | {brokers} | {asked}");
        }
    }
}
