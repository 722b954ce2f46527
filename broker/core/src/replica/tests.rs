//! Tests of the replica: the rules one by one, as scripts, and a random cluster that needs them
//! all.

mod bootstrap;
mod cluster;
mod commit;
mod diverge;
mod isr;
mod records;
mod script;
mod trace;
