//! The groups of a shard: the coordinator lives as long as the leader's epoch.

use std::collections::HashMap;

use holdfast_core::group::{Coordinator, KeepError, KeepId, Output, Token};
use holdfast_core::shard::Refusal;
use holdfast_protocol::entry::Kind;
use holdfast_protocol::group::{Answer, Error, FetchOffsets, Fetched, FetchedCursor, Request};
use holdfast_protocol::{Epoch, command, control};
use holdfast_service::GroupError;
use tokio::sync::oneshot;
use tracing::warn;

use super::append::Waiter;
use super::driver::Driver;
use super::effects::Effects;

type Reply = oneshot::Sender<Result<Answer, GroupError>>;

/// The coordinator of this epoch, and who waits for its answers.
#[derive(Debug, Default)]
pub(super) struct Groups {
    present: Option<Present>,
    next_token: u64,
}

#[derive(Debug)]
struct Present {
    epoch: Epoch,
    coordinator: Coordinator,
    replies: HashMap<Token, Reply>,
    /// Added to the monotonic clock, gives ms since 1970.
    wall_offset_ms: u64,
}

/// A change of a group on its way to be committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    epoch: Epoch,
    keep_id: KeepId,
}

impl Present {
    fn now_ms(&self, effects: &impl Effects) -> u64 {
        effects.now_ms().saturating_add(self.wall_offset_ms)
    }
}

impl<E: Effects> Driver<E> {
    /// Begins and ends the coordinator with the epoch that this replica leads.
    pub(super) fn follow_leadership(&mut self) {
        let confirmed = self.core.replica().confirmed();
        if self.groups.present.as_ref().map(|present| present.epoch) == confirmed {
            return;
        }
        if let Some(present) = self.groups.present.take() {
            let Present { coordinator, mut replies, .. } = present;
            for (token, result) in coordinator.resign() {
                if let Some(reply) = replies.remove(&token) {
                    let _ = reply.send(result.map_err(Into::into));
                }
            }
        }
        let Some(epoch) = confirmed else { return };
        let wall = u64::try_from(self.effects.wall_ms()).unwrap_or(0);
        let groups = self.core.state().groups();
        let kept = groups.map(|(name, group)| (name.clone(), group.state.clone()));
        // The upper half of what was drawn.
        let seed = (self.effects.draw() >> 64) as u64;
        let (coordinator, unreadable) = Coordinator::load(epoch, wall, kept, seed);
        for (group, error) in unreadable {
            warn!(shard = %self.shard, %group, %error, "a group's kept state can't be read; its members must join again");
        }
        self.groups.present = Some(Present {
            epoch,
            coordinator,
            replies: HashMap::new(),
            wall_offset_ms: wall.saturating_sub(self.effects.now_ms()),
        });
    }

    /// Takes a request to the coordinator.
    pub(super) fn group(&mut self, request: Request, reply: Reply) {
        let Some(present) = &mut self.groups.present else {
            let leads = self.core.replica().leads().is_some();
            let refused = if leads { GroupError::Loading } else { GroupError::NotCoordinator };
            let _ = reply.send(Err(refused));
            return;
        };
        let token = Token(self.groups.next_token);
        self.groups.next_token += 1;
        present.replies.insert(token, reply);
        let now = present.now_ms(&self.effects);
        present.coordinator.handle(now, token, request);
        self.carry_groups();
    }

    /// Tells the coordinator the time.
    pub(super) fn tick_groups(&mut self) {
        let state = self.core.state();
        let Some(present) = &mut self.groups.present else { return };
        let now = present.now_ms(&self.effects);
        if present.coordinator.next_deadline().is_some_and(|due| due <= now) {
            let has_offsets =
                |name: &str| state.group(name).is_some_and(|group| !group.cursors.is_empty());
            present.coordinator.tick(now, has_offsets);
            self.carry_groups();
        }
    }

    /// A change was committed, or leadership ended before.
    pub(super) fn kept(&mut self, kept: Kept, stored: bool) {
        let result = if stored { Ok(()) } else { Err(KeepError::LeadershipLost) };
        self.tell_kept(kept, result);
        self.carry_groups();
    }

    fn tell_kept(&mut self, kept: Kept, result: Result<(), KeepError>) {
        let Some(present) = &mut self.groups.present else { return };
        if present.epoch == kept.epoch {
            let now = present.now_ms(&self.effects);
            present.coordinator.handle_kept(now, kept.keep_id, result);
        }
    }

    /// Carries out everything that the coordinator wants done.
    fn carry_groups(&mut self) {
        loop {
            let Some(present) = &mut self.groups.present else { return };
            let Some(output) = present.coordinator.poll_output() else { return };
            let (epoch, kept_ms) =
                (present.epoch, i64::try_from(present.now_ms(&self.effects)).unwrap_or(0));
            match output {
                Output::Answer { token, result } => self.answer_group(token, result),
                Output::Fetch { token, fetch } => {
                    let fetched = self.fetch_offsets(&fetch);
                    self.answer_group(token, Ok(Answer::FetchOffsets(fetched)));
                }
                Output::Keep { keep_id, group, state } => {
                    let body = command::KeepGroup { group, state, kept_ms };
                    let placed = self.core.command(Kind::KeepGroup, &body);
                    self.await_kept(Kept { epoch, keep_id }, placed);
                }
                Output::Commit { keep_id, command } => {
                    let placed = self.core.command(Kind::CommitOffsets, &command);
                    self.await_kept(Kept { epoch, keep_id }, placed);
                }
                Output::Drop { keep_id, command } => {
                    let placed = self.core.command(Kind::DropOffsets, &command);
                    self.await_kept(Kept { epoch, keep_id }, placed);
                }
            }
        }
    }

    fn await_kept(&mut self, kept: Kept, placed: Result<holdfast_protocol::Position, Refusal>) {
        match placed {
            Ok(until) => self.committed.push(until, Waiter::Kept(kept)),
            Err(_) => self.tell_kept(kept, Err(KeepError::NotKept)),
        }
    }

    fn answer_group(&mut self, token: Token, result: Result<Answer, Error>) {
        let Some(present) = &mut self.groups.present else { return };
        if let Some(reply) = present.replies.remove(&token) {
            let _ = reply.send(result.map_err(Into::into));
        }
    }

    fn fetch_offsets(&self, fetch: &FetchOffsets) -> Vec<Fetched> {
        let group = self.core.state().group(&fetch.group);
        let one = |stream| {
            let cursor = group.and_then(|group| group.cursors.get(&stream));
            Fetched {
                stream,
                cursor: cursor.map(|cursor| FetchedCursor {
                    offset: cursor.offset,
                    leader_epoch: cursor.leader_epoch,
                    metadata: cursor.metadata.clone(),
                }),
            }
        };
        match &fetch.streams {
            Some(streams) => streams.iter().map(|stream| one(*stream)).collect(),
            None => group.into_iter().flat_map(|g| g.cursors.keys()).map(|s| one(*s)).collect(),
        }
    }

    /// The cursors of every group, for people.
    pub(super) fn group_lags(&self) -> Vec<control::GroupLag> {
        if self.core.replica().confirmed().is_none() {
            return Vec::new();
        }
        let groups = self.core.state().groups();
        groups
            .flat_map(|(name, group)| {
                group.cursors.iter().map(|(stream, cursor)| control::GroupLag {
                    group: name.clone(),
                    topic: stream.topic.0.to_vec().into(),
                    partition: stream.partition,
                    offset: cursor.offset.0,
                })
            })
            .collect()
    }
}
