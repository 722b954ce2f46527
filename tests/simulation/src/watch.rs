//! Watches over a run: that what can be served is served soon, and that nothing grows without
//! bound.

use std::collections::BTreeMap;

use holdfast_protocol::ShardId;

use crate::event::Event;
use crate::world::{SHARDS, World};

#[cfg(test)]
mod tests;

/// How often it looks, ms.
const LOOK_MS: u64 = 250;
/// While at most one broker is in trouble, a producer waits no longer than this: 3 s until a
/// silent broker is dead, 10 s until a follower lags, and what it takes to elect, to catch up and
/// to try again, ms.
const WAIT_MS_MAX: u64 = 25_000;
/// Events of a simulated second, all brokers and clients together.
const EVENTS_MAX: u64 = 40_000;
/// What waits to happen.
const QUEUE_MAX: usize = 5_000;
/// What a broker's clients wait for.
const WAITING_MAX: usize = 200;
/// What a replica's state takes, bytes.
const STATE_BYTES_MAX: usize = 256 * 1024;
/// What a disk holds beside live entries and what was set aside, bytes a shard: segments being
/// written, rewritten, cleaned or recovered, indexes, checkpoints.
const ROOM_BYTES: u64 = 1024 * 1024;
/// Of live entries at most so much is on the disk again as dead ones that do not pay to be cleaned,
/// and as what waits for the next cleaning.
const DISK_FACTOR: u64 = 3;

/// What is watched.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Who is in trouble, where no more than one broker is, and since when that is so.
    calm: Option<(Option<u32>, u64)>,
    events: u64,
    /// The longest that a producer waited while it was calm, ms.
    pub(crate) waited_ms_max: u64,
    /// The most that there was of what is bounded.
    pub(crate) peak: BTreeMap<&'static str, u64>,
}

impl Watch {
    fn note(&mut self, what: &'static str, now: u64) {
        let most = self.peak.entry(what).or_default();
        *most = (*most).max(now);
    }
}

impl World {
    /// Looks at everything.
    pub(crate) fn watch(&mut self) -> Result<(), String> {
        self.after(LOOK_MS, Event::Watch);
        self.machines().for_each(|broker| self.look_for_rot(broker));
        self.watch_waits()?;
        let events = self.events - std::mem::replace(&mut self.watch.events, self.events);
        if events > EVENTS_MAX * LOOK_MS / 1_000 {
            return Err(format!("{events} events in {LOOK_MS} ms: more than anyone asked for"));
        }
        let queued = self.waiting();
        self.watch.note("events on their way", queued as u64);
        if queued > QUEUE_MAX {
            return Err(format!("{queued} events wait to happen"));
        }
        for broker in &self.brokers {
            let waiting = broker.process.as_ref().map_or(0, |process| process.waiting.len());
            self.watch.note("requests that wait at a broker", waiting as u64);
            self.watch.note("bytes on a disk", broker.disk.used_bytes());
            if waiting > WAITING_MAX {
                return Err(format!("{waiting} requests wait for an answer of one broker"));
            }
        }
        Ok(())
    }

    /// That nobody waits for long while it is calm.
    fn watch_waits(&mut self) -> Result<(), String> {
        let now = self.now();
        let calm = self.troubled();
        self.watch.calm = match (self.watch.calm, calm) {
            (_, None) => None,
            (Some((before, since)), Some(who)) if who.is_none() || before == who => {
                // The same broker may have been well for a moment.
                Some((before, since))
            }
            (Some((None, since)), Some(who)) => Some((who, since)),
            (Some(_) | None, Some(who)) => Some((who, now)),
        };
        let Some((who, since)) = self.watch.calm else { return Ok(()) };
        let waits = self.clients.iter().filter(|client| client.pending);
        let waited = waits.map(|client| (now - client.since_ms.max(since), client.shard)).max();
        let Some((waited_ms, shard)) = waited else { return Ok(()) };
        self.watch.waited_ms_max = self.watch.waited_ms_max.max(waited_ms);
        if waited_ms > WAIT_MS_MAX {
            return Err(format!(
                "{shard}: nothing was stored for {waited_ms} ms, though at most one broker \
                 ({who:?}) was in trouble: {}",
                self.ill()
            ));
        }
        Ok(())
    }

    /// The one broker that something is wrong with, if any; `None` where it is more than that.
    fn troubled(&self) -> Option<Option<u32>> {
        let slow = self.brokers.iter().any(|broker| broker.is_slow(self.now()));
        if !self.operators_are_well() || slow {
            return None;
        }
        let mut troubled = self.machines().filter(|broker| self.is_troubled(*broker));
        let (first, second) = (troubled.next(), troubled.next());
        if second.is_some() {
            return None;
        }
        // In Async all must have told what they hold where all have lost some.
        let needs_all = self.shape.is_async() || self.is_store_behind();
        if needs_all && first.is_some() { None } else { Some(first) }
    }

    fn operators_are_well(&self) -> bool {
        self.operators[0].planner.is_some() && self.store.away_until_ms <= self.now()
    }

    pub(crate) fn is_store_behind(&self) -> bool {
        (0..SHARDS).map(ShardId).any(|shard| {
            let newest = self.newest(shard).map(|record| record.version);
            self.store.read(shard).map(|record| record.version) != newest
        })
    }

    fn is_troubled(&self, broker: u32) -> bool {
        let machine = &self.brokers[broker as usize];
        let process = machine.process.as_ref();
        let failed = !machine.is_absent
            && process.is_none_or(|process| {
                process.drivers.values().any(|driver| driver.view().report().failure.is_some())
            });
        failed
            || machine.rotten
            || machine.paused_until_ms > self.now()
            || machine.is_full
            || machine.resigned_until_ms > self.now()
            || machine.old_until_ms > self.now()
            || self.faults.touches(broker as usize)
    }

    /// That what is kept is bounded by what is live.
    pub(crate) fn judge_room(&mut self) -> Result<(), String> {
        for (id, broker) in self.brokers.iter().enumerate() {
            let Some(process) = &broker.process else { continue };
            let mut live = 0;
            for (shard, driver) in &process.drivers {
                let core = driver.core();
                let state = core.state().encode(core.replica().history()).len();
                self.watch.note("bytes of a state", state as u64);
                if state > STATE_BYTES_MAX {
                    return Err(format!("broker {id}, {shard}: a state of {state} bytes"));
                }
                live += core.state().streams().map(|(_, stream)| stream.bytes).sum::<u64>();
            }
            let bound =
                live * DISK_FACTOR + u64::from(SHARDS) * (ROOM_BYTES + crate::broker::ASIDE_BYTES);
            let used = broker.disk.used_bytes();
            if used > bound {
                return Err(format!(
                    "broker {id}: {used} bytes on the disk, of which {live} are live, and {bound} \
                     would be enough"
                ));
            }
        }
        Ok(())
    }
}
