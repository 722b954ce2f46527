//! What administrators ask about one broker: its disk, and the replicas of the catalog.

use holdfast_protocol::{BrokerId, Epoch, Incarnation, Position, StreamId};

/// The directory in which a broker keeps its replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Path of the directory.
    pub path: String,
    /// Size of the file system that it is on, bytes; `None` where the system does not tell.
    pub total_bytes: Option<u64>,
    /// What the broker may still write there, bytes.
    pub usable_bytes: Option<u64>,
    /// The streams of which this broker holds replicas; those without entries may be left out.
    pub streams: Vec<StreamSize>,
}

/// What a replica of a stream takes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSize {
    /// The stream.
    pub stream: StreamId,
    /// Bytes of its entries in the log of its shard.
    pub bytes: u64,
}

/// The shard that holds the catalog, as this broker knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogShard {
    /// Its leader; `None` while there is none.
    pub leader: Option<BrokerId>,
    /// Its epoch.
    pub epoch: Epoch,
    /// Up to here this broker knows it to be committed.
    pub committed: Position,
    /// Its replicas.
    pub replicas: Vec<CatalogReplica>,
}

/// One replica of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogReplica {
    /// On this broker.
    pub broker: BrokerId,
    /// Its log, and where that ends. `None` where this broker can't know: only the leader hears
    /// of the others.
    pub log: Option<(Incarnation, Position)>,
}
