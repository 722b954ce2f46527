//! The checkers: what clients were told and what they saw, judged apart from the system.

use std::collections::BTreeMap;

use holdfast_protocol::{Offset, StreamId};

/// What is known of one stream.
#[derive(Debug, Default)]
struct Known {
    /// What was acknowledged, and where.
    acknowledged: BTreeMap<u64, Option<Offset>>,
    /// What readers found at each offset.
    seen: BTreeMap<Offset, u64>,
}

/// Judges a run.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    streams: BTreeMap<StreamId, Known>,
    pub(crate) acknowledged: u64,
    pub(crate) read: u64,
}

impl Checker {
    /// A broker said that `value` is stored for good, at `offset` where it still knew that.
    pub(crate) fn acknowledge(&mut self, stream: StreamId, value: u64, offset: Option<Offset>) {
        self.acknowledged += 1;
        let known = self.streams.entry(stream).or_default();
        let place = known.acknowledged.entry(value).or_insert(offset);
        *place = place.or(offset);
    }

    /// A reader found `value` at `offset`: nobody may ever find another there.
    pub(crate) fn read(
        &mut self,
        stream: StreamId,
        offset: Offset,
        value: u64,
    ) -> Result<(), String> {
        self.read += 1;
        let known = self.streams.entry(stream).or_default();
        match known.seen.insert(offset, value) {
            Some(before) if before != value => Err(format!(
                "{stream:?}: a reader found {before} at {offset}, and later {value}: \
                 what is committed changed"
            )),
            _ => Ok(()),
        }
    }

    /// Judges the whole content of a stream, after everything has healed.
    pub(crate) fn judge(
        &self,
        stream: StreamId,
        idempotent: bool,
        content: &[(Offset, u64)],
    ) -> Result<(), String> {
        let at: BTreeMap<Offset, u64> = content.iter().copied().collect();
        let Some(known) = self.streams.get(&stream) else { return Ok(()) };
        for (value, offset) in &known.acknowledged {
            let found = match offset {
                Some(offset) => at.get(offset) == Some(value),
                None => at.values().any(|found| found == value),
            };
            if !found {
                return Err(format!(
                    "{stream:?}: {value} was acknowledged at {offset:?} and is not there"
                ));
            }
        }
        for (offset, value) in &known.seen {
            if at.get(offset) != Some(value) {
                return Err(format!("{stream:?}: {value} was read at {offset} and is not there"));
            }
        }
        if idempotent {
            for pair in content.windows(2) {
                if pair[0].1 >= pair[1].1 {
                    return Err(format!(
                        "{stream:?}: {} comes after {}: out of order, or twice",
                        pair[1].1, pair[0].1
                    ));
                }
            }
        }
        Ok(())
    }
}
