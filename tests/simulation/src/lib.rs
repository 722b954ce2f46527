//! A whole cluster in one thread under one seed.
//!
//! Brokers run the shipped driver of a shard (core and log) over disks in memory, operators the
//! shipped planner over a simulated record store; clients, the network between them all, and
//! time are simulated. A seed decides everything, faults included, and never so many of them that
//! no copy of what is committed is left. The checkers ([`check`]) share nothing with the system:
//! they know what clients were told and what readers saw.
//!
//! A part of the clients, members of groups and the administrator among them, goes through the
//! shipped Kafka door ([`door`]). Not simulated here: gRPC, which is shown with real processes.

mod admin;
mod answer;
mod beyond;
mod broker;
mod check;
mod client;
mod damage;
mod dice;
mod door;
mod effects;
mod event;
mod fault;
mod finish;
mod heal;
mod loss;
mod member;
mod moves;
mod operator;
mod peer;
mod reader;
mod scrub;
mod shape;
mod store;
mod strike;
mod watch;
mod world;

pub use beyond::run_beyond;
pub use world::{Outcome, run};
