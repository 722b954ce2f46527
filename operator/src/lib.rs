//! Observes brokers and records, and carries out what the operator core plans.
//!
//! One task, [`operator`], owns the planner of `holdfast-operator-core`: everything that happens
//! reaches it as one queue of events, and what it decides is carried out in order. Around it are
//! a session with every broker ([`session`]), the record store ([`store`]), the declarer of
//! topics (`topics`) and the observer of streams (`observer`). None of them decides anything.
//!
//! What is on Kubernetes and what is on one machine differ in the store and in [`Settings`]
//! alone.

mod catalog;
mod client;
mod contact;
pub mod convert;
mod observer;
pub mod operator;
mod session;
mod settings;
mod snapshot;
pub mod store;
pub mod tls;
mod topics;
pub mod wanted;

pub use contact::{AWAY_AFTER, Contact};
pub use operator::{DeleteTopic, Handle, Operator, StopBroker};
pub use settings::{BrokerAddress, Settings};
pub use snapshot::{PartitionView, Snapshot, TopicView};
