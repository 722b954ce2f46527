//! Why the broker did not do what a door asked.
//!
//! Every refusal says whether the message is definitely not stored or its fate is unknown.

use holdfast_protocol::{Offset, group};

/// An append that was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Not stored: this broker does not lead the stream's shard.
    #[error("this broker does not lead the stream's shard")]
    NotLeader,
    /// Not stored: there is no such stream here.
    #[error("there is no such stream")]
    UnknownStream,
    /// Not stored: fewer replicas are in sync than the policy demands.
    #[error("fewer replicas are in sync than minInSyncReplicas demands")]
    NotEnoughReplicas,
    /// Not stored: the batch is larger than the topic's maxMessageBytes.
    #[error("the batch has {bytes} bytes, the topic allows {max}")]
    TooLarge {
        /// Size of the batch.
        bytes: usize,
        /// What the topic allows.
        max: u32,
    },
    /// Not stored: the bytes are not a batch, or its checksum is wrong.
    #[error("the batch is corrupt: {0}")]
    Corrupt(String),
    /// Not stored: a batch that may not be appended here (control, transactional, compacted
    /// topic without key, ...).
    #[error("the batch is not allowed here: {0}")]
    Invalid(String),
    /// Not stored: a sequence number that does not follow the producer's last.
    #[error("the sequence number {found} does not follow; {expected} was expected")]
    OutOfOrderSequence {
        /// The first sequence number of the batch.
        found: i32,
        /// The one that would follow.
        expected: i32,
    },
    /// Not stored: the producer's epoch is older than one already seen.
    #[error("the producer epoch {found} is older than {current}")]
    ProducerFenced {
        /// Epoch of the batch.
        found: i16,
        /// The newest seen.
        current: i16,
    },
    /// Not stored: the disk of the leader is full or failed.
    #[error("the leader can't write: {0}")]
    Storage(String),
    /// Unknown fate: leadership ended before the batch was committed.
    #[error("leadership ended before the batch was committed; its fate is unknown")]
    LeadershipLost,
    /// Not stored: an offset that the stream does not have (deleting records).
    #[error("the offset {0} is not in the stream")]
    OffsetOutOfRange(Offset),
}

impl AppendError {
    /// Whether the message may be stored all the same.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::LeadershipLost)
    }
}

/// A read that gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This broker does not lead the stream's shard.
    #[error("this broker does not lead the stream's shard")]
    NotLeader,
    /// The broker leads, but its epoch is not yet confirmed: try again at once.
    #[error("the leader is not ready yet")]
    NotReady,
    /// There is no such stream here.
    #[error("there is no such stream")]
    UnknownStream,
    /// The offset is below the start or above the end.
    #[error("the offset {offset} is not between {start} and {end}")]
    OffsetOutOfRange {
        /// As asked.
        offset: Offset,
        /// First offset there is.
        start: Offset,
        /// One past the last.
        end: Offset,
    },
    /// The disk gave an error, or damaged bytes.
    #[error("the stream can't be read: {0}")]
    Storage(String),
}

/// A change to the catalog that was not made, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// No leader of shard 0 is known, or it could not be reached.
    #[error("the catalog has no leader at present")]
    NotLeader,
    /// Fewer replicas are in sync than the policy demands.
    #[error("fewer replicas are in sync than minInSyncReplicas demands")]
    NotEnoughReplicas,
    /// Another topic has the name.
    #[error("another topic is named `{0}`")]
    NameTaken(String),
    /// No topic has the id.
    #[error("there is no such topic")]
    UnknownTopic,
    /// Partitions can't be taken away.
    #[error("the topic has {have} partitions and can't be shrunk to {asked}")]
    FewerPartitions {
        /// What it has.
        have: u32,
        /// What was asked.
        asked: u32,
    },
    /// The policy's bound on topics is reached.
    #[error("there are {0} topics already, which is the most; delete some")]
    TooManyTopics(usize),
    /// The disk of the leader is full or failed.
    #[error("the leader can't write: {0}")]
    Storage(String),
    /// Leadership ended before the change was committed: it may have been made.
    #[error("leadership ended before the change was committed; its fate is unknown")]
    LeadershipLost,
}

/// A group request that no coordinator answered, or that it refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// This broker does not coordinate the group.
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    /// It does, but has not confirmed its epoch yet: try again.
    #[error("the coordinator is loading")]
    Loading,
    /// The coordinator refuses.
    #[error(transparent)]
    Group(#[from] group::Error),
}
