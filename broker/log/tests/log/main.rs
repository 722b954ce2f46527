//! The log of one shard against real files: what it keeps, finds, cuts and refuses.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // tests

mod append;
mod damage;
mod full;
mod model;
mod power;
mod read;
mod scrub;
mod support;
mod truncate;
