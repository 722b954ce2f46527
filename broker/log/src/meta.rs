//! What a replica keeps beside its entries, in the file `meta`.

use std::path::Path;

use holdfast_protocol::{Epoch, Incarnation, Position};

use crate::codec::{Fields, Put};
use crate::disk::{Format, Frame};
use crate::{Disk, Error};

const FORMAT: Format = Format { magic: *b"HFMETA\0\0", version: 1 };
/// Most epochs of the history; the oldest are forgotten first. A replica that left so long ago
/// finds no common point and is filled anew.
pub(crate) const EPOCHS_MAX: usize = 4096;
/// The longest record that is kept, bytes.
const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the broker keeps beside the entries, replaced as a whole. The log's own state (durable
/// checkpoint, clean point, epoch history) lies in the same file and is added by the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The identity of this log; all zero until the broker gives it one.
    pub incarnation: Incarnation,
    /// The newest consensus record that the broker has seen; opaque here, at most 16 MiB.
    pub record: Vec<u8>,
    /// A hint: everything below was committed when this was written.
    pub committed: Position,
}

/// What the log itself keeps in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Grows with every reset: segments of another generation are not of this log.
    pub(crate) generation: u32,
    /// Where this generation began.
    pub(crate) start: Position,
    /// Positions below may be left out.
    pub(crate) clean_point: Position,
    /// Everything below was durable when this was written.
    pub(crate) durable: Position,
    /// The position of the durable checkpoint.
    pub(crate) checkpoint: Option<Position>,
    /// The log was closed in order.
    pub(crate) clean: bool,
    /// The first position of each epoch, oldest first.
    pub(crate) epochs: Vec<(Epoch, Position)>,
}

impl State {
    /// Notes that `epoch` has an entry at `position`.
    pub(crate) fn note_epoch(&mut self, epoch: Epoch, position: Position) {
        if self.epochs.last().is_some_and(|(last, _)| *last >= epoch) {
            return;
        }
        if self.epochs.len() >= EPOCHS_MAX {
            self.epochs.remove(0);
        }
        self.epochs.push((epoch, position));
    }

    /// Forgets epochs that begin at or above `end`.
    pub(crate) fn cut_epochs(&mut self, end: Position) {
        self.epochs.retain(|(_, first)| *first < end);
    }
}

/// Replaces the file at `path` durably.
pub(crate) fn write(disk: &Disk, path: &Path, meta: &Meta, state: &State) -> Result<(), Error> {
    if meta.record.len() > RECORD_BYTES_MAX {
        return Err(Error::TooLarge { bytes: meta.record.len(), max: RECORD_BYTES_MAX });
    }
    let mut out = Vec::new();
    out.put_u32(state.generation);
    out.put_u64(state.start.0);
    out.put_u64(state.clean_point.0);
    out.put_u64(state.durable.0);
    out.push(u8::from(state.checkpoint.is_some()));
    out.put_u64(state.checkpoint.unwrap_or_default().0);
    out.push(u8::from(state.clean));
    out.put_count(state.epochs.len());
    for (epoch, position) in &state.epochs {
        out.put_u32(epoch.0);
        out.put_u64(position.0);
    }
    out.extend_from_slice(&meta.incarnation.0);
    out.put_u64(meta.committed.0);
    out.put_count(meta.record.len());
    out.extend_from_slice(&meta.record);
    FORMAT.replace(disk, path, &[&out])
}

/// What the file at `path` says.
#[derive(Debug)]
pub(crate) enum Found {
    /// No file.
    Missing,
    /// Something else, and why.
    Bad(&'static str),
    /// What was written.
    Good(Meta, State),
}

/// Reads the file at `path`.
pub(crate) fn read(disk: &Disk, path: &Path) -> Result<Found, Error> {
    Ok(match FORMAT.read(disk, path)? {
        Frame::Missing => Found::Missing,
        Frame::Bad(reason) => Found::Bad(reason),
        Frame::Good(payload) => match parse(&mut Fields(&payload)) {
            Some((meta, state)) => Found::Good(meta, state),
            None => Found::Bad("its fields make no sense"),
        },
    })
}

fn parse(fields: &mut Fields<'_>) -> Option<(Meta, State)> {
    let mut state = State {
        generation: fields.u32()?,
        start: Position(fields.u64()?),
        clean_point: Position(fields.u64()?),
        durable: Position(fields.u64()?),
        ..State::default()
    };
    let has_checkpoint = fields.u8()? != 0;
    let checkpoint = Position(fields.u64()?);
    state.checkpoint = has_checkpoint.then_some(checkpoint);
    state.clean = fields.u8()? != 0;
    state.epochs = (0..fields.count(12)?)
        .map(|_| Some((Epoch(fields.u32()?), Position(fields.u64()?))))
        .collect::<Option<_>>()?;
    let incarnation = Incarnation(fields.array()?);
    let committed = Position(fields.u64()?);
    let positions = [state.start, state.clean_point, state.durable, checkpoint, committed];
    if positions.iter().any(|position| *position > Position::MAX)
        || !Epoch::are_history(&state.epochs)
    {
        return None;
    }
    let length = fields.count(1)?;
    let meta = Meta { incarnation, record: fields.bytes(length)?.to_vec(), committed };
    Some((meta, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_survives_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        let meta = Meta {
            incarnation: Incarnation([3; 16]),
            record: b"record".to_vec(),
            committed: Position(9),
        };
        let state = State {
            generation: 2,
            start: Position(4),
            clean_point: Position(5),
            durable: Position(8),
            checkpoint: Some(Position(7)),
            clean: true,
            epochs: vec![(Epoch(1), Position(0)), (Epoch(4), Position(6))],
        };
        write(&Disk::Files, &path, &meta, &state).unwrap();
        let Found::Good(read_meta, read_state) = read(&Disk::Files, &path).unwrap() else {
            panic!("the file is good");
        };
        assert_eq!((read_meta, read_state), (meta, state));
    }

    #[test]
    fn the_history_is_bounded_and_grows_only_forward() {
        let mut state = State::default();
        for epoch in 1..=u32::try_from(EPOCHS_MAX).unwrap() + 1 {
            state.note_epoch(Epoch(epoch), Position(u64::from(epoch)));
            state.note_epoch(Epoch(epoch), Position(u64::from(epoch) + 1));
        }
        assert_eq!(state.epochs.len(), EPOCHS_MAX);
        assert_eq!(state.epochs[0], (Epoch(2), Position(2)));
        state.cut_epochs(Position(3));
        assert_eq!(state.epochs, [(Epoch(2), Position(2))]);
    }
}
