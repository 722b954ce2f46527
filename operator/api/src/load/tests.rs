//! Whole files in, resources or problems out.

mod golden;
mod rules;
mod schema;

use proptest::prelude::*;

use super::*;
use crate::policy::{FlushMode, ReplicationPolicySpec, UncleanElection};
use crate::{Duration, RetentionTime};

const EXAMPLE: &str = include_str!("../../../../examples/orders.yaml");

/// What loading one file named `a.yaml` says.
fn load_text(text: &str) -> Result<Loaded, Vec<String>> {
    load(&[Source { name: "a.yaml", text }])
        .map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

#[test]
fn the_example_loads() {
    let loaded = load_text(EXAMPLE).unwrap();
    let policy = &loaded.policy;
    assert_eq!(policy.metadata.name.as_deref(), Some("orders"));
    assert_eq!(policy.metadata.uid, None);
    assert_eq!(
        (policy.spec.brokers, policy.spec.replicas, policy.spec.min_in_sync_replicas),
        (3, 3, 2)
    );
    assert_eq!(policy.spec.flush.mode, FlushMode::Sync);
    assert_eq!(policy.spec.unclean_election(), UncleanElection::Never);
    assert_eq!(policy.spec.listeners.kafka.internal.port, 9092);
    let [topic] = loaded.topics.as_slice() else { panic!("one topic") };
    assert_eq!(topic.topic_name(), "orders");
    assert_eq!((topic.spec.partitions, topic.spec.max_message_bytes), (6, 1_048_588));
    assert_eq!(topic.spec.retention.time, RetentionTime::For(Duration::from_days(7)));
    assert!(loaded.queues.is_empty());
}

/// The defaults of the schema and those of Rust are the same.
#[test]
fn an_empty_spec_is_the_default() {
    let loaded = load_text(
        "{apiVersion: holdfast.dev/v1alpha1, kind: ReplicationPolicy, metadata: {name: p}, spec: {}}",
    );
    assert_eq!(loaded.unwrap().policy.spec, ReplicationPolicySpec::default());
}

#[test]
fn what_a_cluster_adds_is_dropped() {
    let text = "
apiVersion: holdfast.dev/v1alpha1
kind: ReplicationPolicy
metadata: {name: p, uid: 1-2-3, resourceVersion: '7', labels: {app.kubernetes.io/name: x}, annotations: }
spec: {brokers: 5}
status: {safeToRestart: maybe}
";
    let policy = load_text(text).unwrap().policy;
    assert_eq!(policy.metadata.uid, None);
    assert_eq!(policy.metadata.resource_version, None);
    assert_eq!(policy.metadata.labels.unwrap().len(), 1);
    assert_eq!(policy.status, None);
}

#[test]
fn several_files_are_one_set() {
    let (policy, topic) = EXAMPLE.rsplit_once("---").unwrap();
    let loaded = load(&[
        Source { name: "topic.yaml", text: topic },
        Source { name: "policy.yaml", text: policy },
    ]);
    assert_eq!(loaded.unwrap().topics.len(), 1);
}

/// As many topics as one may declare are no trouble.
#[test]
fn many_documents_load() {
    let (policy, topic) = EXAMPLE.rsplit_once("---").unwrap();
    let topics: String = (0..2_000)
        .map(|n| format!("---{}", topic.replace("name: orders", &format!("name: t{n}"))))
        .collect();
    let text = format!("{policy}{topics}");
    let loaded = load_text(&text).unwrap();
    assert_eq!(loaded.topics.len(), 2_000);
    let again = load_update(&[Source { name: "a.yaml", text: &text }], &Previous::from(&loaded));
    assert_eq!(again.unwrap(), loaded);
}

#[test]
fn hostile_files_are_refused_in_bounded_time() {
    let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_block: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let alias = format!("*a{},", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    let long_key = format!("? {}\n: 1\n", "k".repeat(100_000));
    let many_fields: String = (0..50_000).map(|n| format!("f{n}: 1\n")).collect();
    let header = "apiVersion: holdfast.dev/v1alpha1\nkind: Topic\n";
    let large = "#".repeat(FILE_BYTES_MAX + 1);
    let separators = "---\na: 1\n".repeat(DOCUMENTS_MAX + 1);
    for text in [
        &deep,
        &deep_block,
        &bomb,
        &long_key,
        &format!("{header}{many_fields}"),
        &large,
        &separators,
    ] {
        let problems = load_text(text).unwrap_err();
        assert!(!problems.is_empty() && problems.len() <= PROBLEMS_MAX + 1);
        assert!(problems.iter().all(|problem| problem.len() < 4096), "{problems:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = load_text(&text);
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(
        text in "([a-z]{1,3}: |- |[\\[\\]{}&*!|>'\"%@,?#]|---|\n {0,4}|\t|<<: |[0-9.eE+~-]{1,9}|[^a]){0,60}"
    ) {
        let _ = load_text(&text);
    }

    /// The example with a piece replaced by something else.
    #[test]
    fn no_damage_makes_it_panic(at in 0..EXAMPLE.len(), length in 0..40_usize, with in "\\PC{0,12}") {
        let end = (at + length).min(EXAMPLE.len());
        prop_assume!(EXAMPLE.is_char_boundary(at) && EXAMPLE.is_char_boundary(end));
        let text = format!("{}{with}{}", &EXAMPLE[..at], &EXAMPLE[end..]);
        if let Err(problems) = load_text(&text) {
            prop_assert!(!problems.is_empty());
        }
    }
}
