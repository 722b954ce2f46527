//! The epoch history of a log: where each epoch begins.
//!
//! A follower truncates only to where the leader's history says that the logs part (KIP-101,
//! KIP-279).

use holdfast_protocol::{Epoch, Position};

/// First position of every epoch that the log has entries of, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History(Vec<(Epoch, Position)>);

impl History {
    /// Takes the history of a recovered log.
    ///
    /// # Panics
    /// Where epochs or positions do not grow: such a log is damaged, and must not be opened.
    #[must_use]
    pub fn new(epochs: Vec<(Epoch, Position)>) -> Self {
        let grows = Epoch::are_history(&epochs);
        assert!(grows, "an epoch history grows in epoch and position: {epochs:?}");
        Self(epochs)
    }

    /// The epochs, oldest first.
    #[must_use]
    pub fn epochs(&self) -> &[(Epoch, Position)] {
        &self.0
    }

    /// Epoch of the last entry; 0 where there is none.
    #[must_use]
    pub fn last(&self) -> Epoch {
        self.0.last().map_or(Epoch(0), |(epoch, _)| *epoch)
    }

    /// Notes an entry of `epoch` at `position`.
    ///
    /// # Panics
    /// Where the epoch is older than the last: entries of a log never go back in epoch.
    pub fn note(&mut self, epoch: Epoch, position: Position) {
        assert!(epoch >= self.last(), "epoch {epoch} after {} at {position}", self.last());
        if epoch > self.last() {
            self.0.push((epoch, position));
        }
    }

    /// The largest epoch at or below `epoch`, and the position at which it ends, in a log that
    /// ends at `end`. Epoch 0 ends at 0.
    #[must_use]
    pub fn end_of(&self, epoch: Epoch, end: Position) -> (Epoch, Position) {
        let after = self.0.partition_point(|(known, _)| *known <= epoch);
        let ends = self.0.get(after).map_or(end, |(_, start)| *start);
        match after.checked_sub(1) {
            Some(at) => (self.0[at].0, ends),
            None => (Epoch(0), self.0.first().map_or(Position(0), |_| ends)),
        }
    }

    /// Forgets everything from `end` on.
    pub fn truncate(&mut self, end: Position) {
        self.0.retain(|(_, start)| *start < end);
    }

    /// Epoch of the entry before `position`; 0 where there is none.
    #[must_use]
    pub fn before(&self, position: Position) -> Epoch {
        let after = self.0.partition_point(|(_, start)| *start < position);
        after.checked_sub(1).map_or(Epoch(0), |at| self.0[at].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        History::new(vec![
            (Epoch(1), Position(0)),
            (Epoch(3), Position(5)),
            (Epoch(4), Position(9)),
        ])
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let end = Position(12);
        for (asked, epoch, ends) in
            [(0, 0, 0), (1, 1, 5), (2, 1, 5), (3, 3, 9), (4, 4, 12), (9, 4, 12)]
        {
            let expected = (Epoch(epoch), Position(ends));
            assert_eq!(history().end_of(Epoch(asked), end), expected, "asked for {asked}");
        }
        assert_eq!(History::default().end_of(Epoch(3), Position(0)), (Epoch(0), Position(0)));
    }

    #[test]
    fn truncation_forgets_epochs_that_have_no_entry_left() {
        let mut cut = history();
        cut.truncate(Position(9));
        assert_eq!(cut.last(), Epoch(3));
        cut.truncate(Position(0));
        assert_eq!(cut.last(), Epoch(0));
        assert_eq!(history().before(Position(5)), Epoch(1));
        assert_eq!(history().before(Position(6)), Epoch(3));
        assert_eq!(history().before(Position(0)), Epoch(0));
    }
}
