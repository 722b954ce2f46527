//! The operator on Kubernetes: custom resources in, brokers and their status out.
//!
//! [`run`] competes for a Lease; whoever holds it watches what there is (`cache`), runs the
//! operator of each policy over records in Shard resources (`operators`, `store`) and reconciles
//! policies, topics and queues, each in stages: observe, validate, build, apply, status. Builders
//! (`build`) and judgements are pure; what elects is not here but in `holdfast-operator-core`.
//!
//! Invariants: a record is written only over the object that it was read in (`store`); nothing
//! that is not this operator's own is changed (`apply`); no object whose loss could lose messages
//! goes with its owner, but only in steps that the policy asks for (`policy/delete`); no more
//! than one operator acts, though nothing is lost where two do (`lease`).

mod apply;
mod backoff;
mod build;
mod cache;
mod claims;
mod client;
mod cluster;
mod conditions;
mod context;
mod controller;
mod events;
mod finalizer;
mod http;
mod lease;
mod losses;
mod metrics;
mod names;
mod operators;
mod policy;
mod queue;
mod record;
mod run;
mod settings;
mod status;
mod store;
mod topic;

#[cfg(test)]
mod tests;

pub use run::{Error, run};
pub use settings::{LeaseSettings, Pull, PullPolicy, SecretName, Settings};
