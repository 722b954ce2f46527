//! The checkers: what clients were told and what they saw, judged apart from the system.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Offset, StreamId, TopicId};

/// What is known of one stream.
#[derive(Debug, Default)]
struct Known {
    /// What was acknowledged, and where.
    acknowledged: BTreeMap<u64, Option<Offset>>,
    /// What readers found at each offset.
    seen: BTreeMap<Offset, u64>,
    /// Nothing at or above was asked to be deleted.
    trim_max: Offset,
    /// Everything below was said to be deleted.
    trimmed: Offset,
    /// What went may have gone by retention.
    is_short: bool,
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
    declared: BTreeSet<TopicId>,
    /// Up to where each group was told that its progress is kept.
    cursors: BTreeMap<(String, StreamId), Offset>,
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

    /// A broker said that `value` is stored for good, at `offset` where it still knew that.
    pub(crate) fn acknowledge(&mut self, stream: StreamId, value: u64, offset: Option<Offset>) {
        self.acknowledged += 1;
        let place = self.known(stream).acknowledged.entry(value).or_insert(offset);
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
        match self.known(stream).seen.insert(offset, value) {
            Some(before) if before != value => Err(format!(
                "{stream:?}: a reader found {before} at {offset}, and later {value}: \
                 what is committed changed"
            )),
            _ => Ok(()),
        }
    }

    /// Somebody asks for everything below to be deleted.
    pub(crate) fn may_trim(&mut self, stream: StreamId, before: Offset) {
        let known = self.known(stream);
        known.trim_max = known.trim_max.max(before);
    }

    /// A broker said that everything below is deleted.
    pub(crate) fn trimmed(&mut self, stream: StreamId, start: Offset) {
        let known = self.known(stream);
        known.trimmed = known.trimmed.max(start);
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

    /// A broker said that the topic is declared.
    pub(crate) fn declared(&mut self, topic: TopicId) {
        self.declared.insert(topic);
    }

    /// Whether it was said.
    pub(crate) fn is_declared(&self, topic: TopicId) -> bool {
        self.declared.contains(&topic)
    }

    /// The topics that are declared.
    pub(crate) fn topics(&self) -> impl Iterator<Item = TopicId> + '_ {
        self.declared.iter().copied()
    }

    /// Up to where this group was told that its progress is kept.
    pub(crate) fn cursor(&self, group: &str, stream: StreamId) -> Offset {
        self.cursors.get(&(group.to_owned(), stream)).copied().unwrap_or_default()
    }

    /// A group is told that its progress is kept. It began to say so when it was known to be
    /// `before`.
    pub(crate) fn committed_cursor(
        &mut self,
        group: &str,
        stream: StreamId,
        (before, offset): (Offset, Offset),
    ) -> Result<(), String> {
        self.committed_cursors += 1;
        if offset < before {
            return Err(format!(
                "{group}: the committed offset of {stream:?} went back from {before} to {offset}"
            ));
        }
        let cursor = self.cursors.entry((group.to_owned(), stream)).or_default();
        *cursor = (*cursor).max(offset);
        Ok(())
    }

    /// Judges the cursors, after everything has healed.
    pub(crate) fn judge_cursors(
        &self,
        at: impl Fn(&str, StreamId) -> Offset,
    ) -> Result<(), String> {
        for ((group, stream), offset) in &self.cursors {
            let found = at(group, *stream);
            if found < *offset {
                return Err(format!(
                    "{group}: its offset in {stream:?} was committed as {offset} and is {found}"
                ));
            }
        }
        Ok(())
    }

    /// After an unclean election that was allowed and told: what the new leader does not hold may
    /// be lost, and nothing else. `None`: what it holds is not known.
    pub(crate) fn forgive(&mut self, stream: StreamId, held: Option<&[(Offset, u64)]>) {
        let at: BTreeMap<Offset, u64> = held.unwrap_or_default().iter().copied().collect();
        let values: BTreeSet<u64> = at.values().copied().collect();
        let known = self.streams.entry(stream).or_default();
        let before = known.acknowledged.len();
        known.acknowledged.retain(|value, offset| match offset {
            Some(offset) => at.get(offset) == Some(value),
            None => values.contains(value),
        });
        self.lost += (before - known.acknowledged.len()) as u64;
        known.seen.retain(|offset, value| at.get(offset) == Some(value));
        known.trimmed = Offset(0);
        self.cursors.retain(|(_, of), _| *of != stream);
    }

    /// The same for a shard's groups, and where it is the catalog's, its topics.
    pub(crate) fn forgive_groups(&mut self, is_of_shard: impl Fn(&str) -> bool, catalog: bool) {
        self.cursors.retain(|(group, _), _| !is_of_shard(group));
        if catalog {
            self.declared.clear();
        }
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
        for (value, offset) in &known.acknowledged {
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
        if start < known.trimmed {
            let Known { trimmed, .. } = known;
            return Err(format!("{stream:?}: begins at {start}, and {trimmed} was acknowledged"));
        }
        for (value, offset) in &known.acknowledged {
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
