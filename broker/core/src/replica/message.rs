//! What replicas of a shard say to each other, and what a replica asks of the broker around it.

use bytes::Bytes;
use holdfast_protocol::entry::Entries;
use holdfast_protocol::{BrokerId, Epoch, Incarnation, Member, Position, ShardRecord, Version};

/// Names a fetch: an answer counts only while the follower is still where it was when it asked.
///
/// Epoch and position alone are not enough: after a truncation the follower may have refetched
/// to the same position, and a repeated answer would then cut below the commit position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FetchKey {
    /// The epoch that the follower follows.
    pub epoch: Epoch,
    /// The end of the follower's log.
    pub position: Position,
    /// Epoch of its last entry; 0 for none.
    pub last_epoch: Epoch,
}

/// "My log matches yours up to here, as far as I know: check, and go on."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Where the follower is.
    pub key: FetchKey,
    /// Its log.
    pub incarnation: Incarnation,
    /// Up to here its log counts as held: durable in Sync, written in Async.
    pub held: Position,
    /// The commit position that it knows.
    pub committed: Position,
    /// While the replica is built from a checkpoint, gaps below this position are taken.
    pub gaps_until: Position,
    /// The newest record that it has persisted; `None` where it does not tell, as older releases.
    pub record: Option<Version>,
}

/// The answer to a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// As in the fetch.
    pub key: FetchKey,
    /// What came of it.
    pub outcome: Outcome,
}

impl Answer {
    /// Bytes of entries in it.
    #[must_use]
    pub fn data_len(&self) -> usize {
        match &self.outcome {
            Outcome::Data { entries, .. } => entries.len(),
            Outcome::Diverged { .. }
            | Outcome::Refused { .. }
            | Outcome::Behind(_)
            | Outcome::NeedCheckpoint => 0,
        }
    }
}

/// What came of a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Entries from the asked position on; perhaps none.
    Data {
        /// Whole entries.
        entries: Bytes,
        /// Commit position of the leader.
        committed: Position,
        /// The position after the entries.
        next: Position,
    },
    /// The logs part: cut to the smaller of `end` and the own end of `epoch`.
    Diverged {
        /// The leader's largest epoch not above the follower's last.
        epoch: Epoch,
        /// Where that epoch ends in the leader's log.
        end: Position,
    },
    /// Nothing is said: not the leader, or of another epoch.
    Refused {
        /// The present epoch of who refuses.
        epoch: Epoch,
    },
    /// The leader has this record, and the follower an older one: nothing is committed under it
    /// before the follower has taken it.
    Behind(Box<ShardRecord>),
    /// The leader no longer has everything from the asked position on.
    NeedCheckpoint,
}

/// What a replica asks of the broker around it. They are to be carried out in their order: what
/// follows a [`Output::Persist`] or [`Output::Truncate`] may only happen once that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Keep the record durably.
    Persist(ShardRecord),
    /// Append these to the log.
    Append(Entries),
    /// Cut the log to end here, durably, the suffix set aside.
    Truncate(Position),
    /// Send the fetch to this leader.
    Fetch(BrokerId, Fetch),
    /// Read the log from the key's position on, below `end`, and answer the follower with it.
    Serve {
        /// The follower.
        to: BrokerId,
        /// Its fetch.
        key: FetchKey,
        /// Entries below this position may be sent.
        end: Position,
        /// Commit position to tell.
        committed: Position,
    },
    /// Answer the follower.
    Answer(BrokerId, Answer),
    /// Get a checkpoint from this leader and build the replica anew from it.
    Bootstrap(BrokerId),
    /// Ask the operator for this membership in place of the one of the record.
    RequestIsr(IsrRequest),
    /// This replica may not go on: a person must look. It leaves the in-sync replicas.
    Halt(Fault),
}

/// A leader's wish for other in-sync replicas.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IsrRequest {
    /// The version of the record that the leader knows.
    pub expected: Version,
    /// The epoch in which it leads.
    pub epoch: Epoch,
    /// The members wanted.
    pub isr: Vec<Member>,
}

/// Why a replica stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The leader's history asks for a cut below what this replica knows to be committed.
    #[error(
        "the leader of epoch {epoch} asks to cut the log to {to}, below the commit position \
         {committed}; refused: no unclean election was recorded, so one of the two logs has lost \
         or forked committed entries"
    )]
    TruncateBelowCommitted {
        /// The leader's epoch.
        epoch: Epoch,
        /// Where it would cut.
        to: Position,
        /// What is known to be committed.
        committed: Position,
    },
    /// The leader sent what can't follow this log.
    #[error("the leader sent entries that don't follow this log: {0}")]
    Entries(String),
    /// What is committed can't be applied.
    #[error(
        "the committed entry at position {position} can't be applied: {why}; no leader of this \
         release writes such an entry"
    )]
    Apply {
        /// The entry.
        position: Position,
        /// What is wrong with it.
        why: String,
    },
}
