//! A simulated member of a consumer group, and what it says to its coordinator. What it does, and
//! when, is in `consume`.

mod ask;
mod consume;

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_protocol::group::{
    CommitOffset, CommitOffsets, Generation, Heartbeat, Join, Joined, Leave, Leaver, Protocol,
    Request, Sync,
};
use holdfast_protocol::{Offset, ShardId, StreamId};

use crate::world::SHARDS;

/// Members of each group.
const MEMBERS: usize = 2;
/// Between one thing that a member does and the next, ms.
const PAUSE_MS: u64 = 150;
/// A member that is silent for so long is dead, ms.
const SESSION_MS: u32 = 3_000;

/// The attempt of a commit whose answer nobody waits for.
pub(crate) const PARTING: u64 = u64::MAX;

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) group: String,
    pub(crate) shard: ShardId,
    id: String,
    generation: Generation,
    phase: Phase,
    /// Who coordinates, as far as it knows.
    coordinator: Option<u32>,
    attempt: u64,
    /// What it was assigned, and the next offset of each.
    streams: BTreeMap<StreamId, Progress>,
    /// What the commit on its way says, with what was known to be committed when it was sent.
    committing: Vec<(StreamId, Offset, Offset)>,
    /// What was known to be committed when it asked how far its group has come.
    expected: Vec<(StreamId, Offset)>,
    /// Losses that there were when it began.
    losses: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    next: Offset,
    committed: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Out,
    Joining,
    Syncing,
    Fetching,
    Reading,
}

/// Groups and the shards that keep them.
pub(crate) fn group_of(shard: ShardId) -> String {
    format!("group-{shard}")
}

impl Member {
    pub(crate) fn all() -> Vec<Self> {
        let of = |shard: u32| {
            (0..MEMBERS).map(move |_| Self {
                group: group_of(ShardId(shard)),
                shard: ShardId(shard),
                id: String::new(),
                generation: Generation::NONE,
                phase: Phase::Out,
                coordinator: None,
                attempt: 0,
                streams: BTreeMap::new(),
                committing: Vec::new(),
                expected: Vec::new(),
                losses: 0,
            })
        };
        (0..SHARDS).flat_map(of).collect()
    }

    fn join(&self) -> Request {
        Request::Join(Join {
            group: self.group.clone(),
            member: self.id.clone(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: SESSION_MS,
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol { name: "range".to_owned(), metadata: Bytes::new() }],
            ..Join::default()
        })
    }

    fn sync(&self, joined: &Joined, streams: usize) -> Request {
        let count = joined.members.len().max(1);
        let assigned = |number: usize| {
            let own = (0..streams).filter(|stream| stream % count == number);
            own.filter_map(|stream| u8::try_from(stream).ok()).collect::<Vec<u8>>()
        };
        let members = joined.members.iter().enumerate();
        Request::Sync(Sync {
            group: self.group.clone(),
            generation: self.generation,
            member: self.id.clone(),
            assignments: members
                .map(|(number, of)| (of.member.clone(), assigned(number).into()))
                .collect(),
            ..Sync::default()
        })
    }

    /// A commit says in the client's own words whose it is.
    fn commit(&self, number: usize, attempt: u64) -> Request {
        let offset = |(stream, _, offset): &(StreamId, Offset, Offset)| CommitOffset {
            stream: *stream,
            offset: *offset,
            leader_epoch: -1,
            metadata: format!("{number}/{attempt}"),
        };
        Request::CommitOffsets(CommitOffsets {
            group: self.group.clone(),
            generation: self.generation,
            member: self.id.clone(),
            instance: None,
            offsets: self.committing.iter().map(offset).collect(),
        })
    }

    fn heartbeat(&self) -> Request {
        Request::Heartbeat(Heartbeat {
            group: self.group.clone(),
            generation: self.generation,
            member: self.id.clone(),
            instance: None,
        })
    }

    fn leave(&self) -> Request {
        Request::Leave(Leave {
            group: self.group.clone(),
            members: vec![Leaver { member: self.id.clone(), ..Leaver::default() }],
        })
    }
}
