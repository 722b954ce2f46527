//! The shipped replication and operator cores, checked in every order of events.
//!
//! A [`State`] is three replicas of one shard ([`holdfast_core::Replica`]), their disks, the
//! messages between them, the record store and who writes it: the shipped planners
//! ([`holdfast_operator_core::Planner`]), two of which may believe that they are the active one,
//! or an *arbitrary operator* that does whatever a stale one could do. An [`Action`] is one thing
//! that happens: a message arrives, arrives twice or is lost, a disk flushes, a broker stops and
//! perhaps loses what was not flushed, somebody sees an old record, a write's fate is unknown, the
//! store is restored from a backup. After every one of them [`invariants`] are judged.
//!
//! The same [`Cluster`] is searched breadth first by stateright, at bounds where nothing is left
//! out, and walked at random from a seed ([`walk`]) where it is far too large for that. [`quiet`]
//! runs a fair schedule from a state that was reached, to see that what can recover does.
//!
//! Rules are taken away one at a time ([`setup::Missing`]) to see that the loss is noticed. Where
//! a rule is the shell's and not a core's, the environment here stands for the shell
//! ([`setup::Shell`]).

pub mod action;
mod cluster;
mod disk;
mod enabled;
pub mod invariants;
mod node;
mod operator;
pub mod quiet;
pub mod rows;
pub mod setup;
mod state;
mod store;
pub mod walk;

pub use action::Action;
pub use cluster::Cluster;
pub use invariants::Invariant;
pub use setup::Setup;
pub use state::State;
