//! The door on a real socket, in front of a broker in memory.

#![allow(clippy::unwrap_used)] // in a test a panic is the failure

mod admin;
mod client;
mod fetch;
mod groups;
mod inspect;
mod limits;
mod memory;
mod metadata;
mod offsets;
mod produce;
#[allow(dead_code)] // the hostile frames use what is not used here
mod samples;
