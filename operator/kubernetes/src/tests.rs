//! Scenarios against a fake API server: conflicts, lost answers, gaps in watches, two operators.

mod converge;
mod fake;
mod lease;
mod losses;
mod rotation;
mod store;

pub(crate) use converge::{policy, settings, topic, until};
pub(crate) use fake::Fake;
pub(crate) use rotation::peer;
