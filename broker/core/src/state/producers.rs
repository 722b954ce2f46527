//! Idempotent producers of one stream: whose batch follows, whose is repeated.
//!
//! The rules are Kafka's (KIP-98): the newest five batches of a producer are known, so that a
//! repeated one gets the offset of the first time.

use std::collections::{BTreeMap, VecDeque};

use holdfast_protocol::{Offset, Position};

use crate::batch::{Stamp, sequence_plus};

/// Batches of a producer that are known: what a Kafka client may have in flight.
const BATCHES_KNOWN: usize = 5;
/// Producers known for one stream; the ones that were silent longest are forgotten first.
pub(super) const PRODUCERS_MAX: usize = 8_192;
/// How many are forgotten at once.
const PRODUCERS_FORGOTTEN: usize = PRODUCERS_MAX / 8;

/// What the sequence numbers of a batch say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// It follows: append it.
    Follows,
    /// It was appended before, here.
    Repeated(Offset),
    /// It does not follow: this sequence number would. Also where it is lower, and of a batch that
    /// is not known: it may have been appended long ago, or refused while a later one was taken, and
    /// who is told of a duplicate takes it for stored.
    Gap(i32),
    /// The producer has a newer epoch.
    Fenced(i16),
}

/// One batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// First sequence number.
    pub first: i32,
    /// Last sequence number.
    pub last: i32,
    /// Offset of the first message.
    pub offset: Offset,
    /// Its timestamp, ms since 1970.
    pub timestamp_ms: i64,
}

/// One producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producer {
    /// Its newest epoch.
    pub epoch: i16,
    /// Position of its newest entry in the shard's log.
    pub position: Position,
    /// Its newest batches, the newest last.
    pub batches: VecDeque<Known>,
}

impl Producer {
    fn check(&self, stamp: Stamp) -> Sequence {
        if stamp.epoch < self.epoch {
            return Sequence::Fenced(self.epoch);
        }
        if stamp.epoch > self.epoch {
            return if stamp.first == 0 { Sequence::Follows } else { Sequence::Gap(0) };
        }
        let repeated = self
            .batches
            .iter()
            .find(|known| known.first == stamp.first && known.last == stamp.last);
        if let Some(known) = repeated {
            return Sequence::Repeated(known.offset);
        }
        let Some(newest) = self.batches.back() else {
            return Sequence::Follows;
        };
        let expected = sequence_plus(newest.last, 1);
        if stamp.first == expected { Sequence::Follows } else { Sequence::Gap(expected) }
    }

    fn note(&mut self, stamp: Stamp, known: Known, position: Position) {
        if stamp.epoch != self.epoch {
            self.batches.clear();
        }
        self.epoch = stamp.epoch;
        self.position = position;
        if self.batches.len() == BATCHES_KNOWN {
            self.batches.pop_front();
        }
        self.batches.push_back(known);
    }
}

/// The producers of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers(BTreeMap<i64, Producer>);

impl Producers {
    /// What the sequence numbers of a batch say. A producer that is not known may begin with
    /// any number, as in Kafka: what it sent before may have been deleted.
    #[must_use]
    pub fn check(&self, stamp: Stamp) -> Sequence {
        self.0.get(&stamp.id).map_or(Sequence::Follows, |producer| producer.check(stamp))
    }

    /// Notes a batch that was appended.
    pub fn note(&mut self, stamp: Stamp, offset: Offset, position: Position, timestamp_ms: i64) {
        let known = Known { first: stamp.first, last: stamp.last, offset, timestamp_ms };
        self.0.entry(stamp.id).or_default().note(stamp, known, position);
        if self.0.len() > PRODUCERS_MAX {
            self.forget();
        }
    }

    /// One producer.
    #[must_use]
    pub fn get(&self, id: i64) -> Option<&Producer> {
        self.0.get(&id)
    }

    /// Puts a producer in place.
    pub fn insert(&mut self, id: i64, producer: Producer) {
        self.0.insert(id, producer);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&i64, &Producer)> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn forget(&mut self) {
        let mut positions: Vec<Position> = self.0.values().map(|p| p.position).collect();
        positions.sort_unstable();
        let oldest_kept = positions[PRODUCERS_FORGOTTEN];
        self.0.retain(|_, producer| producer.position >= oldest_kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(epoch: i16, first: i32, last: i32) -> Stamp {
        Stamp { id: 1, epoch, first, last }
    }

    fn after(batches: &[(i16, i32, i32)]) -> Producers {
        let mut producers = Producers::default();
        for (n, (epoch, first, last)) in (0u64..).zip(batches) {
            let stamp = stamp(*epoch, *first, *last);
            assert_eq!(producers.check(stamp), Sequence::Follows, "batch {n}");
            producers.note(stamp, Offset(n * 10), Position(n), 0);
        }
        producers
    }

    #[test]
    fn the_table_of_sequences() {
        let six: Vec<_> = (0..6).map(|n| (0, n * 2, n * 2 + 1)).collect();
        let cases = [
            (&six[..], stamp(0, 12, 13), Sequence::Follows),
            (&six[..], stamp(0, 10, 11), Sequence::Repeated(Offset(50))),
            (&six[..], stamp(0, 2, 3), Sequence::Repeated(Offset(10))),
            (&six[..], stamp(0, 0, 1), Sequence::Gap(12)),
            // Refused while the next one was taken, of a producer that was not known before.
            (&[(0, 1, 1)][..], stamp(0, 0, 0), Sequence::Gap(2)),
            (&[(0, i32::MAX - 3, i32::MAX - 3)][..], stamp(0, 0, 3), Sequence::Gap(i32::MAX - 2)),
            (&six[..], stamp(0, 14, 15), Sequence::Gap(12)),
            (&six[..], stamp(1, 0, 1), Sequence::Follows),
            (&six[..], stamp(1, 5, 6), Sequence::Gap(0)),
            (&[(2, 0, 0)][..], stamp(1, 1, 1), Sequence::Fenced(2)),
            (&[(0, i32::MAX - 1, i32::MAX)][..], stamp(0, 0, 3), Sequence::Follows),
            (&[(0, 5, 5)][..], stamp(0, 6, 6), Sequence::Follows),
        ];
        for (given, asked, expected) in cases {
            assert_eq!(after(given).check(asked), expected, "{asked:?} after {given:?}");
        }
    }

    #[test]
    fn the_number_of_producers_is_bounded() {
        let mut producers = Producers::default();
        for id in 0..=PRODUCERS_MAX {
            let id = i64::try_from(id).unwrap();
            let stamp = Stamp { id, epoch: 0, first: 0, last: 0 };
            producers.note(stamp, Offset(0), Position(id.unsigned_abs()), 0);
        }
        assert!(producers.len() <= PRODUCERS_MAX);
        assert!(producers.get(0).is_none());
        assert!(producers.get(i64::try_from(PRODUCERS_MAX).unwrap()).is_some());
    }
}
