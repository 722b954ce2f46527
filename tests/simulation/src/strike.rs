//! The faults, one by one.

use std::path::PathBuf;

use holdfast_log::simulated::{Loss, SimulatedDisk};

use crate::event::Event;
use crate::fault::NODES;
use crate::heal::Heal;
use crate::moves::MACHINES_MAX;
use crate::world::{OPERATORS, World};

/// An hour, by which walls' clocks are set wrong, ms.
const HOUR_MS: i64 = 3_600_000;

impl World {
    pub(crate) fn kill(&mut self, broker: u32) {
        self.faults.count("kill");
        self.broker(broker).disk.kill();
        self.end_process(broker);
        self.start_later(broker);
    }

    pub(crate) fn power(&mut self, broker: u32) {
        self.faults.count("power cut");
        self.cut_power(broker);
        self.end_process(broker);
        self.start_later(broker);
    }

    /// Of what was not flushed some may be lost, all or nothing.
    pub(crate) fn cut_power(&mut self, broker: u32) {
        if self.shape.is_async() {
            self.note_lossy(broker);
        }
        let (seed, all) = (self.dice.next(), self.dice.chance(300));
        let loss = if all { Loss::All } else { Loss::Any };
        let machine = self.broker(broker);
        let torn = torn_by(&machine.disk, || machine.disk.crash(seed, loss));
        machine.boots += 1;
        if torn {
            self.faults.count("write torn");
        }
    }

    /// Stops in order, and starts again.
    pub(crate) fn restart(&mut self, broker: u32) {
        if self.is_paused(broker).is_some() {
            return;
        }
        self.faults.count("restart");
        self.note_logs(broker);
        if let Some(process) = self.broker(broker).process.take() {
            let close = || {
                process.drivers.into_values().for_each(holdfast_broker::driver::Driver::close);
                let _ = process.volume.close_cleanly();
            };
            // A disk that fails meanwhile ends the process, and so do we.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(close));
        }
        self.broker(broker).disk.kill();
        self.end_process(broker);
        self.start_later(broker);
    }

    fn cut(&mut self, kind: &'static str, links: Vec<(usize, usize)>, for_ms: u64) {
        self.faults.count(kind);
        for (from, to) in &links {
            self.faults.cut[*from][*to] += 1;
        }
        self.after(for_ms, Event::Heal(Heal::Links(links)));
    }

    pub(crate) fn restore_store(&mut self) {
        if self.now() < self.faults.no_damage_until_ms || self.faults.damaged.is_some() {
            return;
        }
        self.faults.count("store restored");
        let writes_ago = 1 + self.pick(20);
        self.store.restore(writes_ago);
        self.faults.no_damage_until_ms = self.now() + 20_000;
    }

    /// One is killed, and soon after the others lose power: what it has may be more than they have.
    pub(crate) fn power_of_others(&mut self, broker: u32) {
        self.kill(broker);
        for other in self.machines().filter(|other| *other != broker) {
            let delay = 200 + self.dice.below(1_500);
            self.after(delay, Event::Power(other));
        }
    }

    pub(crate) fn pause(&mut self, broker: u32, for_ms: u64) {
        self.faults.count("pause");
        // What waits for the end of a pause waits until then: no other one brings that forward.
        let until = (self.now() + for_ms).max(self.broker(broker).paused_until_ms);
        self.broker(broker).paused_until_ms = until;
    }

    pub(crate) fn isolate(&mut self, broker: u32, for_ms: u64) {
        let id = broker as usize;
        let links = (0..NODES).flat_map(|node| [(node, id), (id, node)]);
        self.cut("isolated broker", links.collect(), for_ms);
    }

    pub(crate) fn cut_one_way(&mut self, broker: u32, for_ms: u64) {
        let id = broker as usize;
        let other = (id + 1 + self.pick(2)) % self.brokers.len();
        self.cut("one-way partition", vec![(id, other)], for_ms);
    }

    pub(crate) fn cut_partly(&mut self, broker: u32, for_ms: u64) {
        let id = broker as usize;
        let other = (id + 1) % self.brokers.len();
        self.cut("partial partition", vec![(id, other), (other, id)], for_ms);
    }

    pub(crate) fn cut_operator(&mut self, broker: u32, for_ms: u64) {
        let id = broker as usize;
        let operator = MACHINES_MAX as usize + self.pick(OPERATORS);
        self.cut("operator cut off", vec![(id, operator), (operator, id)], for_ms);
    }

    pub(crate) fn slow_links(&mut self, broker: u32, for_ms: u64) {
        self.faults.count("slow links");
        let id = broker as usize;
        self.faults.slow[id] = self.dice.between(10, 100);
        self.after(for_ms, Event::Heal(Heal::Fast(id)));
    }

    pub(crate) fn lose_messages(&mut self, for_ms: u64) {
        self.faults.count("lost messages");
        self.faults.lost_permille = self.dice.between(10, 150);
        self.faults.garbled_permille = self.dice.below(20);
        self.after(for_ms, Event::Heal(Heal::Loss));
    }

    pub(crate) fn kill_operator(&mut self, for_ms: u64) {
        self.faults.count("operator died");
        self.stop_operator(0);
        self.after(for_ms, Event::StartOperator(0));
    }

    pub(crate) fn second_operator(&mut self, for_ms: u64) {
        self.faults.count("two operators");
        self.after(0, Event::StartOperator(1));
        self.after(for_ms * 2, Event::Heal(Heal::SecondOperator));
    }

    pub(crate) fn store_away(&mut self, for_ms: u64) {
        self.faults.count("store away");
        self.store.away_until_ms = self.now() + for_ms;
    }

    pub(crate) fn fail_flush(&mut self, broker: u32) {
        self.faults.count("flush failed");
        self.broker(broker).disk.fail_flushes(1);
    }

    /// Some reads fail for a while: of followers, of consumers, of the scrub or of a start. What can't
    /// be read counts as lost, so that it is done only where the others have it.
    pub(crate) fn fail_reads(&mut self, broker: u32, for_ms: u64) {
        if !self.may_lose(broker) {
            return;
        }
        self.faults.count("reads failed");
        self.note_damage(broker, true);
        let count = u32::try_from(self.dice.between(1, 12)).unwrap_or(1);
        let machine = self.broker(broker);
        machine.reads_fail = true;
        machine.disk.fail_reads(count);
        self.after(for_ms, Event::Heal(Heal::Reads(broker)));
    }

    pub(crate) fn slow_flush(&mut self, broker: u32, for_ms: u64) {
        self.faults.count("slow flush");
        self.broker(broker).flush_ms = (1_000, 30_000);
        self.after(for_ms, Event::Heal(Heal::FlushFast(broker)));
    }

    pub(crate) fn fill_disk(&mut self, broker: u32, for_ms: u64) {
        self.faults.count("disk full");
        let room = self.dice.below(100_000);
        self.broker(broker).fill(room);
        self.after(for_ms, Event::Heal(Heal::Room(broker)));
    }

    pub(crate) fn jump_clock(&mut self, broker: u32) {
        self.faults.count("clock jump");
        let jump = if self.dice.chance(500) { HOUR_MS } else { -HOUR_MS };
        self.broker(broker).clock.jump_ms.set(jump);
    }

    /// Stops in the middle of what it does next with its disk.
    pub(crate) fn stop_midway(&mut self, broker: u32) {
        self.faults.count("stopped midway");
        let steps = self.dice.between(1, 150);
        self.broker(broker).disk.stop_after(steps);
    }

    /// Starts as a release that does not know what its leaders write; not while it is paused, when
    /// it can't be stopped in order.
    pub(crate) fn run_old_release(&mut self, broker: u32, for_ms: u64) {
        if self.is_paused(broker).is_some() {
            return;
        }
        self.faults.count("old release");
        self.restart(broker);
        self.broker(broker).old_until_ms = self.now() + for_ms;
    }
}

/// Whether a crash leaves some file neither as it was on the disk nor as it was seen: torn.
fn torn_by(disk: &SimulatedDisk, crash: impl FnOnce()) -> bool {
    let durable = SimulatedDisk::default();
    durable.restore(&disk.snapshot());
    let seen: Vec<(PathBuf, Vec<u8>)> = disk
        .files()
        .into_iter()
        .filter_map(|(path, _)| disk.read(&path).map(|seen| (path, seen)))
        .collect();
    crash();
    seen.into_iter().any(|(path, seen)| {
        let left = disk.read(&path).zip(durable.read(&path));
        left.is_some_and(|(left, before)| left != before && left != seen)
    })
}
