//! What is asked of a group's coordinator, and what it answers.

/// A request to the coordinator of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {}
