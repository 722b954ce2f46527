//! Words that operator and broker share: ids, epochs, membership, entries, gRPC.
//!
//! Everything here is data. What it means for safety is decided in `holdfast-core` (brokers)
//! and `holdfast-operator-core` (the operator); this crate only keeps the words the same on
//! both sides, on disk and on the wire. Generated code for the gRPC services is behind the
//! feature `grpc`, so that the cores need neither tonic nor tokio.

/// As `tonic::include_proto!`, usable without tonic.
macro_rules! tonic_include {
    ($package:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
}

pub mod entry;
pub mod group;
pub mod ids;
pub mod lineage;
pub mod mark;
pub mod placement;
pub mod record;
pub mod topic;
pub mod wire;

pub use entry::{Entry, Header, Kind};
pub use ids::{BrokerId, Epoch, Incarnation, Offset, Position, ShardId, StreamId, TopicId};
pub use lineage::Lineage;
pub use record::{FlushMode, LossRange, Member, ShardRecord, Start, UncleanElection, Version};

/// Bodies of the entries of a shard's log and of its checkpoints (`proto/command.proto`).
#[allow(missing_docs, clippy::all, clippy::too_many_lines, unreachable_pub)] // generated
pub mod command {
    tonic_include!("holdfast.command.v1");
}

/// Operator to broker: assignments, in-sync-replica requests, heartbeats (`proto/control.proto`).
#[allow(missing_docs, clippy::all, clippy::too_many_lines, unreachable_pub)] // generated
pub mod control {
    tonic_include!("holdfast.control.v1");
}

/// Broker to broker: replication of shards (`proto/peer.proto`).
#[allow(missing_docs, clippy::all, clippy::too_many_lines, unreachable_pub)] // generated
pub mod peer {
    tonic_include!("holdfast.peer.v1");
}
