//! The way from the root of a resource to one of its fields.

use std::fmt;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// To the field of this name.
    Field(String),
    /// To the item of this number, from 0.
    Item(usize),
}

/// The way from the root of a resource to one of its fields, shown as
/// `spec.bindings[0].topic` or `metadata.labels[app.kubernetes.io/name]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<Step>);

/// Longest name shown in full, characters: names come from the user's file.
const SHOWN_LENGTH_MAX: usize = 80;

impl Path {
    /// Whether it leads nowhere.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// One step further, to a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        self.then(Step::Field(name.to_owned()))
    }

    /// One step further, to an item.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        self.then(Step::Item(index))
    }

    /// One step back; none from the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Reads a path of plain field names, such as `spec.policy`.
    #[must_use]
    pub fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(|name| Step::Field(name.to_owned())).collect())
    }
}

/// `text` so that it can stand in a message: cut to a bounded length, control characters escaped.
pub(super) fn shown(text: &str) -> String {
    cut(text, SHOWN_LENGTH_MAX)
}

/// As [`shown`], for a whole message of another library.
pub(super) fn shown_long(text: &str) -> String {
    cut(text, 4 * SHOWN_LENGTH_MAX)
}

fn cut(text: &str, length_max: usize) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    let mut short: String = text.chars().take(length_max).map(escape).collect();
    if text.chars().nth(length_max).is_some() {
        short.push_str("...");
    }
    short
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Field(name) => {
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                    match (name.chars().all(plain), number) {
                        (true, 0) => write!(f, "{}", shown(name))?,
                        (true, _) => write!(f, ".{}", shown(name))?,
                        (false, _) => write!(f, "[{}]", shown(name))?,
                    }
                }
            }
        }
        Ok(())
    }
}
