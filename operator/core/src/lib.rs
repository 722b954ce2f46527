//! Plans and elections: decisions of the operator, without IO.
//!
//! A [`Planner`] is told what happened ([`Input`], with the time) and says what to do
//! ([`Action`]): compare-and-swap writes of shard records, messages to brokers, events for
//! people. It never waits, reads a clock or draws a random number, so the same inputs give the
//! same plan, on Kubernetes as under `holdfast up`.
//!
//! Invariants, all of them held by construction in the file that is named and checked together
//! by the property test in `tests/`:
//! - one write of a shard is under way at a time, and it names the version it was read at
//!   (`planner`);
//! - only a live member of the in-sync replicas, reporting the recorded incarnation, is elected
//!   (`election`); anything else is an unclean election, recorded as one (`unclean`);
//! - the in-sync replicas never shrink below the policy's minimum (`fence`, `isr_request`);
//! - a replica is left out for good only where all that are to stay are in sync (`planner/moves`);
//! - a store that went back in time is noticed before anything is decided from it (`inventory`);
//! - a broker whose volume went back in time is not taken for what it was (`starts`).

mod action;
mod balance;
mod bootstrap;
mod broker;
mod election;
mod failover;
mod fence;
mod input;
mod inventory;
mod isr_request;
#[cfg(feature = "ablation")]
mod model;
mod placement;
mod planner;
mod policy;
mod replica;
mod rules;
mod starts;
mod status;
#[cfg(test)]
mod text;
mod unclean;

pub use action::{Action, Event, Message};
pub use broker::Loss;
pub use failover::{Failover, Reason};
pub use input::{Input, IsrRequest, Report, WriteOutcome};
pub use planner::{Moves, Obstacle, Planner};
pub use policy::{Policy, Time};
pub use rules::{Rule, Rules};
pub use status::{BrokerState, BrokerStatus, ShardCondition, ShardStatus, Status};
