//! What a protocol door may ask of the broker behind it.
//!
//! A door converts and speaks; it never decides what is committed. It sees streams, cursors,
//! groups and the catalog through [`Service`], and neither the log nor replication. The broker
//! implements the trait; doors are tested against a second implementation in memory.

pub mod cluster;
pub mod error;
pub mod inspect;
pub mod stream;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::group;
use holdfast_protocol::topic::{Catalog, Topic};
use holdfast_protocol::{BrokerId, Epoch, Offset, ShardId, StreamId, TopicId};
use tokio::sync::watch;

pub use cluster::{ClusterView, ListenerAddress, ShardView};
pub use error::{AppendError, CatalogError, GroupError, ReadError};
pub use inspect::{CatalogReplica, CatalogShard, Disk, StreamSize};
pub use stream::{Append, Appended, Durability, Pending, Read, ReadLimit, StreamOffsets};

/// The broker, as a door sees it.
pub trait Service: Clone + Send + Sync + 'static {
    /// This broker.
    fn broker(&self) -> BrokerId;

    /// Brokers and the leaders of shards, as last heard from the operator.
    fn cluster(&self) -> Arc<ClusterView>;

    /// All topics, as of the newest committed catalog that this broker has.
    fn catalog(&self) -> Arc<Catalog>;

    /// The shard that holds `stream`.
    fn shard_of(&self, stream: StreamId) -> ShardId;

    /// The shard that coordinates `group`.
    fn shard_of_group(&self, group: &str) -> ShardId;

    /// Hands one batch to the leader of the stream's shard, waiting while too much is under way
    /// (back-pressure). Batches submitted one after the other are appended in that order. The
    /// outcome comes through the answer.
    fn submit(
        &self,
        append: Append,
    ) -> impl Future<Output = Result<Pending<Appended>, AppendError>> + Send;

    /// Committed batches of `stream` from the one that holds `offset` on, as they lie in the
    /// log (Kafka `RecordBatch` v2, one after the other, whole). Empty at the end. At least one
    /// batch is given however small the limit, where `limit.at_least_one`.
    fn read(
        &self,
        stream: StreamId,
        offset: Offset,
        limit: ReadLimit,
    ) -> impl Future<Output = Result<Read, ReadError>> + Send;

    /// The bounds of `stream`, on its leader.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] or [`ReadError::UnknownStream`].
    fn offsets(&self, stream: StreamId) -> Result<StreamOffsets, ReadError>;

    /// Changes whenever messages of `stream` are committed, its start moves, or its leadership
    /// on this broker ends: wait on it, then ask again. Holds the end offset.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] or [`ReadError::UnknownStream`].
    fn progress(&self, stream: StreamId) -> Result<watch::Receiver<Offset>, ReadError>;

    /// The first message of `stream` whose timestamp is at or after `timestamp_ms`, with its
    /// timestamp; `None` where there is none.
    fn offset_for_timestamp(
        &self,
        stream: StreamId,
        timestamp_ms: i64,
    ) -> impl Future<Output = Result<Option<(Offset, i64)>, ReadError>> + Send;

    /// The largest epoch at or below `epoch` in which something was appended to `stream`, and
    /// the end offset of it (KIP-101, KIP-279); `None` where the stream has none so old.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] or [`ReadError::UnknownStream`].
    fn epoch_end(
        &self,
        stream: StreamId,
        epoch: Epoch,
    ) -> Result<Option<(Epoch, Offset)>, ReadError>;

    /// Drops the messages of `stream` below `before` (`None`: all that are committed); gives
    /// the new start, once that is committed.
    fn delete_records(
        &self,
        stream: StreamId,
        before: Option<Offset>,
    ) -> impl Future<Output = Result<Offset, AppendError>> + Send;

    /// Declares a topic, or declares it anew with more partitions or another configuration
    /// (found by its id). Answers once committed, and, where that takes but a moment, seen in
    /// this broker's own catalog. Any broker may be asked: one that does not lead shard 0
    /// forwards to the leader, and gives [`CatalogError::NotLeader`] only where it finds none.
    fn declare_topic(&self, topic: Topic) -> impl Future<Output = Result<(), CatalogError>> + Send;

    /// Deletes a topic and all its messages, for ever. Answers as [`Self::declare_topic`] does,
    /// and may be asked of any broker likewise.
    fn delete_topic(&self, id: TopicId) -> impl Future<Output = Result<(), CatalogError>> + Send;

    /// A new id for a producer, never given before by any broker of the policy.
    ///
    /// # Errors
    /// [`GroupError::NotCoordinator`] where this broker leads nothing at present: try another.
    fn new_producer_id(&self) -> Result<i64, GroupError>;

    /// A fresh topic id.
    fn new_topic_id(&self) -> TopicId;

    /// Asks the coordinator of a group, where this broker is that. The answer may take as long
    /// as the group's rebalance timeout.
    fn group(
        &self,
        shard: ShardId,
        request: group::Request,
    ) -> impl Future<Output = Result<group::Answer, GroupError>> + Send;

    /// Where this broker keeps its replicas, and how large they are.
    fn disk(&self) -> Disk;

    /// The replicas of the shard that holds the catalog, as far as this broker knows.
    fn catalog_shard(&self) -> impl Future<Output = CatalogShard> + Send;
}

/// A batch and how it lies in memory; cheap to clone.
pub type BatchBytes = Bytes;
