//! One replica as this broker runs it: an actor around the core, its log, its flusher.
//!
//! The actor is the only one that touches core and log. Everyone else sends it events, or looks
//! at the [`View`] that it keeps up to date.

mod actor;
mod append;
mod carry;
mod driver;
mod effects;
mod flusher;
mod groups;
mod housekeeping;
mod left;
mod node;
mod open;
mod rot;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::replica::{Fetch, History};
use holdfast_core::state::State;
use holdfast_protocol::group;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::{BrokerId, Member, Offset, Position, ShardId, StreamId, TopicId};
use holdfast_service::{Append, AppendError, Appended, CatalogError, GroupError};
use tokio::sync::{mpsc, oneshot};

use crate::peer::server::AnswerBox;

pub(crate) use actor::open;
pub use driver::{Driver, Input};
pub use effects::Effects;
pub use open::OpenError;
pub use view::{Report, View};

/// Events that wait for one actor. Senders wait when it is full.
const EVENTS_MAX: usize = 1024;
/// Batches that wait for one actor. Doors wait when it is full.
const APPENDS_MAX: usize = 256;

/// What an actor is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// A follower fetches, and where its answers wait.
    Fetch(BrokerId, Fetch, AnswerBox),
    /// The stream whose answers wait there has ended.
    FollowerGone(BrokerId, AnswerBox),
    /// What the driver is told as it is.
    Input(Input),
    /// Stop in order: flush, keep a checkpoint, close the log.
    Stop(oneshot::Sender<()>),
}

impl From<Input> for Event {
    fn from(input: Input) -> Self {
        Self::Input(input)
    }
}

/// What is asked of a leader's actor, but for batches.
#[derive(Debug)]
pub enum Ask {
    /// A topic is to be there, as said.
    Declare(Topic, oneshot::Sender<Result<(), CatalogError>>),
    /// A topic and its messages are to go.
    DeleteTopic(TopicId, oneshot::Sender<Result<(), CatalogError>>),
    /// Messages before this offset are to go; without it, all there are.
    DeleteRecords(StreamId, Option<Offset>, oneshot::Sender<Result<Offset, AppendError>>),
    /// A request to a group's coordinator.
    Group(group::Request, oneshot::Sender<Result<group::Answer, GroupError>>),
    /// The leader's state, for a replica that is built anew.
    Checkpoint(oneshot::Sender<Option<CheckpointImage>>),
    /// The cursors of every group.
    Groups(oneshot::Sender<Vec<holdfast_protocol::control::GroupLag>>),
    /// The followers that a leader knows, and up to where their logs match its own.
    Followers(oneshot::Sender<Vec<(Member, Position)>>),
}

/// A batch on its way to the actor.
#[derive(Debug)]
pub struct AppendCommand {
    /// The batch.
    pub append: Append,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Appended, AppendError>>,
}

/// The state of a leader, for a replica that is built anew.
#[derive(Debug)]
pub struct CheckpointImage {
    /// The encoded state.
    pub bytes: Bytes,
    /// Where the leader's log starts.
    pub log_start: Position,
}

/// A checkpoint that a replica is built from.
#[derive(Debug)]
pub struct Image {
    /// What the bytes say.
    pub state: State,
    /// The epochs below it.
    pub history: History,
    /// The encoded state.
    pub bytes: Bytes,
    /// Where the leader's log starts.
    pub log_start: Position,
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
    pub(crate) async fn send(&self, event: impl Into<Event>) {
        let _ = self.events.send(event.into()).await;
    }

    /// Asks the actor; `None` where it ended.
    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (tx, rx) = oneshot::channel();
        self.send(Input::Ask(ask(tx))).await;
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
