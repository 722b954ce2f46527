//! YAML files in, typed resources out, for `holdfast up`.
//!
//! What an API server does to a resource is done here to YAML that never meets one, with the
//! same schema: unknown fields, types and bounds (`structure`), defaults, CEL rules
//! (`rules`). Then come the checks that need more than one document (`cross`, and `update` for what may not change).
//!
//! Invariants: no input makes it panic or take more than bounded memory; either everything is
//! good and returned, or every problem that can be told apart is.

mod cross;
mod document;
mod kinds;
mod path;
mod problem;
mod rules;
mod structure;
#[cfg(test)]
mod tests;
mod update;
mod yaml;

pub use path::{Path, Step};
pub use problem::{Problem, Violation};
pub use rules::validate_update;
pub use update::Previous;

use crate::{Queue, ReplicationPolicy, Topic};

/// Longest file, bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most documents in all files together.
pub const DOCUMENTS_MAX: usize = 10_000;
/// Most problems reported; further ones are counted only.
pub const PROBLEMS_MAX: usize = 100;

/// A file that was read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name, as problems are to call it.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
}

/// Everything that `holdfast up` was given, checked, with defaults filled in. No resource has
/// a `metadata.uid` or a status: who runs them gives them one.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The one policy.
    pub policy: ReplicationPolicy,
    /// Its topics, in the order given.
    pub topics: Vec<Topic>,
    /// Its queues, in the order given.
    pub queues: Vec<Queue>,
}

/// Reads the resources in `files`, checks them and fills in defaults.
///
/// # Errors
/// Every problem found, in the order of files and documents, at most [`PROBLEMS_MAX`] and one
/// that counts the rest.
pub fn load(files: &[Source<'_>]) -> Result<Loaded, Vec<Problem>> {
    load_update(files, &Previous::default())
}

/// As [`load`], and holds each resource to the rules about change from what it was before, such
/// as "partitions can only grow". A resource that is no longer there is no problem: absence is
/// never deletion.
///
/// # Errors
/// As for [`load`].
pub fn load_update(files: &[Source<'_>], previous: &Previous<'_>) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let documents = document::split(files, &mut problems);
    let mut checks = kinds::Checks::default();
    let resources: Vec<_> = documents
        .iter()
        .filter_map(|document| kinds::read(document, &mut checks, &mut problems))
        .collect();
    // A document that can't be read may be the very one that another names, so what is missing
    // is only told where everything else is right.
    if problems.is_empty() {
        cross::check(&resources, &mut problems);
        update::check(&resources, previous, &mut problems);
    }
    if problems.is_empty() {
        // `cross` has seen to it that there is a policy.
        return kinds::assemble(resources).ok_or_else(|| {
            vec![Problem::general("there is no ReplicationPolicy: add one".into())]
        });
    }
    Err(bounded(problems))
}

fn bounded(mut problems: Vec<Problem>) -> Vec<Problem> {
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    problems.truncate(PROBLEMS_MAX);
    if more > 0 {
        problems.push(Problem::general(format!(
            "{more} more problems are not shown: mend these first"
        )));
    }
    problems
}
