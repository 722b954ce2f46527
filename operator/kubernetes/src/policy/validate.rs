//! What of the wish can be carried out, decided from what there is; no client.

use holdfast_operator::wanted;

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
    /// How many brokers to run: those that are wanted, and those that still hold replicas.
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
        brokers: brokers(observed),
        shards: spec.shards,
        class: spec.storage.class.as_deref(),
        class_now: observed.template_storage().map(|storage| storage.class),
    };
    judge(&wanted, observed.divided)
}

/// How many brokers run: fewer than now only where it is certain that they hold nothing.
fn brokers(observed: &Observed) -> u32 {
    let running = observed.running.as_ref();
    let set = observed.stateful_set.as_ref().and_then(|set| set.spec.as_ref());
    let now = match running {
        // What it was told last is newer than what a watch has seen.
        Some(running) => u32::try_from(running.cluster.brokers.len()).ok(),
        None => set.and_then(|set| u32::try_from(set.replicas?).ok()),
    };
    let status = running.map(|running| &running.snapshot.status);
    let now = now.unwrap_or(0);
    wanted::brokers_now(&observed.policy.spec, &observed.records, now, status)
}

/// What the verdict depends on.
struct Wanted<'a> {
    policy: &'a str,
    brokers: u32,
    shards: u32,
    class: Option<&'a str>,
    class_now: Option<Option<String>>,
}

fn judge(wanted: &Wanted<'_>, divided: Option<u32>) -> Verdict {
    let Wanted { policy, brokers, shards, .. } = *wanted;
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
    Verdict { brokers, fatal: None, refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_to_data_that_is_divided_otherwise() {
        let wanted = |class, class_now| Wanted {
            policy: "orders",
            brokers: 5,
            shards: 12,
            class,
            class_now: Some(class_now),
        };
        let fast = || Some("fast".to_owned());
        assert!(judge(&wanted(None, None), Some(24)).is_fatal());
        assert_eq!(judge(&wanted(Some("fast"), fast()), Some(12)).refused, []);
        let refused = judge(&wanted(Some("slow"), fast()), Some(12)).refused;
        assert_eq!(refused.first().map(|problem| problem.reason), Some("ClassUnchanged"));
    }
}
