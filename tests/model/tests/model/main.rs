//! The model in the time that a test may take; `make model` goes on for longer.

// A test stops where something is not as it must be.
#![allow(clippy::unwrap_used)]

mod ablation;
mod exhaustive;
mod rollback;
mod walks;
