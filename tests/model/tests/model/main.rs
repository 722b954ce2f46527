//! The model in the time that a test may take; `make model` goes on for longer.

// A test stops where something is not as it must be.
#![allow(clippy::unwrap_used)]

mod exhaustive;
mod walks;
