//! How far groups have come, as they are told.

use holdfast_protocol::{Offset, Position, StreamId};

use super::{Checker, Grown};

impl Checker {
    /// Up to where this group was told that its progress is kept.
    pub(crate) fn cursor(&self, group: &str, stream: StreamId) -> Offset {
        let cursor = self.cursors.get(&(group.to_owned(), stream));
        cursor.map_or(Offset(0), Grown::now)
    }

    /// A group is told that its progress is kept, by an entry below `position`. It began to say so
    /// when it was known to be `before`.
    pub(crate) fn committed_cursor(
        &mut self,
        group: &str,
        stream: StreamId,
        (before, offset): (Offset, Offset),
        position: Position,
    ) -> Result<(), String> {
        self.committed_cursors += 1;
        if offset < before {
            return Err(format!(
                "{group}: the committed offset of {stream:?} went back from {before} to {offset}"
            ));
        }
        let cursor = self.cursors.entry((group.to_owned(), stream)).or_default();
        cursor.grow(offset, position);
        Ok(())
    }

    /// Judges the cursors, after everything has healed.
    pub(crate) fn judge_cursors(
        &self,
        at: impl Fn(&str, StreamId) -> Offset,
    ) -> Result<(), String> {
        for ((group, stream), cursor) in &self.cursors {
            let (found, offset) = (at(group, *stream), cursor.now());
            if found < offset {
                return Err(format!(
                    "{group}: its offset in {stream:?} was committed as {offset} and is {found}"
                ));
            }
        }
        Ok(())
    }

    /// A group asks for its progress to be kept.
    pub(crate) fn may_commit(&mut self, group: &str, stream: StreamId, offset: Offset) {
        let most = self.asked.entry((group.to_owned(), stream)).or_default();
        *most = offset.max(*most);
    }

    /// A group is told how far it has come, `None` for nowhere: at least to where it was known to
    /// be when it asked, and no further than it ever asked for.
    pub(crate) fn fetched_cursor(
        &self,
        group: &str,
        stream: StreamId,
        before: Offset,
        offset: Option<Offset>,
    ) -> Result<(), String> {
        let most = self.asked.get(&(group.to_owned(), stream)).copied();
        if offset.unwrap_or_default() < before || offset > most {
            return Err(format!(
                "{group}: its offset in {stream:?} was committed as {before}, asked to be no more \
                 than {most:?}, and read back as {offset:?}"
            ));
        }
        Ok(())
    }
}
