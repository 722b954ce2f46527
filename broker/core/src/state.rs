//! The machine that committed entries are applied to, in order: streams, cursors, the catalog.
//!
//! It is a function of the log's committed prefix and nothing else, so every replica has the
//! same. Entries above the commit position wait outside (`shard/tail.rs`).

mod catalog;
mod checkpoint;
mod cursors;
mod producers;
mod streams;

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_protocol::entry::Kind;
use holdfast_protocol::{Header, Offset, Position, StreamId};
use prost::Message;

use crate::batch::{Batch, HEADER_LEN, Stamp};
use crate::replica::History;

pub use catalog::CatalogState;
pub use cursors::{Cursor, Group};
pub use producers::{Producers, Sequence};
pub use streams::Stream;

/// A command as it waits to be committed: what of an entry its application needs.
#[derive(Clone, Debug)]
pub struct Command {
    /// The entry's header.
    pub header: Header,
    /// The producer's mark, where the entry is a batch with one.
    pub stamp: Option<Stamp>,
    /// The body, but for batches, whose inside the state does not need.
    pub body: Bytes,
}

impl Command {
    /// Bytes of a body that suffice where the entry is a batch.
    pub const BATCH_HEAD_LEN: usize = HEADER_LEN;

    /// Takes what is needed from an entry's header and its body; of a batch, its first
    /// [`Command::BATCH_HEAD_LEN`] bytes are enough.
    #[must_use]
    pub fn new(header: Header, body: &Bytes) -> Self {
        match header.kind {
            Kind::Append => {
                Self { header, stamp: stamp_of(body, header.count), body: Bytes::new() }
            }
            Kind::EpochStart
            | Kind::TrimStream
            | Kind::DropStream
            | Kind::CommitOffsets
            | Kind::DropOffsets
            | Kind::KeepGroup
            | Kind::DeclareTopic
            | Kind::DeleteTopic => Self { header, stamp: None, body: body.clone() },
        }
    }
}

/// The producer's mark of a batch that was verified when it was appended.
fn stamp_of(body: &Bytes, count: u32) -> Option<Stamp> {
    let head = body.get(..HEADER_LEN)?;
    Batch::stamp(head, i32::try_from(count).ok()?.checked_sub(1)?)
}

/// What changed for those who watch from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Messages of the stream were committed, or its start moved.
    Stream(StreamId),
    /// The stream is gone.
    StreamGone(StreamId),
    /// The catalog is another.
    Catalog,
    /// Only cursors or groups.
    Group,
    /// Nothing that is seen.
    Nothing,
}

/// The state of one shard at a committed position.
#[derive(Clone, Debug, Default)]
pub struct State {
    position: Position,
    streams: BTreeMap<StreamId, Stream>,
    groups: BTreeMap<String, Group>,
    catalog: CatalogState,
}

impl State {
    /// Everything below is applied.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// A stream, if anything was ever appended to it.
    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// All streams.
    pub fn streams(&self) -> impl Iterator<Item = (&StreamId, &Stream)> {
        self.streams.iter()
    }

    /// A group, if anything of it was ever kept.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = (&String, &Group)> {
        self.groups.iter()
    }

    /// The topics; empty but on shard 0.
    #[must_use]
    pub fn catalog(&self) -> &CatalogState {
        &self.catalog
    }

    /// Applies the next committed command.
    ///
    /// # Errors
    /// [`ApplyError`]; then nothing has changed, and nothing that follows may be applied either.
    ///
    /// # Panics
    /// Where the command is below the state's position: it was applied already.
    pub fn apply(&mut self, command: &Command) -> Result<Change, ApplyError> {
        let header = &command.header;
        assert!(header.position >= self.position, "an entry is applied once");
        let change = match header.kind {
            Kind::EpochStart => Change::Nothing,
            Kind::Append => self.append(command)?,
            Kind::TrimStream => self.trim(header.stream, &decode(&command.body)?),
            Kind::DropStream => self.drop_stream(header.stream),
            Kind::CommitOffsets => self.commit_offsets(decode(&command.body)?),
            Kind::DropOffsets => self.drop_offsets(&decode(&command.body)?),
            Kind::KeepGroup => self.keep_group(decode(&command.body)?),
            Kind::DeclareTopic => self.catalog.declare(&decode(&command.body)?),
            Kind::DeleteTopic => self.catalog.delete(&decode(&command.body)?),
        };
        self.position = header.position.next();
        Ok(change)
    }

    /// The state as bytes, with the history of the log that led to it.
    #[must_use]
    pub fn encode(&self, history: &History) -> Vec<u8> {
        checkpoint::encode(self, history)
    }

    /// Reads a state back.
    ///
    /// # Errors
    /// Where the bytes are not a checkpoint.
    pub fn decode(bytes: &[u8]) -> Result<(Self, History), CheckpointError> {
        checkpoint::decode(bytes)
    }
}

/// Bytes that are not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not the message that a checkpoint is.
    #[error("the checkpoint can't be read: {0}")]
    Decode(String),
    /// A field that has no such value.
    #[error("the checkpoint's field `{0}` can't be")]
    Field(&'static str),
}

/// A committed entry that no leader of ours can have written: its checksum is right, so it comes
/// from a bug, or from somebody who may write checksums. To apply nothing of it and go on would
/// let replicas differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The body is not that of a command of its kind.
    #[error("its body can't be read: {0}")]
    Body(#[from] prost::DecodeError),
    /// Its messages do not follow those before.
    #[error("its first offset in {stream} is {found}, where {expected} follows")]
    Offset {
        /// The stream.
        stream: StreamId,
        /// The end of the stream.
        expected: Offset,
        /// The entry's first offset.
        found: Offset,
    },
}

/// Reads the body of a committed command.
fn decode<M: Message + Default>(body: &Bytes) -> Result<M, ApplyError> {
    Ok(M::decode(body.clone())?)
}

/// A stream named in a command; one that is not 16 bytes names no stream that there is.
fn stream_id(topic: &[u8], partition: u32) -> StreamId {
    let topic = holdfast_protocol::TopicId::from_slice(topic).unwrap_or_default();
    StreamId { topic, partition }
}

#[cfg(test)]
mod tests;
