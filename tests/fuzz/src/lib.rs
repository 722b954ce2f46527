//! Every byte that comes from outside, mutated: no input may make a target panic, hang, or take
//! more memory than is stated beside it.
//!
//! A [`Target`] is a plain function of bytes, over the shipped code. [`campaign`] mutates the
//! committed corpus (`corpus/<target>/`) and the target's own seeds under one seed, so that a run
//! can be repeated; with the feature `coverage` it goes on from inputs that reach new code.
//! `docs/fuzzing.md` says how it is used.

pub mod campaign;
pub mod corpus;
mod coverage;
mod dice;
pub mod judge;
mod mutate;
mod repair;
mod targets;

pub use targets::TARGETS;

/// Something that takes bytes from outside.
#[derive(Debug)]
pub struct Target {
    /// As on the command line and in `corpus/`.
    pub name: &'static str,
    /// Takes one input. What it finds wrong, it panics for.
    pub run: fn(&[u8]),
    /// Makes lengths and checksums right again, so that an input gets past them.
    pub repair: fn(&mut Vec<u8>),
    /// Good inputs, made by the shipped encoders.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What the format knows.
    pub words: &'static [&'static [u8]],
    /// The longest input tried, bytes.
    pub input_bytes_max: usize,
    /// The most memory that one input may take at once, bytes, beside itself.
    pub memory_bytes_max: usize,
}
