//! What is wrong, where, and what to do about it.

use std::fmt;

use super::path::Path;

/// One thing that is wrong with one field of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, from the root of the resource.
    pub field: Path,
    /// What is wrong and the remedy: `must be at least 1: raise it`.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_root() {
            return f.write_str(&self.message);
        }
        let field = self.field.to_string();
        // Rules of the schema begin with the field, so that they are clear on an API server too.
        if self.message.starts_with(&field) {
            return f.write_str(&self.message);
        }
        write!(f, "{field}: {}", self.message)
    }
}

/// One thing that is wrong with what `holdfast up` was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The file; none where it is about all of them.
    pub file: Option<String>,
    /// The document in the file, from 1, empty ones not counted.
    pub document: Option<usize>,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// Kind and name of the resource, as far as known.
    pub resource: Option<String>,
    /// The field, what is wrong and the remedy.
    pub violation: Violation,
}

impl Problem {
    /// One that is about everything that was given.
    pub(super) fn general(message: String) -> Self {
        Self {
            file: None,
            document: None,
            line: None,
            resource: None,
            violation: Violation { field: Path::default(), message },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            f.write_str(file)?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        match (self.document, &self.resource) {
            (Some(document), Some(resource)) => write!(f, "document {document}, {resource}: ")?,
            (Some(document), None) => write!(f, "document {document}: ")?,
            (None, Some(resource)) => write!(f, "{resource}: ")?,
            (None, None) => {}
        }
        self.violation.fmt(f)
    }
}
