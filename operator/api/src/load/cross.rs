//! What can only be told from all documents together.

use std::collections::BTreeMap;

use super::kinds::{Resource, Typed};
use super::problem::Problem;

/// Checks what the resources say of each other.
pub(super) fn check(resources: &[Resource<'_, '_>], problems: &mut Vec<Problem>) {
    duplicates(resources, problems);
    policy(resources, problems);
    names(resources, problems);
}

/// `file, document n`.
fn place(resource: &Resource<'_, '_>) -> String {
    format!("{}, document {}", resource.document.file, resource.document.number)
}

/// No kind has a name twice.
fn duplicates(resources: &[Resource<'_, '_>], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<_, &Resource<'_, '_>> = BTreeMap::new();
    for resource in resources {
        let typed = &resource.typed;
        let key = (typed.kind(), typed.namespace(), typed.name());
        if let Some(first) = seen.get(&key) {
            let first = place(first);
            problems.push(resource.problem(
                "metadata.name",
                format!("is declared already in {first}: remove one of the two, or rename it"),
            ));
        } else {
            seen.insert(key, resource);
        }
    }
}

/// There is one policy, everything is on it, and this machine has the ports for it.
fn policy(resources: &[Resource<'_, '_>], problems: &mut Vec<Problem>) {
    let policies: Vec<_> =
        resources.iter().filter(|resource| matches!(resource.typed, Typed::Policy(_))).collect();
    let [policy] = policies.as_slice() else {
        problems.push(Problem::general(match policies.len() {
            0 => "there is no ReplicationPolicy in the files: add one, because it says how many brokers to run".into(),
            count => format!(
                "there are {count} ReplicationPolicies in the files ({}): leave one, because one set of brokers is run",
                policies.iter().map(|policy| place(policy)).collect::<Vec<_>>().join("; ")
            ),
        }));
        return;
    };
    for resource in resources {
        let named = match &resource.typed {
            Typed::Policy(found) => {
                let (first, brokers) =
                    (found.spec.listeners.kafka.internal.port, found.spec.brokers);
                if u32::from(first) + brokers > u32::from(u16::MAX) + 1 {
                    problems.push(resource.problem(
                        "spec.listeners.kafka.internal.port",
                        format!("{brokers} brokers on one machine need the ports from {first} on, and 65535 is the last: lower it"),
                    ));
                }
                continue;
            }
            Typed::Topic(topic) => &topic.spec.policy,
            Typed::Queue(queue) => &queue.spec.policy,
        };
        let known = policy.typed.name();
        if named != known {
            problems.push(resource.problem(
                "spec.policy",
                format!(
                    "there is no ReplicationPolicy {named} in the files: write {known}, or add it"
                ),
            ));
        } else if resource.typed.namespace() != policy.typed.namespace() {
            problems.push(resource.problem(
                "metadata.namespace",
                format!(
                    "is {}, but the ReplicationPolicy {known} is in {}: put them in the same namespace",
                    resource.typed.namespace(),
                    policy.typed.namespace()
                ),
            ));
        }
    }
}

/// No two topics, and no two queues, have one name for clients.
fn names(resources: &[Resource<'_, '_>], problems: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
    for resource in resources {
        let (name, given) = match &resource.typed {
            Typed::Policy(_) => continue,
            Typed::Topic(topic) => (topic.topic_name(), topic.spec.name.is_some()),
            Typed::Queue(queue) => (queue.queue_name(), queue.spec.name.is_some()),
        };
        let kind = resource.typed.kind();
        let key = (kind, resource.typed.namespace(), name.clone());
        let Some(first) = seen.insert(key, resource) else {
            continue;
        };
        if first.typed.name() == resource.typed.name() {
            continue; // Told already, as a duplicate.
        }
        let field = if given { "spec.name" } else { "metadata.name" };
        problems.push(resource.problem(
            field,
            format!(
                "clients would know both this {kind} and {kind} {} ({}) as {name}: give one of them another spec.name",
                first.typed.name(),
                place(first)
            ),
        ));
    }
}
