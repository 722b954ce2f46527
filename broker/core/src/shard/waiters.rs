//! Those who wait for the log to get somewhere, in the order of the log.

use std::collections::VecDeque;

use holdfast_protocol::Position;

/// Waits of kind `T`, each until the log is somewhere.
#[derive(Debug)]
pub struct Waiters<T>(VecDeque<(Position, T)>);

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Waiters<T> {
    /// Lets `waiter` wait until everything below `until` is there. Those who wait longer come
    /// later: positions never go back.
    ///
    /// # Panics
    /// Where `until` is before the last one's.
    pub fn push(&mut self, until: Position, waiter: T) {
        let last = self.0.back().map_or(Position(0), |(last, _)| *last);
        assert!(until >= last, "waits come in the order of the log");
        self.0.push_back((until, waiter));
    }

    /// The next one whose wait is over, now that everything below `reached` is there.
    pub fn pop(&mut self, reached: Position) -> Option<T> {
        let over = self.0.front().is_some_and(|(until, _)| *until <= reached);
        if over { self.0.pop_front().map(|(_, waiter)| waiter) } else { None }
    }

    /// All who still wait: their wait is in vain.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.0.drain(..).map(|(_, waiter)| waiter)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
