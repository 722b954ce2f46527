//! The consensus record between its own types and the control protocol's.

use crate::control;
use crate::ids::{BrokerId, Epoch, Incarnation, Position, ShardId};
use crate::lineage::{LEFT_MAX, Left, Lineage, RUNS_MAX, Run};
use crate::record::{FlushMode, LossRange, Member, ShardRecord, Start, Version};

/// A record on the wire that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A message lacks a field.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A report of one shard comes with the record of another.
    #[error("the record of shard {found} comes in a report of shard {shard}")]
    Shard {
        /// The shard that is reported.
        shard: ShardId,
        /// The shard of the record.
        found: ShardId,
    },
    /// A number that nothing ever reaches, and that nothing could follow.
    #[error("the field `{0}` is too large to be")]
    Range(&'static str),
    /// An incarnation has not 16 bytes.
    #[error("an incarnation has {0} bytes instead of 16")]
    Incarnation(usize),
}

/// Reads an incarnation.
///
/// # Errors
/// Where it has not 16 bytes.
pub fn incarnation(bytes: &[u8]) -> Result<Incarnation, Error> {
    Incarnation::from_slice(bytes).ok_or(Error::Incarnation(bytes.len()))
}

/// Reads a position.
///
/// # Errors
/// Where it is beyond [`Position::MAX`].
pub fn position(number: u64, field: &'static str) -> Result<Position, Error> {
    Some(Position(number)).filter(|it| *it <= Position::MAX).ok_or(Error::Range(field))
}

/// Reads an epoch.
///
/// # Errors
/// Where it is beyond [`Epoch::MAX`].
pub fn epoch(number: u32, field: &'static str) -> Result<Epoch, Error> {
    Some(Epoch(number)).filter(|it| *it <= Epoch::MAX).ok_or(Error::Range(field))
}

/// Reads a version.
///
/// # Errors
/// Where one of its parts is beyond that of [`Version::MAX`].
pub fn version(wire: control::Version) -> Result<Version, Error> {
    let most = Version::MAX;
    let fits = wire.generation <= most.generation && wire.revision <= most.revision;
    if fits { Ok(wire.into()) } else { Err(Error::Range("version")) }
}

impl From<Version> for control::Version {
    fn from(version: Version) -> Self {
        Self { generation: version.generation, revision: version.revision, writer: version.writer }
    }
}

impl From<control::Version> for Version {
    fn from(wire: control::Version) -> Self {
        Self { generation: wire.generation, revision: wire.revision, writer: wire.writer }
    }
}

impl From<Member> for control::Member {
    fn from(member: Member) -> Self {
        Self { broker: member.broker.0, incarnation: member.incarnation.0.to_vec().into() }
    }
}

impl TryFrom<control::Member> for Member {
    type Error = Error;

    fn try_from(wire: control::Member) -> Result<Self, Error> {
        Ok(Self { broker: BrokerId(wire.broker), incarnation: incarnation(&wire.incarnation)? })
    }
}

impl From<Start> for control::Start {
    fn from(start: Start) -> Self {
        Self { broker: start.broker.0, counter: start.counter, process: start.process }
    }
}

impl From<control::Start> for Start {
    fn from(wire: control::Start) -> Self {
        Self { broker: BrokerId(wire.broker), counter: wire.counter, process: wire.process }
    }
}

impl From<LossRange> for control::LossRange {
    fn from(loss: LossRange) -> Self {
        Self { from: loss.from.0, to: loss.to.0 }
    }
}

impl TryFrom<control::LossRange> for LossRange {
    type Error = Error;

    fn try_from(wire: control::LossRange) -> Result<Self, Error> {
        Ok(Self { from: position(wire.from, "loss")?, to: position(wire.to, "loss")? })
    }
}

impl From<Run> for control::Run {
    fn from(run: Run) -> Self {
        Self { first: Some(run.first.into()), last: run.last }
    }
}

impl From<Left> for control::Left {
    fn from(left: Left) -> Self {
        Self { root: Some(left.root.into()), by: left.by }
    }
}

fn lineage(runs: Vec<control::Run>, left: Vec<control::Left>) -> Result<Lineage, Error> {
    if runs.len() > RUNS_MAX || left.len() > LEFT_MAX {
        return Err(Error::Range("lineage"));
    }
    let run = |run: control::Run| {
        let first = version(run.first.ok_or(Error::Missing("lineage"))?)?;
        let is_run = first.revision <= run.last && run.last <= Version::MAX.revision;
        if is_run { Ok(Run { first, last: run.last }) } else { Err(Error::Range("lineage")) }
    };
    let left_by = |left: control::Left| {
        let root = version(left.root.ok_or(Error::Missing("lineage"))?)?;
        Ok(Left { root, by: left.by })
    };
    Ok(Lineage {
        runs: runs.into_iter().map(run).collect::<Result<_, _>>()?,
        left: left.into_iter().map(left_by).collect::<Result<_, _>>()?,
    })
}

impl From<&ShardRecord> for control::ShardRecord {
    fn from(record: &ShardRecord) -> Self {
        let flush = match record.flush {
            FlushMode::Sync => control::FlushMode::Sync,
            FlushMode::Async => control::FlushMode::Async,
        };
        Self {
            shard: record.shard.0,
            version: Some(record.version.into()),
            epoch: record.epoch.0,
            leader: record.leader.map(Into::into),
            isr: record.isr.iter().map(|member| (*member).into()).collect(),
            replicas: record.replicas.iter().map(|broker| broker.0).collect(),
            min_in_sync_replicas: record.min_in_sync_replicas,
            flush: flush.into(),
            unclean_epoch: record.unclean_epoch.map(|epoch| epoch.0),
            loss: record.loss.map(Into::into),
            starts: record.starts.iter().map(|start| (*start).into()).collect(),
            runs: record.lineage.runs.iter().map(|run| (*run).into()).collect(),
            left: record.lineage.left.iter().map(|left| (*left).into()).collect(),
        }
    }
}

impl TryFrom<control::ShardRecord> for ShardRecord {
    type Error = Error;

    fn try_from(wire: control::ShardRecord) -> Result<Self, Error> {
        let flush = match wire.flush() {
            control::FlushMode::Sync => FlushMode::Sync,
            control::FlushMode::Async => FlushMode::Async,
        };
        Ok(Self {
            shard: ShardId(wire.shard),
            version: version(wire.version.ok_or(Error::Missing("version"))?)?,
            epoch: epoch(wire.epoch, "epoch")?,
            leader: wire.leader.map(TryInto::try_into).transpose()?,
            isr: wire.isr.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            replicas: wire.replicas.into_iter().map(BrokerId).collect(),
            min_in_sync_replicas: wire.min_in_sync_replicas,
            flush,
            unclean_epoch: wire
                .unclean_epoch
                .map(|unclean| epoch(unclean, "unclean_epoch"))
                .transpose()?,
            loss: wire.loss.map(TryInto::try_into).transpose()?,
            starts: wire.starts.into_iter().map(Into::into).collect(),
            lineage: lineage(wire.runs, wire.left)?.into(),
        })
    }
}
