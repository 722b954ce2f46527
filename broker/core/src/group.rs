//! The coordinator of the consumer groups of one shard.
//!
//! A machine without IO for Kafka's classic group protocol: [`Coordinator::handle`] takes
//! requests, [`Coordinator::tick`] the time, [`Coordinator::poll_output`] gives back answers and
//! changes for the shard's log, and [`Coordinator::handle_kept`] is told what became of those.
//! The leader of a shard makes one at the start of its epoch ([`Coordinator::load`]) from what
//! the applied state holds, and ends it with the epoch ([`Coordinator::resign`]).
//!
//! Invariants:
//! - Every token is answered exactly once: by [`Output::Answer`], or by whoever takes an
//!   [`Output::Fetch`].
//! - A generation's assignments, the new id of a static member in a stable group, moved cursors
//!   and deletions are told to no client before the log has committed them. So a coordinator
//!   that takes over knows every assignment that a member may be working on.
//! - A group's generation only grows, for as long as anything of the group is kept.
//! - The leader of a group is a member of it.
//! - Everything held is bounded (`limits`). Outputs are bounded by the caller, who takes
//!   them all after each call.
//!
//! What is left to others: cursors are in the shard's state, which answers [`Output::Fetch`];
//! names of topics are the door's. A group that this coordinator knows exists, whether or not it
//! has cursors, so only [`Coordinator::tick`] asks for those: a group that has had neither
//! members nor cursors for a while is dropped. Cursors themselves don't expire: a group that
//! committed once keeps its place until it is deleted or its topics are (Kafka would forget it
//! after `offsets.retention.minutes`).

mod delete;
mod describe;
mod effects;
mod expiry;
mod ids;
mod join;
mod kept;
mod leave;
pub mod limits;
mod member;
mod offsets;
mod rebalance;
mod state;
mod subscription;
mod sync;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use holdfast_protocol::group::{Answer, Error, FetchOffsets, Request};
use holdfast_protocol::{Epoch, command};

use delete::Deletion;
use effects::{Change, Effects};
use ids::MemberIds;
use limits::{GROUP_ID_BYTES_MAX, GROUPS_MAX};
use state::Group;

pub use kept::KeptError;

/// Names a request, for its answer. The caller's own; never twice at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names a change on its way to the log. Only of one coordinator: the next begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeepId(pub u64);

/// Why a change is not known to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// It is not in the log and will not be: too few replicas in sync, or the disk failed.
    #[error("the change could not be kept")]
    NotKept,
    /// Leadership ended, and its fate is unknown.
    #[error("leadership ended before the change was committed")]
    LeadershipLost,
}

impl From<KeepError> for Error {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::NotKept => Self::CoordinatorNotAvailable,
            KeepError::LeadershipLost => Self::NotCoordinator,
        }
    }
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Answer a request.
    Answer {
        /// The request.
        token: Token,
        /// The answer.
        result: Result<Answer, Error>,
    },
    /// Answer a request from the cursors in the shard's committed state.
    Fetch {
        /// The request.
        token: Token,
        /// What it asks for.
        fetch: FetchOffsets,
    },
    /// Append `KeepGroup`, stamped with the caller's time; then [`Coordinator::handle_kept`].
    Keep {
        /// For the outcome.
        keep_id: KeepId,
        /// The group.
        group: String,
        /// For [`Coordinator::load`], and nobody else to read.
        state: Bytes,
    },
    /// Append this; then [`Coordinator::handle_kept`].
    Commit {
        /// For the outcome.
        keep_id: KeepId,
        /// The body of the entry.
        command: command::CommitOffsets,
    },
    /// Append this; then [`Coordinator::handle_kept`].
    Drop {
        /// For the outcome.
        keep_id: KeepId,
        /// The body of the entry.
        command: command::DropOffsets,
    },
}

/// The groups of one shard, in one epoch of its leader.
///
/// All times are ms since 1970 by a clock that does not go backwards (the wall clock at the
/// start, and the monotonic one from there); they are kept with cursors.
#[derive(Debug)]
pub struct Coordinator {
    groups: BTreeMap<String, Group>,
    /// When to look at which group: one entry for each that has anything due.
    schedule: BTreeSet<(u64, String)>,
    deletions: BTreeMap<u64, Deletion>,
    next_deletion: u64,
    fx: Effects,
}

impl Coordinator {
    /// Takes over the groups that the shard's committed state holds: the name of each, and its
    /// newest kept state, which has no bytes where there are only cursors. Members get a fresh
    /// session. `seed` is drawn anew for every epoch; member ids follow from it.
    ///
    /// Groups whose state can't be read are named along with the reason, for the log: they go on
    /// without members, who will have to join again.
    #[must_use]
    pub fn load(
        epoch: Epoch,
        now_ms: u64,
        groups: impl IntoIterator<Item = (String, Bytes)>,
        seed: u64,
    ) -> (Self, Vec<(String, KeptError)>) {
        let mut coordinator = Self {
            groups: BTreeMap::new(),
            schedule: BTreeSet::new(),
            deletions: BTreeMap::new(),
            next_deletion: 0,
            fx: Effects::new(now_ms, MemberIds::new(seed, epoch)),
        };
        let mut unreadable = Vec::new();
        for (name, state) in groups {
            let group = if state.is_empty() {
                recorded(&name, now_ms)
            } else {
                kept::decode(&name, &state, now_ms).unwrap_or_else(|error| {
                    unreadable.push((name.clone(), error));
                    recorded(&name, now_ms)
                })
            };
            coordinator.groups.insert(name.clone(), group);
            coordinator.settle(&name);
        }
        (coordinator, unreadable)
    }

    /// Takes a request; its answer comes out as soon as it can be given.
    pub fn handle(&mut self, now_ms: u64, token: Token, request: Request) {
        self.set_now(now_ms);
        if is_about_groups(&request) {
            self.expire_due();
        }
        match request {
            Request::Join(join) => self.join(token, join),
            Request::Sync(sync) => self.sync(token, &sync),
            Request::Heartbeat(heartbeat) => self.heartbeat(token, &heartbeat),
            Request::Leave(leave) => self.leave(token, leave),
            Request::Describe(describe) => self.describe(token, describe),
            Request::List(list) => self.list(token, &list),
            Request::DeleteGroups(delete) => self.delete_groups(token, delete),
            Request::CommitOffsets(commit) => self.commit_offsets(token, commit),
            Request::FetchOffsets(fetch) => {
                self.fx.outputs.push_back(Output::Fetch { token, fetch });
            }
            Request::DropOffsets(drop) => self.drop_offsets(token, &drop),
        }
    }

    /// Takes the outcome of a change: committed, or not. Changes are told of in the order in
    /// which they came out. One that this coordinator did not ask for is none of its business.
    pub fn handle_kept(&mut self, now_ms: u64, keep_id: KeepId, result: Result<(), KeepError>) {
        self.set_now(now_ms);
        let Some(change) = self.fx.changes.remove(&keep_id) else {
            return;
        };
        match change {
            Change::Generation { group, generation } => {
                if let Some((group, fx)) = self.find(&group) {
                    group.generation_kept(fx, generation, result);
                }
                self.settle(&group);
            }
            Change::Replaced(change) => {
                let name = change.group.clone();
                if let Some((group, fx)) = self.find(&name) {
                    group.replaced(fx, *change, result.is_ok());
                }
                self.settle(&name);
            }
            // Not keeping that a group is empty costs members in it that time out.
            Change::Emptied => {}
            Change::Commit { group, token, results } => {
                if let Some((group, _)) = self.find(&group) {
                    group.commits_in_flight = group.commits_in_flight.saturating_sub(1);
                }
                let answer = Answer::CommitOffsets(offsets::outcome(results, result));
                self.fx.answer(token, Ok(answer));
            }
            Change::DropOffsets { token, results } => {
                let answer = Answer::DropOffsets(offsets::outcome(results, result));
                self.fx.answer(token, Ok(answer));
            }
            Change::Deleted { group, of } => self.deleted(&group, of, result),
        }
    }

    /// Does what is due at `now_ms`. `has_offsets` tells whether the shard's applied state holds
    /// any cursor of a group.
    pub fn tick(&mut self, now_ms: u64, has_offsets: impl Fn(&str) -> bool) {
        self.set_now(now_ms);
        for name in self.due() {
            if let Some((group, fx)) = self.find(&name) {
                group.tick(fx, &has_offsets);
            }
            self.settle(&name);
        }
    }

    /// Ends the sessions and waits that are over, ahead of the next tick.
    fn expire_due(&mut self) {
        for name in self.due() {
            if let Some((group, fx)) = self.find(&name) {
                group.expire(fx);
            }
            self.settle(&name);
        }
    }

    /// The groups in which something is due.
    fn due(&self) -> Vec<String> {
        let due = self.schedule.iter().take_while(|(due_ms, _)| *due_ms <= self.fx.now_ms);
        due.map(|(_, name)| name.clone()).collect()
    }

    /// When to call [`Coordinator::tick`] next, ms; it may find nothing to do. `None`: not
    /// before another request.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.schedule.first().map(|(due_ms, _)| *due_ms)
    }

    /// The next thing to be done outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.fx.outputs.pop_front()
    }

    /// Ends with the leader's epoch: the answers still to be given. Whoever has no answer yet is
    /// told to look for the new coordinator.
    #[must_use]
    pub fn resign(self) -> Vec<(Token, Result<Answer, Error>)> {
        let mut answers = Vec::new();
        let mut refuse = Vec::new();
        for output in self.fx.outputs {
            match output {
                Output::Answer { token, result } => answers.push((token, result)),
                Output::Fetch { token, .. } => refuse.push(token),
                Output::Keep { .. } | Output::Commit { .. } | Output::Drop { .. } => {}
            }
        }
        for change in self.fx.changes.into_values() {
            match change {
                Change::Commit { token, .. } | Change::DropOffsets { token, .. } => {
                    refuse.push(token);
                }
                // Who waits for these is found with the groups and deletions.
                Change::Generation { .. }
                | Change::Replaced(_)
                | Change::Emptied
                | Change::Deleted { .. } => {}
            }
        }
        refuse.extend(self.deletions.values().map(|deletion| deletion.token));
        for member in self.groups.values().flat_map(|group| group.members.values()) {
            refuse.extend([member.join, member.sync].into_iter().flatten());
        }
        let refused = refuse.into_iter();
        answers.extend(refused.map(|token| (token, Err(Error::NotCoordinator))));
        answers
    }

    fn set_now(&mut self, now_ms: u64) {
        self.fx.now_ms = self.fx.now_ms.max(now_ms);
    }

    fn find(&mut self, name: &str) -> Option<(&mut Group, &mut Effects)> {
        let group = self.groups.get_mut(name)?;
        Some((group, &mut self.fx))
    }

    /// The group, made where there is none. The caller settles it, which forgets it again where
    /// nothing came of it.
    fn open(&mut self, name: &str) -> Result<(&mut Group, &mut Effects), Error> {
        if !(1..=GROUP_ID_BYTES_MAX).contains(&name.len()) {
            return Err(Error::InvalidGroupId);
        }
        if !self.groups.contains_key(name) {
            if self.groups.len() >= GROUPS_MAX {
                return Err(Error::TooManyGroups(self.groups.len()));
            }
            let group = Group::new(name, self.fx.now_ms);
            self.groups.insert(name.to_owned(), group);
        }
        self.find(name).ok_or(Error::CoordinatorNotAvailable)
    }

    /// After a change to a group: puts it where its next deadline is, or forgets it.
    fn settle(&mut self, name: &str) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        if group.is_forgettable() {
            self.forget(name);
            return;
        }
        let due_ms = group.due_ms();
        if due_ms == group.scheduled_ms {
            return;
        }
        if let Some(scheduled_ms) = group.scheduled_ms {
            self.schedule.remove(&(scheduled_ms, name.to_owned()));
        }
        group.scheduled_ms = due_ms;
        if let Some(due_ms) = due_ms {
            self.schedule.insert((due_ms, name.to_owned()));
        }
    }

    fn forget(&mut self, name: &str) {
        let group = self.groups.remove(name);
        if let Some(scheduled_ms) = group.and_then(|group| group.scheduled_ms) {
            self.schedule.remove(&(scheduled_ms, name.to_owned()));
        }
    }
}

/// Whether the answer tells of members, or depends on there being none: those whose session is
/// over must not count then. A member's own request still saves a session that nobody has ended.
fn is_about_groups(request: &Request) -> bool {
    match request {
        Request::Describe(_)
        | Request::List(_)
        | Request::DeleteGroups(_)
        | Request::DropOffsets(_) => true,
        Request::Join(_)
        | Request::Sync(_)
        | Request::Heartbeat(_)
        | Request::Leave(_)
        | Request::CommitOffsets(_)
        | Request::FetchOffsets(_) => false,
    }
}

/// A group of which the log holds something, but nothing that can be gone on with.
fn recorded(name: &str, now_ms: u64) -> Group {
    let mut group = Group::new(name, now_ms);
    group.is_recorded = true;
    group
}
