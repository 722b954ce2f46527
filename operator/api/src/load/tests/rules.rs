//! Every CEL rule of every kind: one object that it lets pass and one that it refuses.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::CustomResourceExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::load::rules::{Rules, validate_update};
use crate::load::structure::{self, Checker};
use crate::load::{Path, Violation};
use crate::{Queue, ReplicationPolicy, Shard, Topic, TopicSpec, crd};

/// A rule at work: `bad` is refused with a message that begins like this, at this field.
#[derive(Deserialize)]
struct Case {
    message: String,
    field: String,
    #[serde(default)]
    old: Option<Value>,
    good: Value,
    bad: Value,
}

/// The cases of one kind, and the spec that they are laid over.
#[derive(Deserialize)]
struct Cases {
    base: Value,
    cases: Vec<Case>,
}

/// Merges `spec` into an object of the kind; `metadata` in it replaces the metadata.
fn object<K: CustomResourceExt>(base: &Value, spec: &Value) -> Value {
    let mut spec = merged(base, spec);
    let metadata = spec.as_object_mut().unwrap().remove("metadata");
    let resource = K::api_resource();
    let mut object = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata.unwrap_or(json!({"name": "x"})),
        "spec": spec,
    });
    structure::fill(&crd::schema::<K>(), &mut object);
    object
}

fn merged(base: &Value, over: &Value) -> Value {
    let (Value::Object(base), Value::Object(over)) = (base, over) else {
        return over.clone();
    };
    let mut map = base.clone();
    for (key, value) in over {
        let value = merged(base.get(key).unwrap_or(&Value::Null), value);
        map.insert(key.clone(), value);
    }
    Value::Object(map)
}

fn messages(schema: &JSONSchemaProps) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = vec![serde_json::to_value(schema).unwrap()];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(map) => {
                for rule in map
                    .get("x-kubernetes-validations")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    found
                        .insert(rule["message"].as_str().expect("a rule has a message").to_owned());
                }
                rest.extend(map.into_iter().map(|(_, value)| value));
            }
            _ => {}
        }
    }
    found
}

/// Runs the cases of a kind, and sees that each of its rules has one.
fn run<K: CustomResourceExt>(cases: &str) {
    let Cases { base, cases } = serde_saphyr::from_str(cases).unwrap();
    let schema = crd::schema::<K>();
    let mut untried = messages(&schema);
    for case in &cases {
        let old = case.old.as_ref().map(|old| object::<K>(&base, old));
        let check = |spec: &Value| {
            let object = object::<K>(&base, spec);
            Rules::default().check(&schema, &object, old.as_ref())
        };
        assert_eq!(check(&case.good), [], "{}", case.message);
        let violations = check(&case.bad);
        let [Violation { field, message }] = violations.as_slice() else {
            panic!("{}: not one violation: {violations:?}", case.message);
        };
        assert!(message.starts_with(&case.message), "{message}\n{}", case.message);
        assert_eq!(field.to_string(), case.field, "{message}");
        assert!(
            message.contains(": "),
            "a message says what is wrong, a colon, the remedy: {message}"
        );
        untried.remove(message);
    }
    assert_eq!(untried, BTreeSet::new(), "rules without a case");
}

#[test]
fn replication_policy() {
    run::<ReplicationPolicy>(include_str!("cases/replicationpolicy.yaml"));
}

#[test]
fn topic() {
    run::<Topic>(include_str!("cases/topic.yaml"));
}

#[test]
fn queue() {
    run::<Queue>(include_str!("cases/queue.yaml"));
}

#[test]
fn shard() {
    run::<Shard>(include_str!("cases/shard.yaml"));
}

/// Names that no Kafka client would take are refused by the pattern.
#[test]
fn names_follow_their_patterns() {
    let schema = crd::schema::<Topic>();
    for (name, good) in
        [("a.B_c-9", true), ("a b", false), ("", false), ("ä", false), ("a\n", false)]
    {
        let value = object::<Topic>(&json!({"policy": "p"}), &json!({"name": name}));
        let spec = schema.properties.as_ref().unwrap().get("spec").unwrap();
        let violations = Checker::default().violations(spec, &value["spec"], &Path::of("spec"));
        assert_eq!(violations.is_empty(), good, "{name:?}: {:?}", violations);
    }
}

#[test]
fn updates_of_typed_resources_are_checked() {
    let topic = |partitions: u32| {
        let spec: TopicSpec =
            serde_json::from_value(json!({"policy": "p", "partitions": partitions})).unwrap();
        Topic::new("t", spec)
    };
    assert_eq!(validate_update(&topic(3), &topic(4)), Ok(()));
    let violations = validate_update(&topic(4), &topic(3)).unwrap_err();
    assert_eq!(
        violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "spec.partitions can only grow, because messages are in them: put the old number back, or a larger one"
        ]
    );
}
