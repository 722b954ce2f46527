//! What goes wrong: drawn by the seed, and never so much that no copy of what is committed is
//! left.

use std::collections::BTreeMap;

use holdfast_log::simulated::{Loss, Snapshot};
use holdfast_protocol::{Incarnation, ShardId, ShardRecord};

use crate::dice::Dice;
use crate::world::{BROKERS, Event, OPERATORS, SHARDS, World};

const NODES: usize = BROKERS as usize + OPERATORS;
/// An hour, by which walls' clocks are set wrong, ms.
const HOUR_MS: i64 = 3_600_000;

/// What is wrong at present.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Nothing gets from here to there, as long as the number is not 0.
    cut: [[u32; NODES]; NODES],
    slow: [u64; NODES],
    pub(crate) lost_permille: u64,
    pub(crate) twice_permille: u64,
    pub(crate) ambiguous_permille: u64,
    /// Which kinds the seed draws from.
    kinds: Vec<Kind>,
    /// Volumes are rolled back too.
    roll_back: bool,
    /// The broker whose data was lost last, and its logs before that.
    damaged: Option<(u32, Vec<Incarnation>)>,
    snapshots: BTreeMap<u32, Snapshot>,
    /// Nothing is lost, or restored, before then, ms.
    no_damage_until_ms: u64,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill,
    Power,
    PowerOfAll,
    Restart,
    Pause,
    Isolate,
    OneWay,
    Partial,
    CutOperator,
    Slow,
    Loss,
    OperatorDies,
    TwoOperators,
    StoreAway,
    StoreRestored,
    FlushFails,
    FlushSlow,
    DiskFull,
    ClockJump,
    VolumeLost,
    VolumeBack,
}

const KINDS: [Kind; 21] = [
    Kind::Kill,
    Kind::Power,
    Kind::PowerOfAll,
    Kind::Restart,
    Kind::Pause,
    Kind::Isolate,
    Kind::OneWay,
    Kind::Partial,
    Kind::CutOperator,
    Kind::Slow,
    Kind::Loss,
    Kind::OperatorDies,
    Kind::TwoOperators,
    Kind::StoreAway,
    Kind::StoreRestored,
    Kind::FlushFails,
    Kind::FlushSlow,
    Kind::DiskFull,
    Kind::ClockJump,
    Kind::VolumeLost,
    Kind::VolumeBack,
];

/// What ends a fault.
#[derive(Clone, Debug)]
pub(crate) enum Heal {
    Links(Vec<(usize, usize)>),
    Fast(usize),
    Loss,
    FlushFast(u32),
    Room(u32),
    SecondOperator,
}

impl Faults {
    pub(crate) fn new(dice: &Dice, roll_back: bool) -> Self {
        // Some seeds draw from few kinds, so that rare mixes are met too.
        let few = dice.chance(500);
        let kinds = KINDS.iter().copied().filter(|_| !few || dice.chance(350)).collect();
        Self {
            counts: BTreeMap::new(),
            cut: [[0; NODES]; NODES],
            slow: [1; NODES],
            lost_permille: 0,
            twice_permille: dice.below(30),
            ambiguous_permille: if dice.chance(500) { dice.below(150) } else { 0 },
            kinds,
            roll_back,
            damaged: None,
            snapshots: BTreeMap::new(),
            no_damage_until_ms: 0,
        }
    }

    pub(crate) fn count(&mut self, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[from][to] > 0
    }

    /// How long a message takes, ms.
    pub(crate) fn latency(&self, dice: &Dice, (from, to): (usize, usize)) -> u64 {
        dice.between(1, 4) * self.slow[from].max(self.slow[to])
    }
}

impl World {
    /// Something goes wrong, and the next thing later.
    pub(crate) fn fault(&mut self) {
        if self.quiet {
            return;
        }
        let broker = u32::try_from(self.dice.below(u64::from(BROKERS))).unwrap_or(0);
        let kinds = self.faults.kinds.clone();
        if let Some(kind) = self.dice.pick(&kinds).copied() {
            self.strike(kind, broker);
        }
        let pause = if self.dice.chance(200) { 50 } else { 4_000 };
        let next = 10 + self.dice.below(pause);
        self.after(next, Event::Fault);
    }

    fn strike(&mut self, kind: Kind, broker: u32) {
        if self.trace {
            println!("{:6} {kind:?}, broker {broker}", self.now());
        }
        let id = broker as usize;
        let for_ms = 200 + self.dice.below(8_000);
        match kind {
            Kind::Kill => self.kill(broker),
            Kind::Power => self.power(broker),
            Kind::PowerOfAll => (0..BROKERS).for_each(|broker| self.power(broker)),
            Kind::Restart => self.restart(broker),
            Kind::Pause => {
                self.faults.count("pause");
                let until = self.now() + for_ms;
                self.broker(broker).paused_until_ms = until;
            }
            Kind::Isolate => {
                let links = (0..NODES).flat_map(|node| [(node, id), (id, node)]);
                self.cut("isolated broker", links.collect(), for_ms);
            }
            Kind::OneWay => {
                let other = (id + 1 + self.pick(2)) % BROKERS as usize;
                self.cut("one-way partition", vec![(id, other)], for_ms);
            }
            Kind::Partial => {
                let other = (id + 1) % BROKERS as usize;
                self.cut("partial partition", vec![(id, other), (other, id)], for_ms);
            }
            Kind::CutOperator => {
                let operator = BROKERS as usize + self.pick(OPERATORS);
                self.cut("operator cut off", vec![(id, operator), (operator, id)], for_ms);
            }
            Kind::Slow => {
                self.faults.count("slow links");
                self.faults.slow[id] = self.dice.between(10, 100);
                self.after(for_ms, Event::Heal(Heal::Fast(id)));
            }
            Kind::Loss => {
                self.faults.count("lost messages");
                self.faults.lost_permille = self.dice.between(10, 150);
                self.after(for_ms, Event::Heal(Heal::Loss));
            }
            Kind::OperatorDies => {
                self.faults.count("operator died");
                self.stop_operator(0);
                self.after(for_ms, Event::StartOperator(0));
            }
            Kind::TwoOperators => {
                self.faults.count("two operators");
                self.after(0, Event::StartOperator(1));
                self.after(for_ms * 2, Event::Heal(Heal::SecondOperator));
            }
            Kind::StoreAway => {
                self.faults.count("store away");
                self.store.away_until_ms = self.now() + for_ms;
            }
            Kind::StoreRestored => self.restore_store(),
            Kind::FlushFails => {
                self.faults.count("flush failed");
                self.broker(broker).disk.fail_flushes(1);
            }
            Kind::FlushSlow => {
                self.faults.count("slow flush");
                self.broker(broker).flush_ms = (500, 10_000);
                self.after(for_ms, Event::Heal(Heal::FlushFast(broker)));
            }
            Kind::DiskFull => {
                self.faults.count("disk full");
                let room = self.dice.below(100_000);
                let disk = &self.broker(broker).disk;
                disk.set_quota(Some(disk.used_bytes() + room));
                self.after(for_ms, Event::Heal(Heal::Room(broker)));
            }
            Kind::ClockJump => {
                self.faults.count("clock jump");
                let jump = if self.dice.chance(500) { HOUR_MS } else { -HOUR_MS };
                self.broker(broker).clock.jump_ms.set(jump);
            }
            Kind::VolumeLost => self.lose_volume(broker),
            Kind::VolumeBack => self.roll_volume_back(broker),
        }
    }

    fn pick(&self, bound: usize) -> usize {
        usize::try_from(self.dice.below(bound as u64)).unwrap_or(0)
    }

    fn start_later(&mut self, broker: u32) {
        let delay = 50 + self.dice.below(6_000);
        self.after(delay, Event::Start(broker));
    }

    fn kill(&mut self, broker: u32) {
        self.faults.count("kill");
        self.broker(broker).disk.kill();
        self.end_process(broker);
        self.start_later(broker);
    }

    fn power(&mut self, broker: u32) {
        self.faults.count("power cut");
        let (seed, all) = (self.dice.next(), self.dice.chance(300));
        let loss = if all { Loss::All } else { Loss::Any };
        let machine = self.broker(broker);
        machine.disk.crash(seed, loss);
        machine.boots += 1;
        self.end_process(broker);
        self.start_later(broker);
    }

    /// Stops in order, and starts again.
    fn restart(&mut self, broker: u32) {
        if self.is_paused(broker).is_some() {
            return;
        }
        self.faults.count("restart");
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

    fn restore_store(&mut self) {
        if self.now() < self.faults.no_damage_until_ms || self.faults.damaged.is_some() {
            return;
        }
        self.faults.count("store restored");
        let writes_ago = 1 + self.pick(20);
        self.store.restore(writes_ago);
        self.faults.no_damage_until_ms = self.now() + 20_000;
    }

    /// The newest record of a shard that anyone has.
    pub(crate) fn newest(&self, shard: ShardId) -> Option<ShardRecord> {
        let processes = self.brokers.iter().filter_map(|broker| broker.process.as_ref());
        let kept = processes.filter_map(|process| process.drivers[&shard].view().report().record);
        kept.chain(self.store.read(shard)).max_by_key(|record| record.version)
    }

    /// Whether what this broker has may be lost: others have it all, and nobody else's was lost
    /// since they all had it again.
    fn may_lose(&mut self, broker: u32) -> bool {
        if self.now() < self.faults.no_damage_until_ms {
            return false;
        }
        let all_run = self.brokers.iter().all(|broker| broker.process.is_some());
        let records: Vec<_> = (0..SHARDS).map(|shard| self.newest(ShardId(shard))).collect();
        let in_sync = |id: u32, record: &ShardRecord| {
            let process = self.brokers[id as usize].process.as_ref();
            let own = process.map(|p| p.drivers[&record.shard].view().report().incarnation);
            own.is_some()
                && record.isr.iter().any(|m| m.broker.0 == id && Some(m.incarnation) == own)
        };
        let others = (0..BROKERS).filter(|id| *id != broker);
        let held = all_run
            && records.iter().all(|record| {
                record.as_ref().is_some_and(|r| others.clone().all(|id| in_sync(id, r)))
            });
        let renewed = self.faults.damaged.as_ref().is_none_or(|(id, before)| {
            let process = self.brokers[*id as usize].process.as_ref();
            process.is_some_and(|process| {
                let now = process.drivers.values().map(|d| d.view().report().incarnation);
                now.zip(before).all(|(now, before)| now != *before)
            }) && records.iter().flatten().all(|record| in_sync(*id, record))
        });
        held && renewed
    }

    fn note_damage(&mut self, broker: u32) {
        let process = self.brokers[broker as usize].process.as_ref();
        let before = process.map(|process| {
            process.drivers.values().map(|d| d.view().report().incarnation).collect()
        });
        self.faults.damaged = Some((broker, before.unwrap_or_default()));
        self.faults.no_damage_until_ms = self.now() + 5_000;
    }

    fn lose_volume(&mut self, broker: u32) {
        if !self.may_lose(broker) {
            return;
        }
        self.faults.count("volume lost");
        self.note_damage(broker);
        self.end_process(broker);
        let machine = self.broker(broker);
        machine.disk.wipe();
        machine.boots += 1;
        self.start_later(broker);
    }

    /// The first time a snapshot is taken, the next time it is what the volume is again. Only
    /// where it is asked for: nothing notices yet that a boot counter went back.
    fn roll_volume_back(&mut self, broker: u32) {
        if !self.faults.roll_back {
            return;
        }
        let Some(snapshot) = self.faults.snapshots.get(&broker).cloned() else {
            let snapshot = self.broker(broker).disk.snapshot();
            self.faults.snapshots.insert(broker, snapshot);
            return;
        };
        if !self.may_lose(broker) {
            return;
        }
        self.faults.count("volume rolled back");
        self.note_damage(broker);
        self.end_process(broker);
        let machine = self.broker(broker);
        machine.disk.restore(&snapshot);
        machine.boots += 1;
        self.start_later(broker);
    }

    pub(crate) fn heal(&mut self, heal: Heal) {
        match heal {
            Heal::Links(links) => {
                for (from, to) in links {
                    self.faults.cut[from][to] = self.faults.cut[from][to].saturating_sub(1);
                }
            }
            Heal::Fast(node) => self.faults.slow[node] = 1,
            Heal::Loss => self.faults.lost_permille = 0,
            Heal::FlushFast(broker) => self.broker(broker).flush_ms = (1, 4),
            Heal::Room(broker) => self.broker(broker).disk.set_quota(None),
            Heal::SecondOperator => self.stop_operator(1),
        }
    }

    /// Everything heals, and nothing more goes wrong.
    pub(crate) fn quieten(&mut self) {
        self.quiet = true;
        self.faults.cut = [[0; NODES]; NODES];
        self.faults.slow = [1; NODES];
        self.faults.lost_permille = 0;
        self.faults.twice_permille = 0;
        self.faults.ambiguous_permille = 0;
        self.store.away_until_ms = 0;
        self.stop_operator(1);
        self.after(1, Event::StartOperator(0));
        for broker in 0..BROKERS {
            let machine = self.broker(broker);
            machine.paused_until_ms = 0;
            machine.flush_ms = (1, 4);
            machine.disk.set_quota(None);
            machine.disk.fail_flushes(0);
            self.after(1, Event::Start(broker));
        }
    }
}
