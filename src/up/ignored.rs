//! What of the YAML is right, and has no effect on one machine: said, so that nobody counts on it.

use holdfast_api::load::Loaded;
use holdfast_api::policy::{ClientDeclared, ReplicationPolicySpec};
use holdfast_api::{DeletionPolicy, Topic};

/// A line for each kind of which something has no effect.
pub(crate) fn ignored(loaded: &Loaded) -> Vec<String> {
    let mut lines = Vec::new();
    let fields = of_policy(&loaded.policy.spec);
    if !fields.is_empty() {
        lines.push(format!("no effect with holdfast up: {}", fields.join(", ")));
    }
    for topic in &loaded.topics {
        let fields = of_topic(topic);
        if !fields.is_empty() {
            let name = topic.topic_name();
            lines
                .push(format!("no effect with holdfast up: {} of Topic {name}", fields.join(", ")));
        }
    }
    if !loaded.queues.is_empty() {
        lines.push(
            "queues are not served by this version: those in the YAML are left out".to_owned(),
        );
    }
    lines
}

/// Fields of the policy that say more than their default. (That the storage is a directory, and
/// not of the default size, needs no saying.)
fn of_policy(spec: &ReplicationPolicySpec) -> Vec<&'static str> {
    let own = ReplicationPolicySpec::default();
    let client = ClientDeclared::default();
    let declared = &spec.client_declared;
    let all = [
        ("spec.storage", spec.storage != own.storage),
        ("spec.listeners.kafka.external", spec.listeners.kafka.external.is_some()),
        ("spec.resources", spec.resources.is_some()),
        ("spec.placement", spec.placement.is_some()),
        ("spec.paused", spec.paused),
        ("spec.clientDeclared.queues", declared.queues != client.queues),
        ("spec.clientDeclared.maxQueues", declared.max_queues != client.max_queues),
    ];
    all.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field).collect()
}

fn of_topic(topic: &Topic) -> Vec<&'static str> {
    let spec = &topic.spec;
    let all = [
        ("spec.alternate", spec.alternate.is_some()),
        ("spec.deletionPolicy", spec.deletion_policy != DeletionPolicy::default()),
    ];
    all.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_api::load::{Source, load};

    fn of(spec: &str, topic: &str) -> Vec<String> {
        let text = format!(
            "apiVersion: holdfast.dev/v1alpha1\nkind: ReplicationPolicy\nmetadata: {{name: p}}\n\
             spec: {spec}\n---\napiVersion: holdfast.dev/v1alpha1\nkind: Topic\n\
             metadata: {{name: orders}}\nspec: {topic}\n"
        );
        ignored(&load(&[Source { name: "test.yaml", text: &text }]).unwrap())
    }

    #[test]
    fn what_has_no_effect_is_named_and_nothing_else() {
        assert_eq!(of("{brokers: 3, shards: 6, flush: {mode: Async}}", "{policy: p}"), [""; 0]);
        let spec = "{storage: {size: 20Gi}, listeners: {kafka: {external: {type: NodePort}}}, \
                    resources: {limits: {cpu: 1}}, placement: {nodeSelector: {a: b}}}";
        let lines = of(spec, "{policy: p, deletionPolicy: Delete}");
        assert_eq!(
            lines,
            [
                "no effect with holdfast up: spec.storage, spec.listeners.kafka.external, \
                 spec.resources, spec.placement",
                "no effect with holdfast up: spec.deletionPolicy of Topic orders"
            ]
        );
    }
}
