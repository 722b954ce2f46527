//! What comes out of the coordinator, and what it waits for.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use holdfast_protocol::StreamId;
use holdfast_protocol::command;
use holdfast_protocol::group::{Answer, Error, Generation};

use super::ids::MemberIds;
use super::limits::CHANGES_IN_FLIGHT_MAX;
use super::member::Member;
use super::{KeepId, Output, Token};

/// What is to be done when a change is committed in the shard's log, or failed.
#[derive(Debug)]
pub(super) enum Change {
    /// The assignments of a generation: the group becomes stable.
    Generation { group: String, generation: Generation },
    /// A static member came back under another id, in a stable group.
    Replaced(Box<Replaced>),
    /// The last member is gone: nobody waits for that.
    Emptied,
    /// Cursors moved.
    Commit { group: String, token: Token, results: Vec<(StreamId, Result<(), Error>)> },
    /// Cursors dropped.
    DropOffsets { token: Token, results: Vec<(StreamId, Result<(), Error>)> },
    /// A group is dropped: one of a deletion, or for itself.
    Deleted { group: String, of: Option<(u64, usize)> },
}

/// A static member that came back under another id.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) group: String,
    pub(super) generation: Generation,
    pub(super) token: Token,
    /// Its new id.
    pub(super) member: String,
    /// Its old id, and what it was, to go back to.
    pub(super) before: (String, Member),
    /// Who led before.
    pub(super) leader_before: String,
    /// See `Join::supports_skip_assignment`.
    pub(super) supports_skip_assignment: bool,
}

/// The time, outputs not yet taken, and changes that wait for the log.
#[derive(Debug)]
pub(super) struct Effects {
    pub(super) now_ms: u64,
    pub(super) ids: MemberIds,
    pub(super) outputs: VecDeque<Output>,
    pub(super) changes: BTreeMap<KeepId, Change>,
    next_keep: u64,
}

impl Effects {
    pub(super) fn new(now_ms: u64, ids: MemberIds) -> Self {
        Self { now_ms, ids, outputs: VecDeque::new(), changes: BTreeMap::new(), next_keep: 0 }
    }

    /// The moment `after_ms` from now.
    pub(super) fn after(&self, after_ms: u64) -> u64 {
        self.now_ms.saturating_add(after_ms)
    }

    /// # Errors
    /// Where as many changes wait for the log as may.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        if self.changes.len() < CHANGES_IN_FLIGHT_MAX {
            Ok(())
        } else {
            Err(Error::CoordinatorNotAvailable)
        }
    }

    pub(super) fn answer(&mut self, token: Token, result: Result<Answer, Error>) {
        self.outputs.push_back(Output::Answer { token, result });
    }

    /// Answers where there was an error; where not, that has been or will be seen to.
    pub(super) fn answer_error(&mut self, token: Token, result: Result<(), Error>) {
        if let Err(error) = result {
            self.answer(token, Err(error));
        }
    }

    fn wait_for(&mut self, change: Change) -> KeepId {
        let keep_id = KeepId(self.next_keep);
        self.next_keep += 1;
        self.changes.insert(keep_id, change);
        keep_id
    }

    pub(super) fn keep(&mut self, group: &str, state: Bytes, change: Change) {
        let keep_id = self.wait_for(change);
        self.outputs.push_back(Output::Keep { keep_id, group: group.to_owned(), state });
    }

    pub(super) fn commit(&mut self, command: command::CommitOffsets, change: Change) {
        let keep_id = self.wait_for(change);
        self.outputs.push_back(Output::Commit { keep_id, command });
    }

    pub(super) fn drop(&mut self, command: command::DropOffsets, change: Change) {
        let keep_id = self.wait_for(change);
        self.outputs.push_back(Output::Drop { keep_id, command });
    }
}
