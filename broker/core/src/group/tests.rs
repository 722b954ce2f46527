//! Scenarios with a fake clock, one file a concern, and random requests against the invariants.

mod admin;
mod driver;
mod failover;
mod joining;
mod leaving;
mod offsets;
mod random;
mod static_members;
mod syncing;
