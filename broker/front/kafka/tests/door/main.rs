//! The door on a real socket, in front of a broker in memory.

#![allow(clippy::unwrap_used)] // in a test a panic is the failure

mod client;
mod fetch;
mod memory;
mod metadata;
mod offsets;
mod produce;
mod samples;
