//! The CustomResourceDefinitions, made from the Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use kube::CustomResourceExt;
use serde_json::Value;

use crate::{Queue, ReplicationPolicy, Shard, Topic};

/// Formats that mean something to an API server; Rust's own (`uint32`) are dropped.
const FORMATS: [&str; 4] = ["int32", "int64", "double", "date-time"];

/// The definition of every kind.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        finish(ReplicationPolicy::crd()),
        finish(Topic::crd()),
        finish(Queue::crd()),
        finish(Shard::crd()),
    ]
}

/// The file names in crds/ and their text.
///
/// # Errors
/// Where a definition can't be written as YAML, which no test has seen.
pub fn files() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    crds().iter().map(|crd| Ok((format!("{}.yaml", crd.spec.names.plural), yaml(crd)?))).collect()
}

/// The text of the definition, the same on every run.
fn yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let value = serde_json::to_value(crd).expect("a definition has string keys only");
    let text = serde_saphyr::to_string(&plain(value))?;
    Ok(format!(
        "# Generated from operator/api; do not edit. `cargo run -p holdfast-api --bin crdgen` writes it anew.\n{text}"
    ))
}

/// Sorts keys, whatever features other crates turn on in `serde_json`, and writes whole numbers
/// as such.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.into_iter().map(|(key, value)| (key, plain(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_i64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                #[expect(clippy::cast_possible_truncation, reason = "whole and below 1e15")]
                let whole = float as i64;
                Value::from(whole)
            }
            _ => Value::Number(number),
        },
        other => other,
    }
}

/// Brings the generated schema to what an API server accepts and people can read.
fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        tidy(schema, false);
    }
    crd
}

/// The schema of a kind, as its definition has it.
pub(crate) fn schema<K: CustomResourceExt>() -> JSONSchemaProps {
    finish(K::crd())
        .spec
        .versions
        .into_iter()
        .next()
        .and_then(|version| version.schema)
        .and_then(|schema| schema.open_api_v3_schema)
        .unwrap_or_default()
}

fn tidy(schema: &mut JSONSchemaProps, in_status: bool) {
    if schema.format.as_ref().is_some_and(|format| !FORMATS.contains(&format.as_str())) {
        schema.format = None;
    }
    // An absent field is absent: `null` is an error where there is no default, and the default
    // where there is one.
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    if in_status {
        // An API server would fill these in and make a status that nobody wrote.
        schema.default = None;
    }
    schema.title = None;
    if let Some(description) = &mut schema.description {
        *description = unwrapped(description);
    }
    for (name, property) in schema.properties.iter_mut().flatten() {
        tidy(property, in_status || name == "status");
    }
    children(schema, |child| tidy(child, in_status));
}

/// Joins the lines of each paragraph, which are broken where the source is.
fn unwrapped(description: &str) -> String {
    description
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// Calls `visit` with the schema of items and of additional properties.
fn children(schema: &mut JSONSchemaProps, mut visit: impl FnMut(&mut JSONSchemaProps)) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    };
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        visit(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        visit(values);
    }
}
