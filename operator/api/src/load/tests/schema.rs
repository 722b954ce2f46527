//! The checker knows every keyword that the definitions use.

use serde_json::Value;

use crate::crd;

/// Keywords that `structure` and `rules` apply, and those that say nothing about values.
const KNOWN: [&str; 24] = [
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

fn visit(schema: &Value, path: &str) {
    let Value::Object(keywords) = schema else {
        return;
    };
    for (keyword, value) in keywords {
        assert!(KNOWN.contains(&keyword.as_str()), "{path}: the keyword {keyword} is not checked");
        match keyword.as_str() {
            "properties" => {
                for (name, property) in value.as_object().unwrap() {
                    visit(property, &format!("{path}.{name}"));
                }
            }
            "items" | "additionalProperties" => visit(value, &format!("{path}[]")),
            "type" | "description" => assert!(value.is_string(), "{path}.{keyword}"),
            _ => {}
        }
    }
}

#[test]
fn every_keyword_is_checked() {
    for crd in crd::crds() {
        for version in &crd.spec.versions {
            let schema = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
            visit(&serde_json::to_value(schema).unwrap(), &crd.spec.names.kind);
        }
    }
}

/// `kubectl explain` has something to say of every field of ours.
#[test]
fn every_field_is_described() {
    fn visit(schema: &Value, path: &str) {
        for (name, property) in
            schema.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let path = format!("{path}.{name}");
            assert!(property.get("description").is_some(), "{path} has no description");
            visit(property, &path);
        }
        if let Some(items) = schema.get("items") {
            visit(items, &format!("{path}[]"));
        }
    }
    for crd in crd::crds() {
        for version in &crd.spec.versions {
            let schema = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
            visit(&serde_json::to_value(schema).unwrap(), &crd.spec.names.kind);
        }
    }
}
