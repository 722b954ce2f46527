//! Fetches and answers between the core's words and the peer protocol's.

use holdfast_core::replica::{Answer, Fetch, FetchKey, Outcome};
use holdfast_protocol::{Epoch, Position, ShardId, peer, wire};

/// A peer message that is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Wire(#[from] wire::Error),
    #[error("an answer says nothing")]
    Empty,
}

pub(crate) fn fetch_to_wire(shard: ShardId, fetch: &Fetch) -> peer::Fetch {
    peer::Fetch {
        shard: shard.0,
        incarnation: fetch.incarnation.0.to_vec().into(),
        epoch: fetch.key.epoch.0,
        position: fetch.key.position.0,
        last_epoch: fetch.key.last_epoch.0,
        held: fetch.held.0,
        committed: fetch.committed.0,
        gaps_until: fetch.gaps_until.0,
    }
}

pub(crate) fn fetch_from_wire(wire: &peer::Fetch) -> Result<(ShardId, Fetch), Error> {
    let key = FetchKey {
        epoch: Epoch(wire.epoch),
        position: Position(wire.position),
        last_epoch: Epoch(wire.last_epoch),
    };
    let fetch = Fetch {
        key,
        incarnation: wire::incarnation(&wire.incarnation)?,
        held: Position(wire.held),
        committed: Position(wire.committed),
        gaps_until: Position(wire.gaps_until),
    };
    Ok((ShardId(wire.shard), fetch))
}

pub(crate) fn answer_to_wire(shard: ShardId, answer: Answer) -> peer::Answer {
    use peer::answer::Outcome as Wire;
    let outcome = match answer.outcome {
        Outcome::Data { entries, committed, next } => {
            Wire::Data(peer::Data { entries, committed: committed.0, next: next.0 })
        }
        Outcome::Diverged { epoch, end } => {
            Wire::Diverged(peer::Diverged { epoch: epoch.0, end: end.0 })
        }
        Outcome::Refused { epoch } => Wire::Refused(peer::Refused { epoch: epoch.0, reason: 0 }),
        Outcome::NeedCheckpoint => Wire::NeedCheckpoint(peer::NeedCheckpoint { clean_point: 0 }),
    };
    peer::Answer {
        shard: shard.0,
        epoch: answer.key.epoch.0,
        position: answer.key.position.0,
        last_epoch: answer.key.last_epoch.0,
        outcome: Some(outcome),
    }
}

pub(crate) fn answer_from_wire(wire: peer::Answer) -> Result<(ShardId, Answer), Error> {
    use peer::answer::Outcome as Wire;
    let outcome = match wire.outcome.ok_or(Error::Empty)? {
        Wire::Data(data) => Outcome::Data {
            entries: data.entries,
            committed: Position(data.committed),
            next: Position(data.next),
        },
        Wire::Diverged(diverged) => {
            Outcome::Diverged { epoch: Epoch(diverged.epoch), end: Position(diverged.end) }
        }
        Wire::Refused(refused) => Outcome::Refused { epoch: Epoch(refused.epoch) },
        Wire::NeedCheckpoint(_) => Outcome::NeedCheckpoint,
    };
    let key = FetchKey {
        epoch: Epoch(wire.epoch),
        position: Position(wire.position),
        last_epoch: Epoch(wire.last_epoch),
    };
    Ok((ShardId(wire.shard), Answer { key, outcome }))
}
