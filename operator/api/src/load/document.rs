//! Files in, documents out: each parsed, with the place that problems in it are at.

use super::path::Path;
use super::problem::{Problem, Violation};
use super::yaml::{self, Parsed};
use super::{DOCUMENTS_MAX, FILE_BYTES_MAX, Source};

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) file: &'a str,
    /// From 1, empty ones not counted.
    pub(super) number: usize,
    /// Lines of the file before the document.
    lines_before: usize,
    pub(super) parsed: Parsed,
}

impl Document<'_> {
    /// Problems with its fields, in the order of lines.
    pub(super) fn problems(
        &self,
        resource: Option<&str>,
        violations: Vec<Violation>,
    ) -> Vec<Problem> {
        let mut problems: Vec<_> =
            violations.into_iter().map(|violation| self.problem(resource, violation)).collect();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    /// A problem with one of its fields.
    pub(super) fn problem(&self, resource: Option<&str>, violation: Violation) -> Problem {
        let line = self.parsed.line(&violation.field);
        Problem {
            file: Some(self.file.to_owned()),
            document: Some(self.number),
            line: line.map(|line| line + self.lines_before),
            resource: resource.map(str::to_owned),
            violation,
        }
    }
}

/// Parses every document of every file.
pub(super) fn split<'a>(files: &[Source<'a>], problems: &mut Vec<Problem>) -> Vec<Document<'a>> {
    let mut documents = Vec::new();
    let mut total = 0;
    for file in files {
        let about = |message: String| Problem {
            file: Some(file.name.to_owned()),
            ..Problem::general(message)
        };
        if file.text.len() > FILE_BYTES_MAX {
            problems.push(about(format!(
                "the file has {} bytes, more than the {FILE_BYTES_MAX} that are read: split it",
                file.text.len()
            )));
            continue;
        }
        let pieces = pieces(file.text);
        if pieces.is_empty() {
            problems.push(about(
                "the file has no document: put a resource in it, or leave it out".into(),
            ));
        }
        for (index, (lines_before, text)) in pieces.into_iter().enumerate() {
            total += 1;
            if total > DOCUMENTS_MAX {
                problems.push(about(format!(
                    "there are more than {DOCUMENTS_MAX} documents: declare fewer resources"
                )));
                return documents;
            }
            let number = index + 1;
            match yaml::parse(text) {
                Ok(parsed) => {
                    documents.push(Document { file: file.name, number, lines_before, parsed });
                }
                Err(error) => problems.push(Problem {
                    document: Some(number),
                    line: Some(lines_before + error.line.unwrap_or(1)),
                    violation: Violation {
                        field: Path::default(),
                        message: format!("not YAML that can be read: {}", error.message),
                    },
                    ..about(String::new())
                }),
            }
        }
    }
    documents
}

/// The documents of a file that have something in them, each with the number of lines before it.
///
/// A line that begins with `---` ends a document wherever it stands, in a block of text too
/// (YAML 1.2.2, 9.1.2), so that one that can't be read does not hide those after it.
fn pieces(text: &str) -> Vec<(usize, &str)> {
    // A byte order mark belongs to the encoding and not to the first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut pieces = Vec::new();
    let (mut start, mut start_line) = (0, 0);
    let (mut at, mut line) = (0, 0);
    for text_line in text.split_inclusive('\n') {
        if let Some(rest) = text_line.strip_prefix("---")
            && rest.chars().next().is_none_or(char::is_whitespace)
        {
            pieces.push((start_line, &text[start..at]));
            (start, start_line) = (at + 3, line);
        }
        at += text_line.len();
        line += 1;
    }
    pieces.push((start_line, &text[start..]));
    pieces.retain(|(_, piece)| !is_empty(piece));
    pieces
}

/// Whether there is nothing but blanks and comments.
fn is_empty(piece: &str) -> bool {
    piece
        .lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_with_their_lines() {
        let text = "# head\n---\na: 1\n--- # second\nb: |\n  x\n---\n# empty\n---\nc: 1";
        let found: Vec<_> =
            pieces(text).into_iter().map(|(line, text)| (line, text.trim())).collect();
        assert_eq!(found, [(1, "a: 1"), (3, "# second\nb: |\n  x"), (8, "c: 1")]);
        assert!(pieces("").is_empty());
        assert!(pieces("---\n---\n# nothing\n...\n").is_empty());
    }
}
