//! A document in, a typed resource out: which kind it is, and everything that its schema says.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::{CustomResourceExt, Resource as _};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

use super::Loaded;
use super::document::Document;
use super::path::{Path, shown};
use super::problem::{Problem, Violation};
use super::rules::Rules;
use super::structure::{self, Checker};
use crate::{GROUP, Queue, ReplicationPolicy, Topic, VERSION, crd};

/// What checks documents, kept from one to the next for what it has compiled.
#[derive(Default)]
pub(super) struct Checks {
    structure: Checker,
    rules: Rules,
}

/// A resource and the document that it is from.
pub(super) struct Resource<'d, 'a> {
    pub(super) document: &'d Document<'a>,
    pub(super) typed: Typed,
}

/// A resource of one of the kinds that people write.
pub(super) enum Typed {
    Policy(Box<ReplicationPolicy>),
    Topic(Box<Topic>),
    Queue(Box<Queue>),
}

impl Typed {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Policy(_) => "ReplicationPolicy",
            Self::Topic(_) => "Topic",
            Self::Queue(_) => "Queue",
        }
    }

    fn meta(&self) -> &kube::core::ObjectMeta {
        match self {
            Self::Policy(policy) => policy.meta(),
            Self::Topic(topic) => topic.meta(),
            Self::Queue(queue) => queue.meta(),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    /// The namespace, as `kubectl apply` would take it.
    pub(super) fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or("default")
    }
}

impl Resource<'_, '_> {
    /// A problem with one of its fields.
    pub(super) fn problem(&self, field: &str, message: String) -> Problem {
        let field = Path::of(field);
        self.document.problem(Some(&self.called()), Violation { field, message })
    }

    /// Problems with its fields.
    pub(super) fn problems(&self, violations: Vec<Violation>) -> Vec<Problem> {
        self.document.problems(Some(&self.called()), violations)
    }

    fn called(&self) -> String {
        format!("{} {}", self.typed.kind(), shown(self.typed.name()))
    }
}

/// Reads one document; `None` where it has problems.
pub(super) fn read<'d, 'a>(
    document: &'d Document<'a>,
    checks: &mut Checks,
    problems: &mut Vec<Problem>,
) -> Option<Resource<'d, 'a>> {
    let result = match kind(&document.parsed.value) {
        Ok(Kind::Policy) => typed(document, &POLICY, checks).map(|p| Typed::Policy(Box::new(p))),
        Ok(Kind::Topic) => typed(document, &TOPIC, checks).map(|t| Typed::Topic(Box::new(t))),
        Ok(Kind::Queue) => typed(document, &QUEUE, checks).map(|q| Typed::Queue(Box::new(q))),
        Err(violation) => Err(vec![violation]),
    };
    match result {
        Ok(typed) => Some(Resource { document, typed }),
        Err(violations) => {
            let called = called(&document.parsed.value);
            problems.extend(document.problems(called.as_deref(), violations));
            None
        }
    }
}

/// The resources by kind; `None` without a policy.
pub(super) fn assemble(resources: Vec<Resource<'_, '_>>) -> Option<Loaded> {
    let (mut policy, mut topics, mut queues) = (None, Vec::new(), Vec::new());
    for resource in resources {
        match resource.typed {
            Typed::Policy(found) => policy = Some(*found),
            Typed::Topic(topic) => topics.push(*topic),
            Typed::Queue(queue) => queues.push(*queue),
        }
    }
    Some(Loaded { policy: policy?, topics, queues })
}

enum Kind {
    Policy,
    Topic,
    Queue,
}

/// Which kind the document says it is.
fn kind(value: &Value) -> Result<Kind, Violation> {
    let at = |field: &str, message: String| Violation { field: Path::of(field), message };
    let Value::Object(map) = value else {
        return Err(Violation {
            field: Path::default(),
            message: "a resource is a map with apiVersion, kind, metadata and spec: write it so"
                .into(),
        });
    };
    let api_version = format!("{GROUP}/{VERSION}");
    let text = |field| map.get(field).and_then(Value::as_str);
    match text("apiVersion") {
        Some(found) if found == api_version => {}
        Some(found) => {
            return Err(at(
                "apiVersion",
                format!("is {:?}, which is not known here: use {api_version}", shown(found)),
            ));
        }
        None => {
            return Err(at("apiVersion", format!("is missing: add apiVersion: {api_version}")));
        }
    }
    match text("kind") {
        Some("ReplicationPolicy") => Ok(Kind::Policy),
        Some("Topic") => Ok(Kind::Topic),
        Some("Queue") => Ok(Kind::Queue),
        Some("Shard") => {
            Err(at("kind", "Shards are written by the operator alone: remove the document".into()))
        }
        Some(other) => Err(at(
            "kind",
            format!(
                "is {:?}, which is not known: use ReplicationPolicy, Topic or Queue",
                shown(other)
            ),
        )),
        None => Err(at("kind", "is missing: add ReplicationPolicy, Topic or Queue".into())),
    }
}

/// Kind and name, as far as they are there.
fn called(value: &Value) -> Option<String> {
    let kind = value.get("kind")?.as_str()?;
    match value.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str) {
        Some(name) => Some(format!("{} {}", shown(kind), shown(name))),
        None => Some(shown(kind)),
    }
}

/// Each with the fields that every kind has.
static POLICY: LazyLock<JSONSchemaProps> = LazyLock::new(root::<ReplicationPolicy>);
static TOPIC: LazyLock<JSONSchemaProps> = LazyLock::new(root::<Topic>);
static QUEUE: LazyLock<JSONSchemaProps> = LazyLock::new(root::<Queue>);

/// The schema of a kind together with that of the fields which every kind has.
fn root<K: CustomResourceExt>() -> JSONSchemaProps {
    let mut schema = crd::schema::<K>();
    let every: JSONSchemaProps = serde_json::from_value(json!({
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": metadata(),
        },
    }))
    .expect("written here");
    schema.properties.get_or_insert_default().extend(every.properties.into_iter().flatten());
    schema.required.get_or_insert_default().push("metadata".into());
    schema
}

/// The metadata that people write. What an API server adds to it is known, so that what
/// `kubectl get -o yaml` prints can be read, and dropped.
fn metadata() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object", "additionalProperties": text});
    let anything = json!({"x-kubernetes-preserve-unknown-fields": true});
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {
                "type": "string", "minLength": 1, "maxLength": 253,
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "description": "lower-case letters, digits, - and ., beginning and ending with a letter or digit",
            },
            "namespace": {
                "type": "string", "minLength": 1, "maxLength": 63,
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "description": "lower-case letters, digits and -, beginning and ending with a letter or digit",
            },
            "labels": texts,
            "annotations": texts,
            "creationTimestamp": anything,
            "deletionTimestamp": anything,
            "deletionGracePeriodSeconds": anything,
            "finalizers": anything,
            "generateName": anything,
            "generation": anything,
            "managedFields": anything,
            "ownerReferences": anything,
            "resourceVersion": anything,
            "selfLink": anything,
            "uid": anything,
        },
    })
}

/// Metadata that is kept.
const METADATA_KEPT: [&str; 4] = ["name", "namespace", "labels", "annotations"];

/// Checks the document against the schema, fills in defaults, applies the rules and reads it.
fn typed<K>(
    document: &Document<'_>,
    schema: &JSONSchemaProps,
    checks: &mut Checks,
) -> Result<K, Vec<Violation>>
where
    K: DeserializeOwned,
{
    let mut value = document.parsed.value.clone();
    if let Value::Object(map) = &mut value {
        // As an API server does: the status is not for those who write the resource.
        map.remove("status");
        if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
            // An empty map is often written as nothing.
            let dropped = |key: &String, value: &mut Value| value.is_null() && key != "name";
            metadata.retain(|key, value| !dropped(key, value));
        }
    }
    structure::fill(schema, &mut value);
    let violations = checks.structure.violations(schema, &value, &Path::default());
    if !violations.is_empty() {
        return Err(violations);
    }
    let violations = checks.rules.check(schema, &value, None);
    if !violations.is_empty() {
        return Err(violations);
    }
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        let kept: Map<_, _> = std::mem::take(metadata)
            .into_iter()
            .filter(|(key, _)| METADATA_KEPT.contains(&key.as_str()))
            .collect();
        *metadata = kept;
    }
    serde_json::from_value(value).map_err(|error| {
        vec![Violation { field: Path::default(), message: format!("can't be read: {error}") }]
    })
}
