//! One replica as this broker runs it: an actor around the core, its log, its flusher.
//!
//! The actor is the only one that touches core and log. Everyone else sends it events, or looks
//! at the [`View`] that it keeps up to date.

mod actor;
mod append;
mod carry;
mod flusher;
mod groups;
mod housekeeping;
mod open;
mod view;

use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::replica::{Answer, Fetch, History};
use holdfast_core::state::State;
use holdfast_protocol::group;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::{
    BrokerId, Member, Offset, Position, ShardId, ShardRecord, StreamId, TopicId, Version,
};
use holdfast_service::{Append, AppendError, Appended, CatalogError, GroupError};
use tokio::sync::{mpsc, oneshot};

use crate::peer::server::AnswerBox;

pub use open::OpenError;
pub(crate) use open::open;
pub(crate) use view::{Report, View};

/// Events that wait for one actor. Senders wait when it is full.
const EVENTS_MAX: usize = 1024;
/// Batches that wait for one actor. Doors wait when it is full.
const APPENDS_MAX: usize = 256;

/// What an actor is told.
#[derive(Debug)]
pub(crate) enum Event {
    Record(ShardRecord),
    Fetch(BrokerId, Fetch, AnswerBox),
    /// The stream whose answers wait there has ended.
    FollowerGone(BrokerId, AnswerBox),
    Answer(BrokerId, Answer),
    Connected(BrokerId),
    Durable(holdfast_log::Flushed),
    Checkpointed(holdfast_log::Checkpointed),
    Built(Box<Image>),
    BuildFailed,
    IsrRefused(Version),
    Ask(Ask),
    /// Stop in order: flush, keep a checkpoint, close the log.
    Stop(oneshot::Sender<()>),
}

/// What is asked of a leader's actor, but for batches.
#[derive(Debug)]
pub(crate) enum Ask {
    Declare(Topic, oneshot::Sender<Result<(), CatalogError>>),
    DeleteTopic(TopicId, oneshot::Sender<Result<(), CatalogError>>),
    DeleteRecords(StreamId, Option<Offset>, oneshot::Sender<Result<Offset, AppendError>>),
    Group(group::Request, oneshot::Sender<Result<group::Answer, GroupError>>),
    Checkpoint(oneshot::Sender<Option<CheckpointImage>>),
    Groups(oneshot::Sender<Vec<holdfast_protocol::control::GroupLag>>),
    /// The followers that a leader knows, and up to where their logs match its own.
    Followers(oneshot::Sender<Vec<(Member, Position)>>),
}

/// A batch on its way to the actor.
#[derive(Debug)]
pub(crate) struct AppendCommand {
    pub(crate) append: Append,
    pub(crate) reply: oneshot::Sender<Result<Appended, AppendError>>,
}

/// The state of a leader, for a replica that is built anew.
#[derive(Debug)]
pub(crate) struct CheckpointImage {
    pub(crate) bytes: Bytes,
    pub(crate) log_start: Position,
}

/// A checkpoint that a replica is built from.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) state: State,
    pub(crate) history: History,
    pub(crate) bytes: Bytes,
    pub(crate) log_start: Position,
}

/// How the rest of the broker reaches a shard.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) shard: ShardId,
    pub(crate) view: Arc<View>,
    events: mpsc::Sender<Event>,
    appends: mpsc::Sender<AppendCommand>,
}

impl Handle {
    /// Tells the actor, waiting while it has much to do. An actor that ended hears nothing.
    pub(crate) async fn send(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    /// Asks the actor; `None` where it ended.
    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (tx, rx) = oneshot::channel();
        self.send(Event::Ask(ask(tx))).await;
        rx.await.ok()
    }

    /// Hands a batch to the actor.
    pub(crate) async fn append(&self, command: AppendCommand) -> Result<(), AppendError> {
        self.appends.send(command).await.map_err(|_| AppendError::NotLeader)
    }

    /// The leader's state as a checkpoint.
    pub(crate) async fn checkpoint_image(&self) -> Option<CheckpointImage> {
        self.ask(Ask::Checkpoint).await.flatten()
    }

    /// Stops the actor in order.
    pub(crate) async fn stop(&self) {
        let (tx, rx) = oneshot::channel();
        self.send(Event::Stop(tx)).await;
        let _ = rx.await;
    }
}
