//! Replication, shard, streams and cursors as a machine without IO.
//!
//! A core takes events and the time as arguments and gives decisions back: it never sleeps,
//! spawns, reads a clock, opens a file or a socket, or draws randomness. [`Shard`] is one replica
//! of one shard: [`replica`] decides who leads and what is committed, [`state`] is the machine
//! that committed entries are applied to, and [`shard`] joins the two for the broker.
//! [`group`] coordinates consumer groups, [`batch`] reads the outside of Kafka's batches.

pub mod batch;
pub mod group;
pub mod replica;
pub mod shard;
pub mod state;

pub use replica::Replica;
pub use shard::Shard;
pub use state::State;
