//! The checkers: what clients were told and what they saw, judged apart from the system.

mod cursors;
mod forgive;
mod order;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Offset, Position, StreamId, TopicId};

/// An offset that only grows, with the position of the log below which the entry is that said so.
#[derive(Debug, Default)]
struct Grown(Vec<(Offset, Position)>);

impl Grown {
    fn now(&self) -> Offset {
        self.0.last().map_or(Offset(0), |(offset, _)| *offset)
    }

    fn grow(&mut self, offset: Offset, below: Position) {
        if offset > self.now() {
            self.0.push((offset, below));
        }
    }

    /// What was said by entries from `from` on may be lost.
    fn forgive(&mut self, from: Position) {
        self.0.retain(|(_, below)| *below <= from);
    }
}

/// What is known of one stream.
#[derive(Debug, Default)]
struct Known {
    /// What was acknowledged, at which offset, and below which position of its shard's log.
    acknowledged: BTreeMap<u64, (Option<Offset>, Position)>,
    /// What was acknowledged, and lost as it was told: acknowledged again, it may come after others.
    lost: BTreeSet<u64>,
    /// What readers found at each offset.
    seen: BTreeMap<Offset, u64>,
    /// Nothing at or above was asked to be deleted.
    trim_max: Offset,
    /// Everything below was said to be deleted.
    trimmed: Grown,
    /// What went may have gone by retention.
    is_short: bool,
}

/// What the log of a leader holds of a stream.
pub(crate) struct Held {
    /// The first offset that the stream has, by the leader's committed state.
    pub(crate) start: Offset,
    /// Every batch that is there, committed or not.
    pub(crate) batches: BTreeMap<Offset, u64>,
}

/// What a stream holds in the end.
pub(crate) struct Content<'a> {
    /// The first offset that it says it has.
    pub(crate) start: Offset,
    /// Every batch.
    pub(crate) batches: &'a [(Offset, u64)],
    /// A value may be there only once, and in the order of values.
    pub(crate) idempotent: bool,
}

/// Judges a run.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    streams: BTreeMap<StreamId, Known>,
    /// The topics, each declared by an entry below this position.
    declared: BTreeMap<TopicId, Position>,
    /// Other topics by their names: created, and deleted, by an entry below this position.
    created: BTreeMap<String, Position>,
    deleted: BTreeMap<String, Position>,
    /// What was asked to be deleted.
    may_go: BTreeSet<String>,
    /// Up to where each group was told that its progress is kept.
    cursors: BTreeMap<(String, StreamId), Grown>,
    /// No group asked for more of its progress to be kept.
    asked: BTreeMap<(String, StreamId), Offset>,
    pub(crate) acknowledged: u64,
    pub(crate) read: u64,
    pub(crate) committed_cursors: u64,
    /// Acknowledged, and lost as it was told that it might be.
    pub(crate) lost: u64,
}

impl Checker {
    fn known(&mut self, stream: StreamId) -> &mut Known {
        self.streams.entry(stream).or_default()
    }

    /// This stream keeps only its newest messages.
    pub(crate) fn is_short(&mut self, stream: StreamId) {
        self.known(stream).is_short = true;
    }

    /// A broker said that `value` is stored for good, at `offset` where it still knew that, by an
    /// entry below `position`.
    pub(crate) fn acknowledge(
        &mut self,
        stream: StreamId,
        value: u64,
        (offset, position): (Option<Offset>, Position),
    ) {
        self.acknowledged += 1;
        let place = self.known(stream).acknowledged.entry(value).or_insert((offset, position));
        if place.0.is_none() {
            *place = (offset, position);
        }
    }

    /// A reader found `value` at `offset`: nobody may ever find another there.
    pub(crate) fn read(
        &mut self,
        stream: StreamId,
        offset: Offset,
        value: u64,
    ) -> Result<(), String> {
        self.read += 1;
        match self.known(stream).seen.insert(offset, value) {
            Some(before) if before != value => Err(format!(
                "{stream:?}: a reader found {before} at {offset}, and later {value}: \
                 what is committed changed"
            )),
            _ => Ok(()),
        }
    }

    /// One past the last offset that a reader has found anything at.
    pub(crate) fn known_end(&self, stream: StreamId) -> Offset {
        let last = self.streams.get(&stream).and_then(|known| known.seen.last_key_value());
        last.map_or(Offset(0), |(offset, _)| offset.plus(1))
    }

    /// Somebody asks for everything below to be deleted.
    pub(crate) fn may_trim(&mut self, stream: StreamId, before: Offset) {
        let known = self.known(stream);
        known.trim_max = known.trim_max.max(before);
    }

    /// A broker said that everything below is deleted.
    pub(crate) fn trimmed(&mut self, stream: StreamId, start: Offset, position: Position) {
        self.known(stream).trimmed.grow(start, position);
    }

    /// Whether a stream may begin at `start`.
    pub(crate) fn judge_start(&self, stream: StreamId, start: Offset) -> Result<(), String> {
        let Some(known) = self.streams.get(&stream) else { return Ok(()) };
        if start > known.trim_max && !known.is_short {
            return Err(format!(
                "{stream:?}: begins at {start}, and nobody asked for more than {} to be deleted",
                known.trim_max
            ));
        }
        Ok(())
    }

    /// Judges whether everything is there at all, be it on one replica.
    pub(crate) fn judge_somewhere(
        &self,
        stream: StreamId,
        found: &[(Offset, u64)],
    ) -> Result<(), String> {
        let Some(known) = self.streams.get(&stream).filter(|known| !known.is_short) else {
            return Ok(());
        };
        for (value, (offset, _)) in &known.acknowledged {
            let deleted = offset.is_none_or(|offset| offset < known.trim_max);
            if !deleted && !found.iter().any(|(at, held)| held == value && Some(*at) == *offset) {
                return Err(format!("{stream:?}: {value} was acknowledged and is nowhere"));
            }
        }
        Ok(())
    }

    /// Judges the whole content of a stream, after everything has healed.
    pub(crate) fn judge(&self, stream: StreamId, content: &Content<'_>) -> Result<(), String> {
        let Content { start, batches, idempotent } = *content;
        let at: BTreeMap<Offset, u64> = batches.iter().copied().collect();
        let Some(known) = self.streams.get(&stream) else { return Ok(()) };
        self.judge_start(stream, start)?;
        let trimmed = known.trimmed.now();
        if start < trimmed {
            return Err(format!("{stream:?}: begins at {start}, and {trimmed} was acknowledged"));
        }
        for (value, (offset, _)) in &known.acknowledged {
            let found = match offset {
                Some(offset) => *offset < start || at.get(offset) == Some(value),
                // What was so long ago that nobody knew where may be deleted by now.
                None => start > Offset(0) || at.values().any(|found| found == value),
            };
            if !found {
                return Err(format!(
                    "{stream:?}: {value} was acknowledged at {offset:?} and is not there"
                ));
            }
        }
        for (offset, value) in &known.seen {
            if *offset >= start && at.get(offset) != Some(value) {
                return Err(format!("{stream:?}: {value} was read at {offset} and is not there"));
            }
        }
        known.judge_order(stream, batches)?;
        for pair in batches.windows(2) {
            if idempotent && pair[0].1 >= pair[1].1 {
                return Err(format!(
                    "{stream:?}: {} comes after {}: out of order, or twice",
                    pair[1].1, pair[0].1
                ));
            }
            if pair[0].0.plus(1) != pair[1].0 {
                return Err(format!("{stream:?}: {} follows on {}", pair[1].0, pair[0].0));
            }
        }
        Ok(())
    }
}
