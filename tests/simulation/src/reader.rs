//! Simulated readers: one that reads pieces here and there, and one that reads all of a log, so
//! slowly that it is cleaned meanwhile. Those that wait for more to read are in `wait`.

pub(crate) mod wait;

use bytes::Bytes;
use holdfast_log::Entries;
use holdfast_protocol::{Header, Kind, Offset, Position, ShardId, StreamId};

use crate::client::{placed, value_of};
use crate::event::Event;
use crate::world::{SHARDS, World};

/// Bytes that a reader asks for.
const READ_BYTES: usize = 64 * 1024;
/// Entries that the slow reader takes at a time.
const SLOW_ENTRIES: usize = 12;

/// Reads all that is committed, a little at a time.
#[derive(Debug)]
pub(crate) struct Slow {
    broker: u32,
    run: u64,
    shard: ShardId,
    losses: usize,
    entries: Entries,
    next: Position,
}

impl World {
    /// A reader reads a piece of some stream at whoever says that it leads.
    pub(crate) fn read(&mut self) -> Result<(), String> {
        let number = usize::try_from(self.dice.below(self.clients.len() as u64)).unwrap_or(0);
        let (shard, stream) = (self.clients[number].shard, self.clients[number].stream);
        let leader = self.leader_of(shard).filter(|leader| self.is_paused(*leader).is_none());
        if let Some(leader) = leader.filter(|_| self.dice.chance(300)) {
            self.read_by_door(leader, stream);
        } else if let Some(leader) = leader {
            let from = self.dice.next();
            if let Some((start, batches)) = self.content(leader, shard, stream, Some(from)) {
                self.checker.judge_start(stream, start)?;
                for (offset, value) in batches {
                    self.checker.read(stream, offset, value)?;
                }
            }
        }
        self.await_more()?;
        self.after(40, Event::Read);
        Ok(())
    }

    /// What a broker gives readers of a stream: where it begins, and a piece from some offset on,
    /// or all. `None` where it gives nothing: it does not lead, or can't read its log.
    pub(crate) fn content(
        &self,
        broker: u32,
        shard: ShardId,
        stream: StreamId,
        piece: Option<u64>,
    ) -> Option<(Offset, Vec<(Offset, u64)>)> {
        let process = self.brokers[broker as usize].process.as_ref()?;
        let view = process.drivers[&shard].view();
        let offsets = view.offsets(stream).ok()?;
        let from = piece.map_or(offsets.start.0, |piece| {
            offsets.start.0 + piece % (offsets.end.0 + 1 - offsets.start.0)
        });
        let bytes = if piece.is_some() { READ_BYTES } else { usize::MAX };
        let read = view.reader.read_stream(stream, Offset(from), offsets.end, bytes, true);
        Some((offsets.start, read.ok()?.iter().map(placed).collect()))
    }

    /// The slow reader takes a few entries more, or begins anew somewhere.
    pub(crate) fn read_slowly(&mut self) -> Result<(), String> {
        let pause = self.dice.between(100, 900);
        self.after(pause, Event::ReadSlowly);
        let Some(mut slow) = self.slow.take().filter(|slow| self.goes_on(slow)) else {
            self.slow = self.begin_slowly();
            return Ok(());
        };
        for _ in 0..SLOW_ENTRIES {
            let entry = match slow.entries.next() {
                None => return Ok(()),
                Some(Ok(entry)) => entry,
                // Rot is for the broker to find; here it only must not be taken for data.
                Some(Err(_)) if self.is_unreadable(slow.broker) => return Ok(()),
                Some(Err(error)) => {
                    return Err(format!("broker {}, {}: {error}", slow.broker, slow.shard));
                }
            };
            let Header { position, kind, stream, offset, .. } = entry.header;
            if position < slow.next {
                return Err(format!("{}: {position} was read after {}", slow.shard, slow.next));
            }
            slow.next = position.next();
            if kind == Kind::Append {
                let body: Bytes = entry.bytes.slice(Header::LEN..);
                self.checker.read(stream, offset, value_of(&body))?;
            }
        }
        self.slow = Some(slow);
        Ok(())
    }

    /// Whether the log that it reads is still there.
    fn goes_on(&self, slow: &Slow) -> bool {
        self.runs(slow.broker, slow.run) && self.losses.count(slow.shard) == slow.losses
    }

    fn begin_slowly(&self) -> Option<Slow> {
        let broker = self.some_machine();
        let shard = ShardId(u32::try_from(self.dice.below(u64::from(SHARDS))).unwrap_or(0));
        let losses = self.losses.count(shard);
        let driver = self.brokers[broker as usize].process.as_ref()?.drivers.get(&shard)?;
        let replica = driver.core().replica();
        // After a loss only a leader is known to have nothing of what was lost.
        if losses > 0 && replica.confirmed().is_none() {
            return None;
        }
        let reader = &driver.view().reader;
        let (next, to) = (reader.start(), replica.committed());
        let run = self.brokers[broker as usize].run;
        Some(Slow { broker, run, shard, losses, entries: reader.entries(next, to), next })
    }
}
