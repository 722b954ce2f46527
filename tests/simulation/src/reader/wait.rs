//! Simulated readers that wait at the end of a stream for what is appended next.

use bytes::Bytes;
use holdfast_protocol::{Offset, StreamId};

use crate::client::{placed, topic_name};
use crate::door::{Asker, frames};
use crate::event::Event;
use crate::world::World;

/// How many there are at once.
pub(crate) const WAITERS: usize = 3;
/// How long they are ready to wait, ms.
const WAIT_MS: (u64, u64) = (50, 2_000);
/// An answer is there so soon after there is something to read, or the time is up, ms.
const LATE_MS: u64 = 60;
/// An answer without anything comes no more than this before the time is up, ms: the door's clock
/// has whole milliseconds.
const EARLY_MS: u64 = 2;

/// A reader that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    broker: u32,
    run: u64,
    stream: StreamId,
    /// Where the stream ended, as its leader saw it.
    from: Offset,
    asked_ms: u64,
    wait_ms: u64,
    /// Since when there has been something to read, as far as it was looked at, ms.
    due_ms: Option<u64>,
}

impl World {
    /// A reader begins to wait, perhaps, and those that do are looked after.
    pub(super) fn await_more(&mut self) -> Result<(), String> {
        for number in 0..self.waiters.len() {
            match self.waiters[number] {
                Some(waiter) => self.watch_waiter(number, waiter)?,
                None if self.dice.chance(250) => self.begin_to_wait(number),
                None => {}
            }
        }
        Ok(())
    }

    /// Where connections of readers that wait are: behind that of the administrator.
    fn link_of_waiter(&self, number: usize) -> usize {
        self.clients.len() + 1 + self.members.len() + 1 + number
    }

    fn begin_to_wait(&mut self, number: usize) {
        let of = usize::try_from(self.dice.below(self.clients.len() as u64)).unwrap_or(0);
        let (shard, stream) = (self.clients[of].shard, self.clients[of].stream);
        let Some(broker) = self.leader_of(shard) else { return };
        if self.is_paused(broker).is_some() || !self.is_door_open(broker) {
            return;
        }
        let Some(from) = self.end_at(broker, stream) else { return };
        let wait_ms = self.dice.between(WAIT_MS.0, WAIT_MS.1);
        let (run, asked_ms) = (self.brokers[broker as usize].run, self.now());
        let waiter = Waiter { broker, run, stream, from, asked_ms, wait_ms, due_ms: None };
        self.waiters[number] = Some(waiter);
        self.faults.count("readers that waited");
        let (name, link) = (topic_name(stream.topic), self.link_of_waiter(number));
        self.ask_door(broker, link, Asker::Waiter(number), false, |id| {
            frames::fetch(id, &name, (stream, from), wait_ms)
        });
        // Nobody else tells the door that the time is up.
        self.after(wait_ms + EARLY_MS, Event::Door(broker, run));
    }

    /// Where a stream ends, as readers are told by this broker.
    fn end_at(&self, broker: u32, stream: StreamId) -> Option<Offset> {
        let shard = self.shard_of(stream)?;
        let process = self.brokers[broker as usize].process.as_ref()?;
        Some(process.drivers.get(&shard)?.view().offsets(stream).ok()?.end)
    }

    /// Whether a door has something to tell to a reader that waits, or to say that it can't.
    pub(crate) fn has_news(&self, broker: u32) -> bool {
        let run = self.brokers[broker as usize].run;
        let mut here = self.waiters.iter().flatten().filter(|w| (w.broker, w.run) == (broker, run));
        here.any(|waiter| self.end_at(broker, waiter.stream).is_none_or(|end| end > waiter.from))
    }

    /// That nobody waits for longer than there is a reason to, while the broker is well.
    fn watch_waiter(&mut self, number: usize, mut waiter: Waiter) -> Result<(), String> {
        let (link, now) = (self.link_of_waiter(number), self.now());
        let machine = &self.brokers[waiter.broker as usize];
        let process = machine.process.as_ref().filter(|_| machine.run == waiter.run);
        if !process.is_some_and(|process| process.door.has_link(link)) {
            // Its connection went with the process.
            self.waiters[number] = None;
            return Ok(());
        }
        if self.quiet || machine.paused_until_ms > waiter.asked_ms {
            return Ok(());
        }
        let is_there =
            self.end_at(waiter.broker, waiter.stream).is_some_and(|end| end > waiter.from);
        waiter.due_ms = waiter.due_ms.filter(|_| is_there).or_else(|| is_there.then_some(now));
        self.waiters[number] = Some(waiter);
        let up_ms = waiter.asked_ms + waiter.wait_ms;
        if now >= up_ms {
            // The door may have read the request a little later than it was written.
            self.ring(waiter.broker);
        }
        if waiter.due_ms.is_some_and(|due| now > due + LATE_MS) || now > up_ms + LATE_MS {
            return Err(format!(
                "at {now} ms a reader waits for an answer without a reason: {waiter:?}"
            ));
        }
        Ok(())
    }

    /// A reader has its answer: what follows on where it was, or nothing once the time is up.
    pub(crate) fn wait_ended(&mut self, number: usize, frame: Bytes) -> Result<(), String> {
        let piece = frames::fetched(frame).ok_or("an answer to a fetch request that waited")?;
        let Some(waiter) = self.waiters[number].take() else {
            return Err("an answer to a reader that did not wait".to_owned());
        };
        let Some(piece) = piece else { return Ok(()) };
        let (now, stream) = (self.now(), waiter.stream);
        self.checker.judge_start(stream, piece.start)?;
        if piece.batches.is_empty() {
            if now + EARLY_MS < waiter.asked_ms + waiter.wait_ms {
                return Err(format!("at {now} ms a reader was sent away too early: {waiter:?}"));
            }
            return Ok(());
        }
        self.faults.count("readers that were given what came");
        let mut next = waiter.from;
        for (offset, value) in piece.batches.iter().map(placed) {
            if offset != next {
                return Err(format!(
                    "{stream:?}: a reader that waited at {next} was given {offset}"
                ));
            }
            next = offset.plus(1);
            self.checker.read(stream, offset, value)?;
        }
        Ok(())
    }
}
