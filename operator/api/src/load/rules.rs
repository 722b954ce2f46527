//! The CEL rules of a schema, as an API server applies them: creation rules to every object,
//! transition rules (those that say `oldSelf`) only where there is an earlier version.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cel::extractors::This;
use cel::{Context, ExecutionError, Program, Value as Cel};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use kube::CustomResourceExt;
use serde::Serialize;
use serde_json::Value;

use super::PROBLEMS_MAX;
use super::path::Path;
use super::problem::Violation;
use crate::ByteSize;

/// Whether `old` may become `new`: holds the CEL rules of their kind, those about change
/// included.
///
/// # Errors
/// Every rule that is broken.
pub fn validate_update<K>(old: &K, new: &K) -> Result<(), Vec<Violation>>
where
    K: CustomResourceExt + Serialize,
{
    let violations = Rules::default().change(&crate::crd::schema::<K>(), old, new);
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// Applies rules, each compiled once.
pub(super) struct Rules {
    programs: Programs,
    context: Context<'static, 'static>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { programs: Programs::default(), context: context() }
    }
}

impl Rules {
    /// What of `value`, and of its change from `old`, breaks a rule; at most [`PROBLEMS_MAX`].
    pub(super) fn check(
        &mut self,
        schema: &JSONSchemaProps,
        value: &Value,
        old: Option<&Value>,
    ) -> Vec<Violation> {
        let violations = Vec::new();
        let mut walk = Walk { programs: &mut self.programs, context: &self.context, violations };
        walk.visit(schema, value, old, &Path::default());
        walk.violations
    }
}

impl Rules {
    /// What of the change from `old` to `new` breaks a rule.
    pub(super) fn change<K: Serialize>(
        &mut self,
        schema: &JSONSchemaProps,
        old: &K,
        new: &K,
    ) -> Vec<Violation> {
        match (serde_json::to_value(old), serde_json::to_value(new)) {
            (Ok(old), Ok(new)) => self.check(schema, &new, Some(&old)),
            (Err(error), _) | (_, Err(error)) => vec![Violation {
                field: Path::default(),
                message: format!("can't be written as JSON: {error}"),
            }],
        }
    }
}

/// Compiled rules by their text; what is wrong with it where it is no CEL. Bounded by the number
/// of rules that the schemas have.
#[derive(Default)]
struct Programs(BTreeMap<String, Result<Program, String>>);

impl Programs {
    fn get(&mut self, rule: &str) -> Result<&Program, String> {
        if !self.0.contains_key(rule) {
            let program = Program::compile(rule).map_err(|error| error.to_string());
            self.0.insert(rule.to_owned(), program);
        }
        match self.0.get(rule) {
            Some(Ok(program)) => Ok(program),
            Some(Err(error)) => Err(error.clone()),
            None => Err("not compiled".into()),
        }
    }
}

struct Walk<'r> {
    programs: &'r mut Programs,
    context: &'r Context<'static, 'static>,
    violations: Vec<Violation>,
}

impl Walk<'_> {
    fn visit(&mut self, schema: &JSONSchemaProps, value: &Value, old: Option<&Value>, path: &Path) {
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            if self.violations.len() >= PROBLEMS_MAX {
                return;
            }
            self.apply(rule, value, old, path);
        }
        match value {
            Value::Object(map) => {
                for (name, child) in map {
                    let known = schema.properties.as_ref().and_then(|known| known.get(name));
                    let values = match &schema.additional_properties {
                        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(&**values),
                        Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
                    };
                    if let Some(schema) = known.or(values) {
                        let old = old.and_then(|old| old.get(name));
                        self.visit(schema, child, old, &path.field(name));
                    }
                }
            }
            Value::Array(items) => {
                // Items have no earlier version: none of our lists has rules about change, and
                // an API server would not take them in a plain list.
                if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                    for (index, item) in items.iter().enumerate() {
                        self.visit(schema, item, None, &path.item(index));
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn apply(&mut self, rule: &ValidationRule, value: &Value, old: Option<&Value>, path: &Path) {
        let about_change = rule.rule.contains("oldSelf");
        if about_change && old.is_none() {
            return;
        }
        let mut scope = self.context.new_inner_scope();
        scope.add_variable_from_value("self", cel(value));
        if let Some(old) = old {
            scope.add_variable_from_value("oldSelf", cel(old));
        }
        let message = match self.programs.get(&rule.rule) {
            Err(error) => Some(format!("the rule {} can't be read: {error}", rule.rule)),
            Ok(program) => match program.execute(&scope) {
                Ok(Cel::Bool(true)) => None,
                Ok(_) => Some(
                    rule.message
                        .clone()
                        .unwrap_or_else(|| format!("breaks the rule {}", rule.rule)),
                ),
                Err(error) => Some(format!("the rule {} can't be applied: {error}", rule.rule)),
            },
        };
        if let Some(message) = message {
            let field =
                rule.field_path.iter().flat_map(|at| at.split('.')).filter(|s| !s.is_empty());
            let field = field.fold(path.clone(), |path, name| path.field(name));
            self.violations.push(Violation { field, message });
        }
    }
}

/// The functions of Kubernetes' CEL that our rules use and that the language itself lacks.
fn context() -> Context<'static, 'static> {
    let mut context = Context::default();
    context
        .add_function("quantity", quantity)
        .and_then(|()| context.add_function("compareTo", compare_to))
        .expect("CEL's own functions have other names");
    context
}

/// Kubernetes has a type for quantities; bytes will do, as we allow no fractions.
fn quantity(text: Arc<String>) -> Result<i64, ExecutionError> {
    let error = |message: String| ExecutionError::function_error("quantity", message);
    let size: ByteSize =
        text.parse().map_err(|e: crate::bytes::ParseError| error(e.to_string()))?;
    i64::try_from(size.bytes()).map_err(|e| error(e.to_string()))
}

fn compare_to(This(a): This<i64>, b: i64) -> i64 {
    match a.cmp(&b) {
        std::cmp::Ordering::Less => -1,
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Greater => 1,
    }
}

/// JSON as CEL sees it: whole numbers are `int`, as the schema types them.
fn cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Cel::Int(whole),
            (None, Some(float)) => Cel::Float(float),
            (None, None) => Cel::Null,
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(cel).collect())),
        Value::Object(map) => {
            let map: HashMap<String, Cel> =
                map.iter().map(|(key, value)| (key.clone(), cel(value))).collect();
            Cel::Map(map.into())
        }
    }
}
