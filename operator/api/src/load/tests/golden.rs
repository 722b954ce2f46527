//! The very words of what is said of bad files.

use super::{load, load_text};
use crate::load::{Previous, Source, load_update};

const POLICY: &str = "apiVersion: holdfast.dev/v1alpha1
kind: ReplicationPolicy
metadata:
  name: p
spec: {}
---
";

/// What is said of `text` after a good policy of six lines.
fn said(text: &str) -> String {
    load_text(&format!("{POLICY}{text}")).unwrap_err().join("\n")
}

/// A topic whose spec has these lines.
fn topic(spec: &str) -> String {
    format!(
        "apiVersion: holdfast.dev/v1alpha1\nkind: Topic\nmetadata:\n  name: t\nspec:\n  policy: p\n{spec}"
    )
}

#[test]
fn unknown_fields() {
    assert_eq!(
        said(&topic("  partition: 3\n  retention:\n    tiem: 7d\n  zzz: 1\n")),
        "a.yaml:13: document 2, Topic t: spec.partition: is not a field that is known: did you mean partitions?\n\
         a.yaml:15: document 2, Topic t: spec.retention.tiem: is not a field that is known: did you mean time?\n\
         a.yaml:16: document 2, Topic t: spec.zzz: is not a field that is known: remove it, or choose from alternate, cleanup, deletionPolicy, maxMessageBytes, name, partitions, policy, retention"
    );
}

#[test]
fn types_and_bounds() {
    assert_eq!(
        said(&topic(
            "  partitions: six\n  cleanup: compact\n  maxMessageBytes: 1\n  retention: {time: 7w, bytes: 1.5}\n"
        )),
        "a.yaml:13: document 2, Topic t: spec.partitions: must be a whole number, but is \"six\": mend it\n\
         a.yaml:14: document 2, Topic t: spec.cleanup: must be Delete or Compact, but is \"compact\": mend it\n\
         a.yaml:15: document 2, Topic t: spec.maxMessageBytes: must be at least 1024, but is 1: raise it\n\
         a.yaml:16: document 2, Topic t: spec.retention.bytes: must be a whole number or text, but is 1.5: mend it\n\
         a.yaml:16: document 2, Topic t: spec.retention.time: \"7w\" is not a span of time: write whole days such as 7d, or hours, minutes, seconds and milliseconds such as 1h30m, 3s or 500ms, or Unlimited"
    );
}

#[test]
fn missing_and_empty() {
    assert_eq!(
        said("apiVersion: holdfast.dev/v1alpha1\nkind: Topic\nmetadata: {}\nspec:\n  alternate:\n"),
        "a.yaml:9: document 2, Topic: metadata.name: is missing: add it\n\
         a.yaml:10: document 2, Topic: spec.policy: is missing: add it\n\
         a.yaml:11: document 2, Topic: spec.alternate: must be a map of fields, but is empty: give it a value or remove it"
    );
}

#[test]
fn a_rule() {
    let text = "apiVersion: holdfast.dev/v1alpha1\nkind: ReplicationPolicy\nmetadata:\n  name: p\nspec:\n  brokers: 3\n  minInSyncReplicas: 4\n";
    assert_eq!(
        load_text(text).unwrap_err().join("\n"),
        "a.yaml:7: document 1, ReplicationPolicy p: spec.minInSyncReplicas must not be more than spec.replicas, or nothing could ever be acknowledged: lower spec.minInSyncReplicas or raise spec.replicas"
    );
}

#[test]
fn kinds() {
    for (text, message) in [
        (
            "kind: Topic",
            "a.yaml:7: document 2, Topic: apiVersion: is missing: add apiVersion: holdfast.dev/v1alpha1",
        ),
        (
            "apiVersion: v1\nkind: Pod",
            "a.yaml:7: document 2, Pod: apiVersion: is \"v1\", which is not known here: use holdfast.dev/v1alpha1",
        ),
        (
            "apiVersion: holdfast.dev/v1alpha1\nkind: Topik",
            "a.yaml:8: document 2, Topik: kind: is \"Topik\", which is not known: use ReplicationPolicy, Topic or Queue",
        ),
        (
            "apiVersion: holdfast.dev/v1alpha1\nkind: Shard",
            "a.yaml:8: document 2, Shard: kind: Shards are written by the operator alone: remove the document",
        ),
        (
            "- 1",
            "a.yaml:7: document 2: a resource is a map with apiVersion, kind, metadata and spec: write it so",
        ),
    ] {
        assert_eq!(said(text), message);
    }
}

/// One document that can't be read does not hide what is wrong with the others.
#[test]
fn broken_yaml() {
    let text = format!("a: [1\n---\na: 1\na: 2\n---\n{}", topic("  partitions: 0\n"));
    let said = said(&text);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].contains("document 2: not YAML that can be read: "), "{said}");
    assert!(lines[1].starts_with("a.yaml:10: document 3: not YAML that can be read: "), "{said}");
    assert!(lines[1].contains("duplicate") && lines[1].contains("mapping key: a"), "{said}");
    assert_eq!(
        lines[2],
        "a.yaml:18: document 4, Topic t: spec.partitions: must be at least 1, but is 0: raise it"
    );
}

#[test]
fn documents_that_do_not_fit_together() {
    let name = |name: &str| {
        format!(
            "apiVersion: holdfast.dev/v1alpha1\nkind: Topic\nmetadata:\n  name: {name}\nspec:\n  policy: p\n  name: shared\n---\n"
        )
    };
    assert_eq!(
        said(&(name("a") + &name("b") + &name("a"))),
        "a.yaml:26: document 4, Topic a: metadata.name: is declared already in a.yaml, document 2: remove one of the two, or rename it\n\
         a.yaml:21: document 3, Topic b: spec.name: clients would know both this Topic and Topic a (a.yaml, document 2) as shared: give one of them another spec.name\n\
         a.yaml:29: document 4, Topic a: spec.name: clients would know both this Topic and Topic b (a.yaml, document 3) as shared: give one of them another spec.name"
    );
    assert_eq!(
        said(
            "apiVersion: holdfast.dev/v1alpha1\nkind: Queue\nmetadata: {name: q}\nspec: {policy: other}\n"
        ),
        "a.yaml:10: document 2, Queue q: spec.policy: there is no ReplicationPolicy other in the files: write p, or add it"
    );
    assert_eq!(
        said(
            "apiVersion: holdfast.dev/v1alpha1\nkind: Queue\nmetadata: {name: q, namespace: n}\nspec: {policy: p}\n"
        ),
        "a.yaml:9: document 2, Queue q: metadata.namespace: is n, but the ReplicationPolicy p is in default: put them in the same namespace"
    );
    assert_eq!(
        said(
            "apiVersion: holdfast.dev/v1alpha1\nkind: ReplicationPolicy\nmetadata: {name: q}\nspec: {}\n"
        ),
        "there are 2 ReplicationPolicies in the files (a.yaml, document 1; a.yaml, document 2): leave one, because one set of brokers is run"
    );
}

#[test]
fn nothing_to_run() {
    assert_eq!(
        load_text("# nothing\n").unwrap_err(),
        ["a.yaml: the file has no document: put a resource in it, or leave it out"]
    );
    let none: Vec<_> = load(&[]).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        none,
        [
            "there is no ReplicationPolicy in the files: add one, because it says how many brokers to run"
        ]
    );
    let problems = load(&[Source { name: "b.yaml", text: &topic("") }]).unwrap_err();
    assert_eq!(problems.len(), 1);
}

#[test]
fn ports_that_are_not_there() {
    let text = "apiVersion: holdfast.dev/v1alpha1\nkind: ReplicationPolicy\nmetadata: {name: p}\nspec:\n  listeners:\n    kafka:\n      internal:\n        port: 65534\n";
    assert_eq!(
        load_text(text).unwrap_err().join("\n"),
        "a.yaml:8: document 1, ReplicationPolicy p: spec.listeners.kafka.internal.port: 3 brokers on one machine need the ports from 65534 on, and 65535 is the last: lower it"
    );
}

#[test]
fn changes_that_can_not_be_made() {
    let policy = |name: &str, shards: u32| {
        format!(
            "apiVersion: holdfast.dev/v1alpha1\nkind: ReplicationPolicy\nmetadata: {{name: {name}}}\nspec:\n  shards: {shards}\n---\n"
        )
    };
    let text =
        |policy: String, partitions: u32| policy + &topic(&format!("  partitions: {partitions}\n"));
    let old = load_text(&text(policy("p", 12), 6)).unwrap();
    let update = |text: String| {
        let problems =
            load_update(&[Source { name: "a.yaml", text: &text }], &Previous::from(&old));
        problems.map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(update(text(policy("p", 12), 7)).unwrap().topics[0].spec.partitions, 7);
    assert!(update(policy("p", 12)).is_ok(), "absence is not deletion");
    assert_eq!(
        update(text(policy("p", 13), 5)).unwrap_err(),
        "a.yaml:5: document 1, ReplicationPolicy p: spec.shards can't be changed, because topics are laid out by it: put the old value back, or make a new ReplicationPolicy\n\
         a.yaml:13: document 2, Topic t: spec.partitions can only grow, because messages are in them: put the old number back, or a larger one"
    );
    assert_eq!(
        update(policy("q", 12)).unwrap_err(),
        "a.yaml:3: document 1, ReplicationPolicy q: metadata.name: was p before, and its messages are kept under that name: write p, or start with another data directory"
    );
}

#[test]
fn sizes_and_patterns() {
    let text = "apiVersion: holdfast.dev/v1alpha1\nkind: ReplicationPolicy\nmetadata: {name: P}\nspec:\n  storage: {size: 10gb}\n  listeners: {kafka: {external: {type: LoadBalancer, advertisedHost: a b}}}\n";
    assert_eq!(
        load_text(text).unwrap_err().join("\n"),
        "a.yaml:3: document 1, ReplicationPolicy P: metadata.name: \"P\" does not match ^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$: see what it is for: lower-case letters, digits, - and ., beginning and ending with a letter or digit\n\
         a.yaml:5: document 1, ReplicationPolicy P: spec.storage.size: \"10gb\" is not a number of bytes: write a whole number of at least 1, with k, M, G, T, P (thousands) or Ki, Mi, Gi, Ti, Pi (1024s) if you like, such as 10Gi\n\
         a.yaml:6: document 1, ReplicationPolicy P: spec.listeners.kafka.external.advertisedHost: \"a b\" does not match ^([a-zA-Z0-9.:-]|\\{broker\\})+$: see what it is for: Host that clients are told, where `{broker}` stands for the number of the broker, such as `kafka-{broker}.example.com`. Without it, the address of the broker's node (NodePort) or of its load balancer."
    );
}
