//! The door on a real socket, in front of a broker in memory.

mod client;
mod fetch;
mod memory;
mod metadata;
mod offsets;
mod produce;
