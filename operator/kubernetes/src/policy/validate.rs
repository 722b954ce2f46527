//! What of the wish can be carried out, decided from what there is; no client.

use holdfast_protocol::ShardRecord;

use super::observe::Observed;

/// Something that is wanted and not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What can be carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// How many brokers to run.
    pub(super) brokers: u32,
    /// Why nothing at all may be done.
    pub(super) fatal: Option<Problem>,
    /// What is left as it is.
    pub(super) refused: Vec<Problem>,
}

impl Verdict {
    pub(super) fn is_fatal(&self) -> bool {
        self.fatal.is_some()
    }
}

pub(super) fn validate(observed: &Observed) -> Verdict {
    let spec = &observed.policy.spec;
    let wanted = Wanted {
        policy: &observed.key.name,
        brokers: spec.brokers,
        replicas: spec.replicas,
        shards: spec.shards,
        class: spec.storage.class.as_deref(),
        class_now: observed.template_storage().map(|storage| storage.class),
    };
    judge(&wanted, &observed.records, observed.divided)
}

/// What the verdict depends on.
struct Wanted<'a> {
    policy: &'a str,
    brokers: u32,
    replicas: u32,
    shards: u32,
    class: Option<&'a str>,
    class_now: Option<Option<String>>,
}

fn judge(wanted: &Wanted<'_>, records: &[ShardRecord], divided: Option<u32>) -> Verdict {
    let Wanted { policy, brokers, replicas, shards, .. } = *wanted;
    if let Some(divided) = divided.filter(|divided| *divided != shards) {
        let message = format!(
            "the data of {policy} is divided into {divided} shards and spec.shards is {shards}: \
             make the ReplicationPolicy anew with {divided}, or, to begin with no data, delete \
             its volumes and its Shards (label holdfast.dev/policy={policy})"
        );
        let fatal = Some(Problem { reason: "ShardsDiffer", message });
        return Verdict { brokers, fatal, refused: Vec::new() };
    }
    let mut refused = Vec::new();
    let held = held_by(records);
    if held > brokers {
        let on = |broker: u32| {
            let there = |record: &&ShardRecord| record.replicas.iter().any(|b| b.0 == broker);
            records.iter().filter(there).count()
        };
        let left: Vec<String> =
            (brokers..held).map(|b| format!("{} on broker {b}", on(b))).collect();
        let message = format!(
            "spec.brokers is {brokers} and {held} go on running, because replicas do not move off \
             brokers yet ({}): set spec.brokers to {held}",
            left.join(", ")
        );
        refused.push(Problem { reason: "ScaleDownRefused", message });
    }
    let other = |record: &&ShardRecord| record.replicas.len() != replicas as usize;
    let others = records.iter().filter(other).count();
    if others > 0 {
        let is = records.iter().find(other).map_or(0, |record| record.replicas.len());
        let message = format!(
            "spec.replicas is {replicas} and {others} shards have {is}, because replicas are not \
             added or removed yet: set spec.replicas to {is}"
        );
        refused.push(Problem { reason: "ReplicasUnchanged", message });
    }
    if let (Some(class), Some(now)) = (wanted.class, &wanted.class_now)
        && now.as_deref() != Some(class)
    {
        let message = format!(
            "spec.storage.class is {class} and the volumes are of {}, which can't be changed: \
             remove it",
            now.as_deref().unwrap_or("the default class"),
        );
        refused.push(Problem { reason: "ClassUnchanged", message });
    }
    Verdict { brokers: brokers.max(held), fatal: None, refused }
}

/// How many brokers, from 0 on, hold all replicas.
fn held_by(records: &[ShardRecord]) -> u32 {
    let replicas = records.iter().flat_map(|record| &record.replicas);
    let members = records.iter().flat_map(|record| &record.isr).map(|member| &member.broker);
    replicas.chain(members).map(|broker| broker.0 + 1).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::{BrokerId, Epoch, FlushMode, ShardId, Version};

    fn records(replicas: &[u32]) -> Vec<ShardRecord> {
        vec![ShardRecord {
            shard: ShardId(0),
            version: Version::default(),
            epoch: Epoch(1),
            leader: None,
            isr: Vec::new(),
            replicas: replicas.iter().copied().map(BrokerId).collect(),
            min_in_sync_replicas: 2,
            flush: FlushMode::Sync,
            unclean_epoch: None,
            loss: None,
            starts: Vec::new(),
        }]
    }

    #[test]
    fn nothing_is_taken_from_under_a_replica() {
        let wanted = |brokers, replicas| Wanted {
            policy: "orders",
            brokers,
            replicas,
            shards: 12,
            class: None,
            class_now: None,
        };
        let reasons = |verdict: &Verdict| -> Vec<&str> {
            verdict.refused.iter().map(|problem| problem.reason).collect()
        };
        let held = records(&[0, 1, 4]);
        for (brokers, replicas, runs, refused) in [
            (5, 3, 5, vec![]),
            (7, 3, 7, vec![]),
            (3, 3, 5, vec!["ScaleDownRefused"]),
            (5, 2, 5, vec!["ReplicasUnchanged"]),
        ] {
            let verdict = judge(&wanted(brokers, replicas), &held, Some(12));
            assert_eq!((verdict.brokers, reasons(&verdict)), (runs, refused), "{brokers}");
        }
        assert_eq!(judge(&wanted(1, 1), &[], None).brokers, 1);
        let differs = judge(&wanted(5, 3), &held, Some(24));
        assert!(differs.is_fatal());
    }
}
