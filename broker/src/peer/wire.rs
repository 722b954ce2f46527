//! Fetches and answers between the core's words and the peer protocol's.

use holdfast_core::replica::{Answer, Fetch, FetchKey, Outcome};
use holdfast_protocol::{ShardId, control, peer, wire};

/// A peer message that is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field that can't be.
    #[error(transparent)]
    Wire(#[from] wire::Error),
    /// No outcome.
    #[error("an answer says nothing")]
    Empty,
}

/// A fetch as it is sent.
#[must_use]
pub fn fetch_to_wire(shard: ShardId, fetch: &Fetch) -> peer::Fetch {
    peer::Fetch {
        shard: shard.0,
        incarnation: fetch.incarnation.0.to_vec().into(),
        epoch: fetch.key.epoch.0,
        position: fetch.key.position.0,
        last_epoch: fetch.key.last_epoch.0,
        held: fetch.held.0,
        committed: fetch.committed.0,
        gaps_until: fetch.gaps_until.0,
        record: fetch.record.map(Into::into),
    }
}

/// A fetch as it came.
///
/// # Errors
/// [`Error`].
pub fn fetch_from_wire(sent: &peer::Fetch) -> Result<(ShardId, Fetch), Error> {
    let key = FetchKey {
        epoch: wire::epoch(sent.epoch, "epoch")?,
        position: wire::position(sent.position, "position")?,
        last_epoch: wire::epoch(sent.last_epoch, "last_epoch")?,
    };
    let fetch = Fetch {
        key,
        incarnation: wire::incarnation(&sent.incarnation)?,
        held: wire::position(sent.held, "held")?,
        committed: wire::position(sent.committed, "committed")?,
        gaps_until: wire::position(sent.gaps_until, "gaps_until")?,
        record: sent.record.map(wire::version).transpose()?,
    };
    Ok((ShardId(sent.shard), fetch))
}

/// An answer as it is sent.
#[must_use]
pub fn answer_to_wire(shard: ShardId, answer: Answer) -> peer::Answer {
    use peer::answer::Outcome as Wire;
    let outcome = match answer.outcome {
        Outcome::Data { entries, committed, next } => {
            Wire::Data(peer::Data { entries, committed: committed.0, next: next.0 })
        }
        Outcome::Diverged { epoch, end } => {
            Wire::Diverged(peer::Diverged { epoch: epoch.0, end: end.0 })
        }
        Outcome::Refused { epoch } => Wire::Refused(peer::Refused { epoch: epoch.0, reason: 0 }),
        Outcome::Behind(record) => Wire::Behind(control::ShardRecord::from(&*record)),
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

/// An answer as it came.
///
/// # Errors
/// [`Error`].
pub fn answer_from_wire(sent: peer::Answer) -> Result<(ShardId, Answer), Error> {
    use peer::answer::Outcome as Wire;
    let outcome = match sent.outcome.ok_or(Error::Empty)? {
        Wire::Data(data) => Outcome::Data {
            entries: data.entries,
            committed: wire::position(data.committed, "committed")?,
            next: wire::position(data.next, "next")?,
        },
        Wire::Diverged(diverged) => Outcome::Diverged {
            epoch: wire::epoch(diverged.epoch, "epoch")?,
            end: wire::position(diverged.end, "end")?,
        },
        Wire::Refused(refused) => Outcome::Refused { epoch: wire::epoch(refused.epoch, "epoch")? },
        Wire::Behind(record) => Outcome::Behind(Box::new(record.try_into()?)),
        Wire::NeedCheckpoint(_) => Outcome::NeedCheckpoint,
    };
    let key = FetchKey {
        epoch: wire::epoch(sent.epoch, "epoch")?,
        position: wire::position(sent.position, "position")?,
        last_epoch: wire::epoch(sent.last_epoch, "last_epoch")?,
    };
    Ok((ShardId(sent.shard), Answer { key, outcome }))
}
