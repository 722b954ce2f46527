//! docs/fields.md: every field of every kind, as its schema describes it.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};

use crate::crd::crds;

const HEAD: &str = "# Every field

<!-- Generated from operator/api; do not edit. `cargo run -p holdfast-api --bin crdgen` writes it anew. -->

What is wanted is in `spec`, what was observed in `status`; [operations.md](operations.md#status) says which observations
are bad and what to do then. `kubectl explain` tells the same, and the fields of Kubernetes' own types, which are named here alone.
A Shard is the operator's own: people read it.
";

/// Fields of types that are Kubernetes' own.
const FOREIGN: [&str; 5] = [
    "conditions",
    "placement.affinity",
    "placement.tolerations",
    "placement.topologySpreadConstraints",
    "resources",
];

/// A field: its path below `spec` or `status`, and its schema.
struct Field<'a> {
    path: String,
    schema: &'a JSONSchemaProps,
}

/// The text of docs/fields.md.
#[must_use]
pub fn text() -> String {
    let mut out = HEAD.to_owned();
    for crd in crds() {
        let names = &crd.spec.names;
        let short = names.short_names.iter().flatten().map(|name| format!("`{name}`"));
        let short: Vec<String> = short.collect();
        let _ = write!(out, "\n## {}\n`kubectl get {}`", names.kind, names.plural);
        let _ = writeln!(out, ", or {}.", short.join(", "));
        let schema = crd.spec.versions.first().and_then(|version| version.schema.as_ref());
        let schema = schema.and_then(|schema| schema.open_api_v3_schema.as_ref());
        for part in ["spec", "status"] {
            let _ = writeln!(out, "\n| {part} | type | |\n|---|---|---|");
            let mut fields = Vec::new();
            if let Some(schema) = schema.and_then(|schema| property(schema, part)) {
                collect(schema, "", &mut fields);
            }
            for Field { path, schema } in fields {
                let about = schema.description.as_deref().unwrap_or_default();
                let about = about.replace("\n\n", " ").replace('|', "\\|");
                let _ = writeln!(out, "| `{path}` | {} | {about} |", kind(schema));
            }
        }
    }
    out
}

fn property<'a>(schema: &'a JSONSchemaProps, name: &str) -> Option<&'a JSONSchemaProps> {
    schema.properties.as_ref()?.get(name)
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
    }
}

/// All fields below `path`, an object's own before those in it.
fn collect<'a>(schema: &'a JSONSchemaProps, path: &str, out: &mut Vec<Field<'a>>) {
    for (name, child) in schema.properties.iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        out.push(Field { path: path.clone(), schema: child });
        if !FOREIGN.contains(&path.as_str()) {
            collect(child, &path, out);
            if let Some(items) = items(child) {
                collect(items, &format!("{path}[]"), out);
            }
        }
    }
}

/// Its type, its values where they are few, and its default.
fn kind(schema: &JSONSchemaProps) -> String {
    let name = |schema: &JSONSchemaProps| match (&schema.type_, &schema.enum_) {
        (_, Some(values)) => {
            values.iter().map(|value| plain(&value.0)).collect::<Vec<_>>().join(" or ")
        }
        (Some(name), None) => name.clone(),
        (None, None) => "integer or string".to_owned(),
    };
    let mut text = match items(schema) {
        Some(items) => format!("array of {}", name(items)),
        None => name(schema),
    };
    // Objects have the defaults of their fields.
    if let Some(default) = schema.default.as_ref().filter(|default| !default.0.is_object()) {
        let _ = write!(text, ", {}", plain(&default.0));
    }
    text
}

fn plain(value: &serde_json::Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OPERATIONS: &str = include_str!("../../../docs/operations.md");

    /// The Queue's status is left out: nothing writes it yet.
    #[test]
    fn operations_say_of_every_observed_field_when_it_is_bad() {
        let begun = OPERATIONS.split("\n## Status\n").nth(1).unwrap();
        let section = begun.split("\n## ").next().unwrap();
        for crd in crds().iter().filter(|crd| crd.spec.names.kind != "Queue") {
            let schema = crd.spec.versions[0].schema.as_ref().unwrap();
            let schema = schema.open_api_v3_schema.as_ref().unwrap();
            let mut fields = Vec::new();
            collect(property(schema, "status").unwrap(), "", &mut fields);
            let leaves = fields.iter().filter(|field| field.schema.properties.is_none());
            let leaves: BTreeSet<&str> = leaves.map(|field| field.path.as_str()).collect();
            for path in leaves.into_iter().filter(|path| *path != "conditions") {
                let told = section.contains(&format!("`{path}`"));
                assert!(told, "docs/operations.md, Status: {} of {}", path, crd.spec.names.kind);
            }
        }
    }

    #[test]
    fn fields_have_their_paths_their_kinds_and_their_defaults() {
        let text = text();
        for line in [
            "| `flush.mode` | `Sync` or `Async`, `Sync` | Sync: a replica has a message",
            "| `placement.tolerations` | array of object | ",
            "| `partitions[].startOffset` | integer | ",
            "| `storage.size` | integer or string, `10Gi` | ",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("matchExpressions"), "types of Kubernetes are named alone");
    }
}
