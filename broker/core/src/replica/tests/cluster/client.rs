//! An idempotent producer: numbers its batches, has a few of them on their way, and sends again
//! what was not acknowledged when its leader is gone.

use std::collections::VecDeque;

use holdfast_protocol::{BrokerId, Epoch, StreamId, TopicId};

use crate::batch::{self, Stamp, sequence_plus};

/// Batches of a producer that may be on their way, as in Kafka.
const IN_FLIGHT_MAX: usize = 5;

/// A batch that is not acknowledged yet.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// No other batch has this in it.
    pub(super) mark: u64,
    first: i32,
    count: u32,
    /// Where it was sent.
    pub(super) sent: Option<(BrokerId, Epoch)>,
}

/// One producer, to one stream.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) stream: StreamId,
    id: i64,
    epoch: i16,
    next: i32,
    pub(super) pending: VecDeque<Pending>,
}

impl Client {
    pub(super) fn new(number: u32) -> Self {
        Self {
            stream: StreamId { topic: TopicId([1; 16]), partition: number % 2 },
            id: i64::from(number) + 1,
            epoch: 0,
            // One of them soon begins again at 0.
            next: if number == 0 { i32::MAX - 3 } else { 0 },
            pending: VecDeque::new(),
        }
    }

    /// Begins another batch, where not too many are on their way.
    pub(super) fn begin(&mut self, mark: u64, count: u32) {
        if self.pending.len() >= IN_FLIGHT_MAX {
            return;
        }
        let first = self.next;
        self.next = sequence_plus(first, i32::try_from(count).unwrap());
        self.pending.push_back(Pending { mark, first, count, sent: None });
    }

    /// The batch's bytes.
    pub(super) fn bytes(&self, index: usize) -> Vec<u8> {
        let Pending { mark, first, count, .. } = self.pending[index];
        let last = sequence_plus(first, i32::try_from(count).unwrap() - 1);
        let stamp = Stamp { id: self.id, epoch: self.epoch, first, last };
        batch::build(count, 1, Some(stamp), &mark.to_be_bytes())
    }

    /// Which batches to send to `leader` next: in their order, and not beside other leaders.
    pub(super) fn unsent(&self, leader: (BrokerId, Epoch)) -> Option<usize> {
        let index = self.pending.iter().position(|batch| batch.sent != Some(leader))?;
        self.pending
            .iter()
            .all(|batch| batch.sent.is_none_or(|sent| sent == leader))
            .then_some(index)
    }

    /// What was sent to a leader that is gone has to be sent again.
    pub(super) fn give_up(&mut self, leads: impl Fn(BrokerId, Epoch) -> bool) {
        if self.pending.iter().any(|batch| batch.sent.is_some_and(|(b, e)| !leads(b, e))) {
            for batch in &mut self.pending {
                batch.sent = None;
            }
        }
    }

    /// It can't go on with its numbers, as after an unclean election: it begins anew.
    pub(super) fn begin_anew(&mut self) {
        self.epoch += 1;
        self.next = 0;
        let batches = std::mem::take(&mut self.pending);
        for batch in batches {
            self.begin(batch.mark, batch.count);
        }
    }

    /// The leader has acknowledged the batch.
    pub(super) fn acknowledged(&mut self, mark: u64) {
        self.pending.retain(|batch| batch.mark != mark);
    }
}

/// The mark in an entry's body, where it is a batch of a client.
pub(super) fn mark_of(body: &[u8]) -> Option<u64> {
    let mark = body.get(batch::HEADER_LEN..batch::HEADER_LEN + 8)?;
    Some(u64::from_be_bytes(mark.try_into().ok()?))
}
