//! Damage to volumes: lost, rolled back, rotten. Of one broker at a time, and never where the
//! others do not have everything.

use std::path::PathBuf;

use holdfast_protocol::{Incarnation, ShardId, ShardRecord};

use crate::event::Event;
use crate::world::{SHARDS, World};

/// After some damage there is no other for this long, ms.
const PAUSE_MS: u64 = 5_000;

/// What was damaged last.
#[derive(Debug)]
pub(crate) struct Damage {
    broker: u32,
    /// Its logs before that.
    before: Vec<Incarnation>,
    /// It was a bit, and this process ran.
    bit_in: Option<u64>,
}

impl World {
    /// The newest record of a shard that anyone has.
    pub(crate) fn newest(&self, shard: ShardId) -> Option<ShardRecord> {
        self.kept(shard).chain(self.store.read(shard)).max_by_key(|record| record.version)
    }

    /// The records of a shard that running brokers have.
    pub(crate) fn kept(&self, shard: ShardId) -> impl Iterator<Item = ShardRecord> + '_ {
        let processes = self.brokers.iter().filter_map(|broker| broker.process.as_ref());
        processes.filter_map(move |process| process.drivers[&shard].view().report().record)
    }

    /// Whether a broker's present log is in sync by this record.
    fn is_in_sync(&self, id: u32, record: &ShardRecord) -> bool {
        let process = self.brokers[id as usize].process.as_ref();
        let own = process.map(|p| p.drivers[&record.shard].view().report().incarnation);
        own.is_some() && record.isr.iter().any(|m| m.broker.0 == id && Some(m.incarnation) == own)
    }

    /// Whether what this broker has may be lost: others have it all, and nobody else's was lost
    /// since they all had it again.
    pub(crate) fn may_lose(&self, broker: u32) -> bool {
        if self.now() < self.faults.no_damage_until_ms {
            return false;
        }
        let all_run =
            self.brokers.iter().all(|broker| broker.is_absent || broker.process.is_some());
        let records: Vec<_> = (0..SHARDS).map(|shard| self.newest(ShardId(shard))).collect();
        let others_have = |record: &ShardRecord| {
            let mut others = record.replicas.iter().filter(|other| other.0 != broker);
            others.all(|other| self.is_in_sync(other.0, record))
        };
        let held = all_run && records.iter().all(|record| record.as_ref().is_some_and(others_have));
        held && self
            .faults
            .damaged
            .as_ref()
            .is_none_or(|damage| self.is_made_good(damage, &records))
    }

    /// Whether the damaged broker has everything again.
    fn is_made_good(&self, damage: &Damage, records: &[Option<ShardRecord>]) -> bool {
        let machine = &self.brokers[damage.broker as usize];
        let Some(process) = machine.process.as_ref() else { return false };
        let noticed = match damage.bit_in {
            // Whatever it was in: read again, and not found wrong.
            Some(run) => machine.run != run && !machine.rotten,
            None => {
                let now = process.drivers.values().map(|d| d.view().report().incarnation);
                now.zip(&damage.before).all(|(now, before)| now != *before)
            }
        };
        noticed
            && records.iter().flatten().all(|record| {
                let named = record.replicas.iter().any(|broker| broker.0 == damage.broker);
                !named || self.is_in_sync(damage.broker, record)
            })
    }

    pub(crate) fn note_damage(&mut self, broker: u32, bit: bool) {
        self.note_lossy(broker);
        let machine = &self.brokers[broker as usize];
        let before = machine.process.as_ref().map(|process| {
            process.drivers.values().map(|d| d.view().report().incarnation).collect()
        });
        let bit_in = bit.then_some(machine.run);
        self.faults.damaged = Some(Damage { broker, before: before.unwrap_or_default(), bit_in });
        self.faults.no_damage_until_ms = self.now() + PAUSE_MS;
    }

    pub(crate) fn lose_volume(&mut self, broker: u32) {
        if !self.may_lose(broker) {
            return;
        }
        self.faults.count("volume lost");
        self.note_damage(broker, false);
        self.end_process(broker);
        let machine = self.broker(broker);
        machine.disk.wipe();
        machine.rotten = false;
        machine.boots += 1;
        self.start_later(broker);
    }

    /// The first time a snapshot is taken, the next time it is what the volume is again. Only
    /// where a later start than the snapshot's is remembered: that another start was made since is
    /// what tells an old volume.
    pub(crate) fn roll_volume_back(&mut self, broker: u32) {
        let Some((start, snapshot)) = self.faults.snapshots.get(&broker).cloned() else {
            let machine = self.broker(broker);
            let Some(process) = &machine.process else { return };
            let start = process.volume.boot().counter;
            let snapshot = machine.disk.snapshot();
            self.faults.snapshots.insert(broker, (start, snapshot));
            return;
        };
        if self.start_remembered(broker) <= start || !self.may_lose(broker) {
            return;
        }
        self.faults.count("volume rolled back");
        self.note_damage(broker, false);
        self.end_process(broker);
        let machine = self.broker(broker);
        machine.disk.restore(&snapshot);
        machine.rotten = false;
        machine.boots += 1;
        self.start_later(broker);
    }

    /// The newest start of a broker that the records name.
    fn start_remembered(&self, broker: u32) -> u64 {
        let record = self.newest(ShardId::CATALOG);
        let starts = record.map(|record| record.starts).unwrap_or_default();
        let start = starts.iter().find(|start| start.broker.0 == broker);
        start.map_or(0, |start| start.counter)
    }

    /// Turns a bit of some file, under a running process or between two.
    pub(crate) fn turn_bit(&mut self, broker: u32) {
        if !self.may_lose(broker) {
            return;
        }
        let Some((path, length)) = self.some_file(broker) else { return };
        self.faults.count(match path.extension().and_then(|extension| extension.to_str()) {
            Some("index") => "bit of an index turned",
            Some(_) => "bit of a segment turned",
            None => "bit of a checkpoint or meta file turned",
        });
        self.note_damage(broker, true);
        let stops = self.dice.chance(500);
        if stops {
            self.broker(broker).disk.kill();
            self.end_process(broker);
        }
        let bit = self.dice.below(length * 8);
        let machine = self.broker(broker);
        machine.rotten = machine.disk.flip_bit(&path, bit);
        if self.trace {
            println!("{:6} broker {broker}: bit {bit} of {}", self.now(), path.display());
        }
        if stops {
            self.start_later(broker);
        }
    }

    /// A file that matters: of every kind as often, though there are more segments.
    fn some_file(&self, broker: u32) -> Option<(PathBuf, u64)> {
        let files = self.brokers[broker as usize].disk.files();
        let live: Vec<(PathBuf, u64)> = files
            .into_iter()
            .filter(|(path, length)| *length > 0 && !path.iter().any(|part| part == "aside"))
            .collect();
        let extension = *self.dice.pick(&[Some("log"), Some("index"), None])?;
        let of_kind: Vec<_> = live
            .iter()
            .filter(|(path, _)| path.extension().and_then(|of| of.to_str()) == extension)
            .collect();
        // What is read most is what is newest.
        let newest = self.dice.chance(650);
        let file = if newest { of_kind.last() } else { self.dice.pick(&of_kind) };
        file.map(|file| (*file).clone())
    }

    pub(crate) fn start_later(&mut self, broker: u32) {
        let delay = 50 + self.dice.below(6_000);
        self.after(delay, Event::Start(broker));
    }
}
