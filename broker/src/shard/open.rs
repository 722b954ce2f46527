//! Opening a replica: recover the log, decide whether it is still the log it was, replay its tail.

use holdfast_core::Shard;
use holdfast_core::replica::{History, Recovered as Log, Replica};
use holdfast_core::state::{CheckpointError, Command, State};
use holdfast_log::{Boot, Meta, Recovered, ShardLog};
use holdfast_protocol::{
    Epoch, FlushMode, Incarnation, Position, ShardId, ShardRecord, control, mark,
};
use prost::Message;
use tracing::{info, warn};

use super::effects::Effects;

/// Why a replica can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log.
    #[error(transparent)]
    Log(#[from] holdfast_log::Error),
    /// The checkpoint's checksum holds, but its content can't be.
    #[error("shard {0}: {1}")]
    Checkpoint(ShardId, #[source] CheckpointError),
    /// The record beside the log can't be read.
    #[error("shard {0}: the consensus record on the volume can't be read")]
    Record(ShardId),
    /// No thread could be started.
    #[error("shard {0}: the flusher can't be started: {1}")]
    Thread(ShardId, #[source] std::io::Error),
}

/// Keeps the log's incarnation where no loss is possible, and renews it where it is. Gives the
/// checkpoint that may still be used.
pub(super) fn settle_identity(
    effects: &mut impl Effects,
    shard: ShardId,
    boot: Boot,
    log: &mut ShardLog,
    recovered: Recovered,
) -> Result<Option<Vec<u8>>, OpenError> {
    let record = record_of(shard, log.meta())?;
    let lossy = record.is_some_and(|record| record.flush == FlushMode::Async)
        && !recovered.clean
        && !boot.same_kernel_boot;
    let why = match &recovered.damage {
        _ if recovered.fresh => Some("the volume is new".to_owned()),
        Some(damage) => Some(damage.to_string()),
        None if log.clean_point() > log.checkpoint_position().unwrap_or_default() => {
            Some("it was being built from a checkpoint that is not here".to_owned())
        }
        None if boot.damaged => Some("the volume's own file was damaged".to_owned()),
        None if boot.rolled_back => Some("the volume was put back to an older state".to_owned()),
        None if lossy => Some("unflushed entries may be lost: the machine stopped".to_owned()),
        None => None,
    };
    let Some(why) = why else {
        return Ok(recovered.checkpoint.map(|(_, bytes)| bytes));
    };
    let unfilled = log.clean_point() > log.checkpoint_position().unwrap_or_default();
    if log.durable() < log.clean_point() {
        mark!(RenewedUnfilled);
    } else if recovered.damage.is_some() {
        mark!(RenewedDamaged);
    } else if boot.rolled_back {
        mark!(RenewedRolledBack);
    } else if lossy {
        mark!(RenewedLossy);
    }
    let incarnation = new_incarnation(effects);
    if recovered.fresh {
        info!(%shard, %incarnation, "a new replica");
    } else {
        warn!(%shard, %incarnation, %why, "this replica is not the one it was; it must catch up again");
    }
    if recovered.damage.is_some() || unfilled {
        begin_anew(log, incarnation)?;
        return Ok(None);
    }
    let meta = Meta { incarnation, ..log.meta().clone() };
    log.write_meta(&meta)?;
    Ok(recovered.checkpoint.map(|(_, bytes)| bytes))
}

/// Sets the log aside and begins an empty one under another name. The name first: under the old
/// one an empty log could be taken for the whole one.
pub(super) fn begin_anew(
    log: &mut ShardLog,
    incarnation: Incarnation,
) -> Result<(), holdfast_log::Error> {
    let meta = Meta { incarnation, committed: Position(0), ..log.meta().clone() };
    log.write_meta(&meta)?;
    log.reset(Position(0), Vec::new(), Position(0))
}

/// As [`recover`], for a log that was just opened. Segments below what is known to be durable are
/// not read at an open, so that rot in them may be met here first; it is rot all the same.
pub(super) fn recover_or_begin_anew(
    effects: &mut impl Effects,
    shard: ShardId,
    log: &mut ShardLog,
    checkpoint: Option<Vec<u8>>,
) -> Result<Shard, OpenError> {
    match recover(effects, shard, log, checkpoint, Position(0)) {
        Err(OpenError::Log(rot)) if rot.is_rot() => {
            let incarnation = new_incarnation(effects);
            warn!(%shard, %incarnation, why = %rot, "this replica is not the one it was; it must catch up again");
            begin_anew(log, incarnation)?;
            recover(effects, shard, log, None, Position(0))
        }
        recovered => recovered,
    }
}

/// A name that no log ever had.
pub(super) fn new_incarnation(effects: &mut impl Effects) -> Incarnation {
    Incarnation(effects.draw().to_be_bytes())
}

/// The newest record that was persisted.
fn record_of(shard: ShardId, meta: &Meta) -> Result<Option<ShardRecord>, OpenError> {
    if meta.record.is_empty() {
        return Ok(None);
    }
    control::ShardRecord::decode(meta.record.as_slice())
        .ok()
        .and_then(|wire| ShardRecord::try_from(wire).ok())
        .map(Some)
        .ok_or(OpenError::Record(shard))
}

/// The core over what the log holds. Up to `committed` it is known to be committed, beside what the
/// log itself says.
pub(super) fn recover(
    effects: &impl Effects,
    shard: ShardId,
    log: &ShardLog,
    checkpoint: Option<Vec<u8>>,
    committed: Position,
) -> Result<Shard, OpenError> {
    let (state, history) = match checkpoint {
        Some(bytes) => {
            State::decode(&bytes).map_err(|error| OpenError::Checkpoint(shard, error))?
        }
        None => Default::default(),
    };
    let from = state.position();
    let recovered = Log {
        incarnation: log.meta().incarnation,
        end: log.end(),
        epochs: joined(&history, from, log.epochs()),
        committed: log.meta().committed.max(committed).max(from).min(log.end()),
        record: record_of(shard, log.meta())?,
        gaps_until: log.clean_point(),
    };
    let replica = Replica::new(effects.broker(), shard, effects.settings(shard), recovered);
    let mut core = Shard::new(replica, state);
    for entry in log.reader().entries(from, log.end()) {
        let entry = entry?;
        core.replay(Command::new(
            entry.header,
            &entry.bytes.slice(holdfast_protocol::Header::LEN..),
        ));
    }
    Ok(core)
}

/// The history of the whole log: below the checkpoint as that says, since the entries that began
/// an epoch may have been cleaned; above it as the entries say.
fn joined(below: &History, from: Position, above: &[(Epoch, Position)]) -> History {
    let mut epochs: Vec<(Epoch, Position)> =
        below.epochs().iter().filter(|(_, position)| *position < from).copied().collect();
    for (epoch, position) in above.iter().filter(|(_, position)| *position >= from) {
        if epochs.last().is_none_or(|(last, _)| last < epoch) {
            epochs.push((*epoch, *position));
        }
    }
    History::new(epochs)
}
