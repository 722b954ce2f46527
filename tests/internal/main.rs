//! What goes on between the processes of a cluster: who is let in, and how one leaves.
//!
//! Real brokers with certificates, the operator in this process, records in a directory.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod cluster;
mod process;
mod producer;
mod rotation;
mod stop;
mod strangers;
