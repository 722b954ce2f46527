//! Appending to streams and reading from them.

use bytes::Bytes;
use holdfast_protocol::{Epoch, Offset, StreamId};
use tokio::sync::oneshot;

use crate::error::{AppendError, ReadError};

/// When an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Kafka acks=0: at once, the outcome is told to nobody.
    None,
    /// Kafka acks=1: when the leader holds it (durable in Sync, written in Async).
    Leader,
    /// Kafka acks=all, a publisher confirm, `SEND_OK`: when it is committed.
    Committed,
}

/// One batch to append.
#[derive(Clone, Debug)]
pub struct Append {
    /// Where to.
    pub stream: StreamId,
    /// One whole Kafka `RecordBatch` v2 as the client sent it. The broker verifies its CRC,
    /// counts and sizes, and sets its base offset and leader epoch.
    pub batch: Bytes,
    /// When to answer.
    pub durability: Durability,
    /// The largest batch that the topic allows, bytes.
    pub batch_bytes_max: u32,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first message. For a repeated idempotent batch, that of the first time.
    pub base_offset: Offset,
    /// First offset that the stream still has.
    pub start_offset: Offset,
}

/// An outcome that is still to come.
///
/// A sender dropped without an answer (the broker is stopping) is an unknown fate.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<Result<T, AppendError>>);

impl<T> Pending<T> {
    /// Wraps the receiving end.
    #[must_use]
    pub fn new(receiver: oneshot::Receiver<Result<T, AppendError>>) -> Self {
        Self(receiver)
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    /// Why the batch is not stored, or that its fate is unknown ([`AppendError::is_unknown`]).
    pub async fn outcome(self) -> Result<T, AppendError> {
        self.0.await.unwrap_or(Err(AppendError::LeadershipLost))
    }
}

/// How much to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// Most bytes.
    pub bytes_max: usize,
    /// Give the first batch even where it is larger.
    pub at_least_one: bool,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Whole batches, one after the other, in pieces to be written as they are.
    pub batches: Vec<Bytes>,
    /// The bounds of the stream when it was read.
    pub offsets: StreamOffsets,
}

/// The bounds of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOffsets {
    /// The first offset that it still has.
    pub start: Offset,
    /// One past the last committed message (Kafka's high watermark).
    pub end: Offset,
    /// The epoch in which its shard is led.
    pub epoch: Epoch,
}

impl StreamOffsets {
    /// That a read may begin at `offset`: at one that is there, or at the end.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] otherwise.
    pub fn check(self, offset: Offset) -> Result<(), ReadError> {
        let Self { start, end, .. } = self;
        match (start..=end).contains(&offset) {
            true => Ok(()),
            false => Err(ReadError::OffsetOutOfRange { offset, start, end }),
        }
    }
}
