//! A whole cluster in one thread under one seed.
//!
//! Brokers run the shipped driver of a shard (core and log) over disks in memory, operators the
//! shipped planner over a simulated record store; clients, the network between them all, and
//! time are simulated. A seed decides everything, faults included, and never so many of them that
//! no copy of what is committed is left. The checkers ([`check`]) share nothing with the system:
//! they know what clients were told and what readers saw.
//!
//! Not simulated here: doors and gRPC (shown with real processes), and rot of single bits in a
//! running cluster, which needs a scrub to be found in time (shown for the log alone).

mod broker;
mod check;
mod client;
mod dice;
mod effects;
mod fault;
mod finish;
mod operator;
mod store;
mod world;

pub use world::{Outcome, run, run_with_rollback};
