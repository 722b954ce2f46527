//! Groups and their cursors.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_protocol::{Offset, StreamId, command};

use super::{Change, State, stream_id};

/// A group's progress through one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The next message to be consumed.
    pub offset: Offset,
    /// Leader epoch of the last consumed message, where the client told it.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
    /// When it was committed, ms since 1970.
    pub committed_ms: i64,
}

/// A group as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its cursors.
    pub cursors: BTreeMap<StreamId, Cursor>,
    /// The coordinator's own words; empty where it kept none.
    pub state: Bytes,
    /// When they were kept, ms since 1970.
    pub kept_ms: i64,
}

impl State {
    pub(super) fn commit_offsets(&mut self, commit: command::CommitOffsets) -> Change {
        let group = self.groups.entry(commit.group).or_default();
        for wire in commit.cursors {
            group.cursors.insert(stream_id(&wire.topic, wire.partition), wire.into());
        }
        Change::Group
    }

    pub(super) fn drop_offsets(&mut self, drop: &command::DropOffsets) -> Change {
        if drop.group_too {
            self.groups.remove(&drop.group);
        } else if let Some(group) = self.groups.get_mut(&drop.group) {
            for stream in &drop.streams {
                group.cursors.remove(&stream_id(&stream.topic, stream.partition));
            }
            if group.cursors.is_empty() && group.state.is_empty() {
                self.groups.remove(&drop.group);
            }
        }
        Change::Group
    }

    pub(super) fn keep_group(&mut self, keep: command::KeepGroup) -> Change {
        let group = self.groups.entry(keep.group).or_default();
        group.state = keep.state;
        group.kept_ms = keep.kept_ms;
        Change::Group
    }
}

impl From<command::Cursor> for Cursor {
    fn from(wire: command::Cursor) -> Self {
        Self {
            offset: Offset(wire.offset),
            leader_epoch: wire.leader_epoch,
            metadata: wire.metadata,
            committed_ms: wire.committed_ms,
        }
    }
}
