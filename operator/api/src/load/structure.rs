//! Holds a value to a structural schema, and fills in the schema's defaults.
//!
//! Covers the keywords that our definitions use; a test fails when they use another.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;
use serde_json::Value;

use super::PROBLEMS_MAX;
use super::path::{Path, shown};
use super::problem::Violation;
use crate::{ByteSize, Duration, bytes, time};

/// Fills in what is absent, or null, and has a default.
pub(super) fn fill(schema: &JSONSchemaProps, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in schema.properties.iter().flatten() {
                if let Some(default) = &property.default
                    && map.get(name).is_none_or(Value::is_null)
                {
                    map.insert(name.clone(), default.0.clone());
                }
                if let Some(child) = map.get_mut(name) {
                    fill(property, child);
                }
            }
            if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
                map.values_mut().for_each(|child| fill(values, child));
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                items.iter_mut().for_each(|item| fill(schema, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Holds values to schemas and collects what is wrong, at most [`PROBLEMS_MAX`] of it.
#[derive(Debug, Default)]
pub(super) struct Checker {
    violations: Vec<Violation>,
    /// Compiled patterns by their text: compiling one takes far longer than using it.
    patterns: BTreeMap<String, Option<Regex>>,
}

impl Checker {
    /// What of `value`, which is at `path`, is not as `schema` has it.
    pub(super) fn violations(
        &mut self,
        schema: &JSONSchemaProps,
        value: &Value,
        path: &Path,
    ) -> Vec<Violation> {
        self.check(schema, value, path);
        std::mem::take(&mut self.violations)
    }

    fn check(&mut self, schema: &JSONSchemaProps, value: &Value, path: &Path) {
        if self.violations.len() >= PROBLEMS_MAX {
            return;
        }
        if let Some(expected) = unexpected_type(schema, value) {
            return self.say(path, format!("must be {expected}, but is {}", described(value)));
        }
        if let Some(allowed) = &schema.enum_
            && !allowed.iter().any(|allowed| allowed.0 == *value)
        {
            let names = allowed.iter().map(|allowed| plain(&allowed.0));
            return self
                .say(path, format!("must be {}, but is {}", one_of(names), described(value)));
        }
        match value {
            Value::Object(_) => self.object(schema, value, path),
            Value::Array(items) => self.array(schema, items, path),
            Value::String(text) => self.text(schema, text, path),
            Value::Number(number) => {
                if let Some(number) = number.as_f64() {
                    self.number(schema, number, path);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn say(&mut self, path: &Path, message: String) {
        self.violations.push(Violation { field: path.clone(), message });
    }

    fn object(&mut self, schema: &JSONSchemaProps, value: &Value, path: &Path) {
        let Value::Object(map) = value else { return };
        for name in schema.required.iter().flatten() {
            if !map.contains_key(name) {
                self.say(&path.field(name), "is missing: add it".into());
            }
        }
        if schema.max_properties.is_some_and(|max| len(map.len()) > max) {
            let max = schema.max_properties.unwrap_or_default();
            self.say(path, format!("has {} entries, more than {max}: remove some", map.len()));
        }
        if schema.min_properties.is_some_and(|min| len(map.len()) < min) {
            let min = schema.min_properties.unwrap_or_default();
            self.say(
                path,
                format!("must have at least {min} entries: add some, or remove the field"),
            );
        }
        for (name, child) in map {
            let at = path.field(name);
            let property = schema.properties.as_ref().and_then(|known| known.get(name));
            match (property, &schema.additional_properties) {
                (Some(property), _) => self.check(property, child, &at),
                (None, Some(JSONSchemaPropsOrBool::Schema(values))) => {
                    self.check(values, child, &at);
                }
                (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
                (None, _) if schema.x_kubernetes_preserve_unknown_fields == Some(true) => {}
                (None, _) => {
                    let known = schema.properties.iter().flatten().map(|(name, _)| name.as_str());
                    self.say(&at, unknown_field(name, known));
                }
            }
            if self.violations.len() >= PROBLEMS_MAX {
                return;
            }
        }
    }

    fn array(&mut self, schema: &JSONSchemaProps, items: &[Value], path: &Path) {
        if let Some(max) = schema.max_items.filter(|max| len(items.len()) > *max) {
            return self
                .say(path, format!("has {} items, more than {max}: remove some", items.len()));
        }
        if let Some(min) = schema.min_items.filter(|min| len(items.len()) < *min) {
            self.say(
                path,
                format!("must have at least {min} items: add some, or remove the field"),
            );
        }
        let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else {
            return;
        };
        for (index, item) in items.iter().enumerate() {
            self.check(schema, item, &path.item(index));
        }
    }

    fn text(&mut self, schema: &JSONSchemaProps, text: &str, path: &Path) {
        let length = len(text.chars().count());
        if let Some(max) = schema.max_length.filter(|max| length > *max) {
            return self.say(path, format!("has {length} characters, more than {max}: shorten it"));
        }
        if let Some(min) = schema.min_length.filter(|min| length < *min) {
            return self.say(path, format!("must have at least {min} characters: write more"));
        }
        let Some(pattern) = &schema.pattern else {
            return;
        };
        let regex =
            self.patterns.entry(pattern.clone()).or_insert_with(|| Regex::new(pattern).ok());
        if !regex.as_ref().is_some_and(|regex| regex.is_match(text)) {
            self.say(path, mismatch(schema, pattern, text));
        }
    }

    fn number(&mut self, schema: &JSONSchemaProps, number: f64, path: &Path) {
        if let Some(min) = schema.minimum.filter(|min| number < *min) {
            self.say(path, format!("must be at least {min}, but is {number}: raise it"));
        }
        if let Some(max) = schema.maximum.filter(|max| number > *max) {
            self.say(path, format!("must be at most {max}, but is {number}: lower it"));
        }
    }
}

/// What to say of a text that is not of the form that it must have.
fn mismatch(schema: &JSONSchemaProps, pattern: &str, text: &str) -> String {
    // Where the form is one of our own types, its parser says it better than the pattern.
    let short = shown(text);
    let own = if pattern == bytes::PATTERN {
        short.parse::<ByteSize>().err().map(|error| error.to_string())
    } else if pattern == time::PATTERN {
        short.parse::<Duration>().err().map(|error| error.to_string())
    } else if pattern == time::retention_pattern() {
        short.parse::<Duration>().err().map(|error| format!("{error}, or Unlimited"))
    } else {
        None
    };
    own.unwrap_or_else(|| {
        let remedy = match &schema.description {
            Some(description) => format!("see what it is for: {description}"),
            None => "write it in that form".into(),
        };
        format!("{short:?} does not match {pattern}: {remedy}")
    })
}

/// A length as the schema counts it.
fn len(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// What the value should be, if it is of another type.
fn unexpected_type(schema: &JSONSchemaProps, value: &Value) -> Option<&'static str> {
    if schema.x_kubernetes_int_or_string == Some(true) {
        let fits = value.is_string() || value.is_i64() || value.is_u64();
        return (!fits).then_some("a whole number or text");
    }
    let (fits, expected) = match schema.type_.as_deref()? {
        "object" => (value.is_object(), "a map of fields"),
        "array" => (value.is_array(), "a list"),
        "string" => (value.is_string(), "text"),
        "boolean" => (value.is_boolean(), "true or false"),
        "integer" => (value.is_i64() || value.is_u64(), "a whole number"),
        "number" => (value.is_number(), "a number"),
        _ => return None,
    };
    (!fits).then_some(expected)
}

/// The value, as a person would call it.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "empty: give it a value or remove it".into(),
        Value::Bool(_) | Value::Number(_) => format!("{value}: mend it"),
        Value::String(text) => format!("{:?}: mend it", shown(text)),
        Value::Array(_) => "a list: mend it".into(),
        Value::Object(_) => "a map: mend it".into(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `A`, `A or B`, `A, B or C`.
fn one_of(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((only, _)) => only.clone(),
        None => "nothing".into(),
    }
}

/// What to say of a field that the schema does not have.
pub(super) fn unknown_field<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    // Longer names are no slip of the pen, and the distance takes time in proportion to both.
    let near = (name.len() <= 64)
        .then(|| known.iter().map(|known| (distance(name, known), *known)).min())
        .flatten()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4);
    match near {
        Some((_, near)) => format!("is not a field that is known: did you mean {near}?"),
        None if known.is_empty() => "is not a field that is known: remove it".into(),
        None => {
            format!("is not a field that is known: remove it, or choose from {}", known.join(", "))
        }
    }
}

/// How many letters to insert, remove or change, upper or lower case alike.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
