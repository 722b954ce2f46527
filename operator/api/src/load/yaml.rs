//! One YAML document in, a JSON value and the line of each field out, within fixed bounds.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::Spanned;

use super::path::{Path, Step, shown_long};

/// Deepest nesting of a document.
const DEPTH_MAX: usize = 48;
/// Most scalars, lists and maps of a document, aliases followed.
const NODES_MAX: usize = 100_000;
/// Most aliases of a document, and most nodes that they bring in.
const ALIASES_MAX: usize = 1000;
/// Longest name of a field, bytes; what Kubernetes allows for a label with its prefix is 317.
const KEY_LENGTH_MAX: usize = 1024;

/// A document as JSON, and where its fields are.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) value: Value,
    tree: Spanned<Node>,
}

impl Parsed {
    /// The line of `field` within the document, from 1, or that of the nearest field around it.
    pub(super) fn line(&self, field: &Path) -> Option<usize> {
        let mut node = &self.tree.value;
        let mut found = line(&self.tree.referenced);
        for step in field.steps() {
            let (location, child) = match (node, step) {
                (Node::Map(entries), Step::Field(name)) => {
                    match entries.iter().find(|(key, _)| key.value == *name) {
                        Some((key, child)) => (key.referenced, child),
                        None => break,
                    }
                }
                (Node::List(items), Step::Item(index)) => match items.get(*index) {
                    Some(item) => (item.referenced, item),
                    None => break,
                },
                _ => break,
            };
            found = line(&location).or(found);
            node = &child.value;
        }
        found
    }
}

/// The text is not one YAML document within bounds.
#[derive(Debug)]
pub(super) struct Error {
    /// Line within the document, from 1.
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Parsed, Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_documents: 1,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_merge_keys: ALIASES_MAX,
            max_recorded_anchor_events: NODES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
            max_replay_stack_depth: DEPTH_MAX,
            max_alias_expansions_per_anchor: ALIASES_MAX,
        },
        // A topic may be called `no`; only true and false are booleans.
        strict_booleans: true,
        with_snippet: false,
    };
    let tree: Spanned<Node> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| Error {
            line: error.location().and_then(|location| line(&location)),
            message: plain_message(&error),
        })?;
    Ok(Parsed { value: tree.value.to_json(), tree })
}

fn line(location: &serde_saphyr::Location) -> Option<usize> {
    usize::try_from(location.line()).ok().filter(|line| *line > 0)
}

/// The message without the place, which the problem has already.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or("not YAML");
    let cut = [" at line ", " (line ", " at byte "]
        .iter()
        .filter_map(|mark| first.find(mark))
        .min()
        .unwrap_or(first.len());
    shown_long(&first[..cut])
}

/// A value of which every part knows its line.
#[derive(Debug)]
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl Node {
    fn to_json(&self) -> Value {
        match self {
            Self::Scalar(value) => value.clone(),
            Self::List(items) => items.iter().map(|item| item.value.to_json()).collect(),
            Self::Map(entries) => entries
                .iter()
                .map(|(key, node)| (key.value.clone(), node.value.to_json()))
                .collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        // Infinity and NaN are no JSON; a string is refused wherever a number is wanted.
        let number = Number::from_f64(value).map(Value::Number);
        Ok(Node::Scalar(number.unwrap_or_else(|| value.to_string().into())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::<(Spanned<String>, Spanned<Node>)>::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        if map.iter().any(|(key, _)| key.value.len() > KEY_LENGTH_MAX) {
            return Err(de::Error::custom(format!(
                "the name of a field is longer than {KEY_LENGTH_MAX} bytes: shorten it"
            )));
        }
        Ok(Node::Map(map))
    }
}
