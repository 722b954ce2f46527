//! Cursors: who may move or drop them. The cursors themselves are in the shard's state.

use holdfast_protocol::group::{Answer, CommitOffset, CommitOffsets, DropOffsets, Error};
use holdfast_protocol::{StreamId, command, mark};

use super::effects::{Change, Effects};
use super::limits::{COMMIT_BYTES_MAX, OFFSET_METADATA_BYTES_MAX};
use super::state::{Group, Phase};
use super::subscription::CONSUMER;
use super::{Coordinator, KeepError, Token};

/// The outcome for each stream of a request.
type Results = Vec<(StreamId, Result<(), Error>)>;

/// What a cursor takes in the log at most beside its metadata, bytes.
const CURSOR_BYTES: usize = 64;

impl Coordinator {
    pub(super) fn commit_offsets(&mut self, token: Token, commit: CommitOffsets) {
        let name = commit.group.clone();
        let result = self.fx.check_room().and_then(|()| {
            if commit.generation.0 >= 0 && !self.groups.contains_key(&name) {
                return Err(Error::IllegalGeneration);
            }
            let (group, fx) = self.open(&name)?;
            group.commit_offsets(fx, token, commit)
        });
        self.fx.answer_error(token, result);
        // With members nothing is due earlier than before, so the group's place may stay.
        if self.groups.get(&name).is_some_and(|group| group.members.is_empty()) {
            self.settle(&name);
        }
    }

    pub(super) fn drop_offsets(&mut self, token: Token, drop: &DropOffsets) {
        let result = self.fx.check_room().and_then(|()| {
            let (group, fx) = self.find(&drop.group).ok_or(Error::GroupIdNotFound)?;
            group.drop_offsets(fx, token, drop)
        });
        self.fx.answer_error(token, result);
    }
}

impl Group {
    fn commit_offsets(
        &mut self,
        fx: &mut Effects,
        token: Token,
        commit: CommitOffsets,
    ) -> Result<(), Error> {
        self.check_commit(&commit)?;
        // A commit is a sign of life, too.
        self.heard_of(fx, &commit.member);
        let results: Results =
            commit.offsets.iter().map(|offset| (offset.stream, check_metadata(offset))).collect();
        let committed_ms = i64::try_from(fx.now_ms).unwrap_or(i64::MAX);
        let cursors: Vec<command::Cursor> = commit
            .offsets
            .into_iter()
            .zip(&results)
            .filter(|(_, (_, result))| result.is_ok())
            .map(|(offset, _)| cursor(offset, committed_ms))
            .collect();
        if cursors.is_empty() {
            fx.answer(token, Ok(Answer::CommitOffsets(results)));
            return Ok(());
        }
        self.is_recorded = true;
        self.commits_in_flight += 1;
        let group = commit.group;
        let command = command::CommitOffsets { group: group.clone(), cursors };
        let change = Change::Commit { group, token, results };
        fx.commit(command, change);
        Ok(())
    }

    /// Members commit in their generation; others while there are no members.
    fn check_commit(&self, commit: &CommitOffsets) -> Result<(), Error> {
        let bytes = commit
            .offsets
            .iter()
            .map(|offset| CURSOR_BYTES + offset.metadata.len().min(OFFSET_METADATA_BYTES_MAX))
            .sum::<usize>();
        if bytes > COMMIT_BYTES_MAX {
            return Err(Error::InvalidCommitOffsetSize);
        }
        let is_empty = match self.phase {
            Phase::Dead => return Err(Error::CoordinatorNotAvailable),
            Phase::Empty { .. } => true,
            Phase::Preparing { .. } | Phase::Completing { .. } | Phase::Stable { .. } => false,
        };
        if commit.generation.0 < 0 && is_empty {
            return Ok(());
        }
        let instance = commit.instance.as_deref();
        if commit.generation.0 < 0 && commit.member.is_empty() && instance.is_none() {
            return Err(Error::UnknownMember);
        }
        self.check_generation(&commit.member, instance, commit.generation)?;
        if self.members.get(&commit.member).is_some_and(|member| !member.is_assigned) {
            // What it read before may be another's to read in this generation.
            mark!(CommitInRebalance);
            return Err(Error::RebalanceInProgress);
        }
        Ok(())
    }

    fn drop_offsets(
        &mut self,
        fx: &mut Effects,
        token: Token,
        drop: &DropOffsets,
    ) -> Result<(), Error> {
        match self.phase {
            Phase::Dead => return Err(Error::GroupIdNotFound),
            Phase::Empty { .. } => {}
            Phase::Preparing { .. } | Phase::Completing { .. } | Phase::Stable { .. } => {
                if self.protocol_type.as_deref() != Some(CONSUMER) {
                    return Err(Error::NonEmptyGroup);
                }
            }
        }
        let mut results: Results = Vec::new();
        let mut streams = Vec::new();
        for topic in &drop.topics {
            let result = if self.is_subscribed(&topic.name) {
                Err(Error::GroupSubscribedToTopic)
            } else {
                streams.extend(topic.streams.iter().copied().map(stream));
                Ok(())
            };
            results.extend(topic.streams.iter().map(|id| (*id, result.clone())));
        }
        if streams.is_empty() {
            fx.answer(token, Ok(Answer::DropOffsets(results)));
            return Ok(());
        }
        if streams.len().saturating_mul(CURSOR_BYTES) > COMMIT_BYTES_MAX {
            return Err(Error::InvalidCommitOffsetSize);
        }
        let command = command::DropOffsets { group: drop.group.clone(), streams, group_too: false };
        fx.drop(command, Change::DropOffsets { token, results });
        Ok(())
    }
}

/// What those who moved or dropped cursors are told when that is committed, or failed.
pub(super) fn outcome(results: Results, kept: Result<(), KeepError>) -> Results {
    let Err(error) = kept else {
        return results;
    };
    let failed =
        |(stream, result): (StreamId, Result<(), Error>)| (stream, result.and(Err(error.into())));
    results.into_iter().map(failed).collect()
}

fn check_metadata(offset: &CommitOffset) -> Result<(), Error> {
    if offset.metadata.len() > OFFSET_METADATA_BYTES_MAX {
        return Err(Error::OffsetMetadataTooLarge {
            bytes: offset.metadata.len(),
            max: OFFSET_METADATA_BYTES_MAX,
        });
    }
    Ok(())
}

fn cursor(offset: CommitOffset, committed_ms: i64) -> command::Cursor {
    command::Cursor {
        topic: offset.stream.topic.0.to_vec().into(),
        partition: offset.stream.partition,
        offset: offset.offset.0,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata,
        committed_ms,
    }
}

fn stream(id: StreamId) -> command::Stream {
    command::Stream { topic: id.topic.0.to_vec().into(), partition: id.partition }
}
