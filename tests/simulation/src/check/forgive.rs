//! What an unclean election may lose: nothing that the elected log holds, and nothing before where
//! the loss was said to begin.

use holdfast_protocol::{Offset, Position, StreamId};

use super::{Checker, Held, Known};

impl Checker {
    /// After an unclean election that was allowed: what the new leader does not hold may be lost
    /// from position `from` on, where the loss was said to begin, and nothing else. `None`: what
    /// it holds is not known.
    pub(crate) fn forgive(
        &mut self,
        stream: StreamId,
        held: Option<&Held>,
        from: Position,
    ) -> Result<(), String> {
        let known = self.streams.entry(stream).or_default();
        if let Some(held) = held {
            known.judge_held(stream, held)?;
        }
        let is_there = |value: u64, offset: Option<Offset>| {
            held.is_some_and(|held| match offset {
                Some(offset) => offset < held.start || held.batches.get(&offset) == Some(&value),
                // What was so long ago that nobody knew where may be deleted by now.
                None => held.start > Offset(0) || held.batches.values().any(|own| *own == value),
            })
        };
        let before = known.acknowledged.len();
        let mut beyond = None;
        known.acknowledged.retain(|value, (offset, below)| {
            let is_safe = *below <= from;
            let is_lost = !is_there(*value, *offset);
            if is_safe && is_lost && held.is_some() {
                beyond = Some((*value, *offset, *below));
            }
            let stays = is_safe || !is_lost;
            if !stays {
                known.lost.insert(*value);
            }
            stays
        });
        if let Some((value, offset, below)) = beyond {
            return Err(format!(
                "{stream:?}: {value}, acknowledged at {offset:?}, is lost with an entry below \
                 position {below}, and only what is from {from} on was said to be"
            ));
        }
        self.lost += (before - known.acknowledged.len()) as u64;
        known.seen.retain(|offset, value| is_there(*value, Some(*offset)));
        known.trimmed.forgive(from);
        Ok(())
    }

    /// The same for what groups committed, and where it is the catalog's shard, the topics.
    pub(crate) fn forgive_groups(
        &mut self,
        is_of_shard: impl Fn(&str) -> bool,
        catalog: bool,
        from: Position,
    ) {
        let cursors = self.cursors.iter_mut();
        for (_, cursor) in cursors.filter(|((group, _), _)| is_of_shard(group)) {
            cursor.forgive(from);
        }
        if catalog {
            self.declared.retain(|_, below| *below <= from);
            self.created.retain(|_, below| *below <= from);
            self.deleted.retain(|_, below| *below <= from);
        }
    }
}

impl Known {
    /// That the elected log has no holes: of what is before its end, everything is as it was.
    fn judge_held(&self, stream: StreamId, held: &Held) -> Result<(), String> {
        let end = held.batches.last_key_value().map_or(held.start, |(last, _)| last.plus(1));
        let acknowledged =
            self.acknowledged.iter().filter_map(|(value, (at, _))| Some((at.as_ref()?, value)));
        for (offset, value) in self.seen.iter().chain(acknowledged) {
            let inside = held.start <= *offset && *offset < end;
            if inside && held.batches.get(offset) != Some(value) {
                return Err(format!(
                    "{stream:?}: {value} was at {offset}, which the elected log goes beyond, and \
                     has {:?} there",
                    held.batches.get(offset)
                ));
            }
        }
        Ok(())
    }
}
