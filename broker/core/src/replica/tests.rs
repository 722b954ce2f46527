//! Tests of the replica: the rules one by one, as scripts, and a random cluster that needs them
//! all.

mod cluster;
mod trace;
