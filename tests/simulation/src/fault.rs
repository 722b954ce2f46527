//! What goes wrong: drawn by the seed, and never so much that no copy of what is committed is
//! left.

use std::collections::BTreeMap;

use holdfast_log::simulated::Snapshot;

use crate::damage::Damage;
use crate::dice::Dice;
use crate::event::Event;
use crate::moves::MACHINES_MAX;
use crate::world::{OPERATORS, World};

pub(crate) const NODES: usize = MACHINES_MAX as usize + OPERATORS;

/// What is wrong at present.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Nothing gets from here to there, as long as the number is not 0.
    pub(crate) cut: [[u32; NODES]; NODES],
    pub(crate) slow: [u64; NODES],
    pub(crate) lost_permille: u64,
    /// An answer between brokers arrives with a bit turned.
    pub(crate) garbled_permille: u64,
    pub(crate) twice_permille: u64,
    pub(crate) ambiguous_permille: u64,
    /// A replica that begins to be built anew is stopped in the middle of it.
    pub(crate) midway_permille: u64,
    /// Which kinds the seed draws from.
    kinds: Vec<Kind>,
    /// What was damaged last.
    pub(crate) damaged: Option<Damage>,
    pub(crate) snapshots: BTreeMap<u32, (u64, Snapshot)>,
    /// Nothing is lost, or restored, before then, ms.
    pub(crate) no_damage_until_ms: u64,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill,
    Power,
    PowerOfAll,
    PowerOfOthers,
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
    BitTurned,
    OldRelease,
    StopMidway,
    ReadFails,
}

const KINDS: [Kind; 26] = [
    Kind::Kill,
    Kind::Power,
    Kind::PowerOfAll,
    Kind::PowerOfOthers,
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
    Kind::BitTurned,
    Kind::OldRelease,
    Kind::StopMidway,
    Kind::ReadFails,
];

impl Faults {
    pub(crate) fn new(dice: &Dice) -> Self {
        // Some seeds draw from few kinds, so that rare mixes are met too.
        let few = dice.chance(500);
        let kinds: Vec<Kind> = KINDS.iter().copied().filter(|_| !few || dice.chance(350)).collect();
        let midway_permille = if kinds.contains(&Kind::StopMidway) { 300 } else { 0 };
        Self {
            counts: BTreeMap::new(),
            cut: [[0; NODES]; NODES],
            slow: [1; NODES],
            lost_permille: 0,
            garbled_permille: 0,
            twice_permille: dice.below(30),
            ambiguous_permille: if dice.chance(500) { dice.below(150) } else { 0 },
            midway_permille,
            kinds,
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

    /// Whether the links of this broker are cut, slow or lossy.
    pub(crate) fn touches(&self, node: usize) -> bool {
        let others = 0..NODES;
        self.lost_permille > 0
            || self.slow[node] > 1
            || others.into_iter().any(|other| self.cut[node][other] + self.cut[other][node] > 0)
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
        let broker = self.some_machine();
        let kinds = self.faults.kinds.clone();
        if let Some(kind) = self.dice.pick(&kinds).copied() {
            self.strike(kind, broker);
        }
        let pause = if self.dice.chance(200) { 50 } else { self.shape.pace_ms };
        let next = 10 + self.dice.below(pause);
        self.after(next, Event::Fault);
    }

    fn strike(&mut self, kind: Kind, broker: u32) {
        if self.trace {
            println!("{:6} {kind:?}, broker {broker}", self.now());
        }
        let for_ms = 200 + self.dice.below(8_000);
        match kind {
            Kind::Kill => self.kill(broker),
            Kind::Power => self.power(broker),
            Kind::PowerOfAll => self.machines().for_each(|broker| self.power(broker)),
            Kind::PowerOfOthers => self.power_of_others(broker),
            Kind::Restart => self.restart(broker),
            Kind::Pause => self.pause(broker, for_ms),
            Kind::Isolate => self.isolate(broker, for_ms),
            Kind::OneWay => self.cut_one_way(broker, for_ms),
            Kind::Partial => self.cut_partly(broker, for_ms),
            Kind::CutOperator => self.cut_operator(broker, for_ms),
            Kind::Slow => self.slow_links(broker, for_ms),
            Kind::Loss => self.lose_messages(for_ms),
            Kind::OperatorDies => self.kill_operator(for_ms),
            Kind::TwoOperators => self.second_operator(for_ms),
            Kind::StoreAway => self.store_away(for_ms),
            Kind::StoreRestored => self.restore_store(),
            Kind::FlushFails => self.fail_flush(broker),
            Kind::FlushSlow => self.slow_flush(broker, for_ms),
            Kind::DiskFull => self.fill_disk(broker, for_ms),
            Kind::ClockJump => self.jump_clock(broker),
            Kind::VolumeLost => self.lose_volume(broker),
            Kind::VolumeBack => self.roll_volume_back(broker),
            Kind::BitTurned => self.turn_bit(broker),
            Kind::StopMidway => self.stop_midway(broker),
            Kind::ReadFails => self.fail_reads(broker, for_ms),
            Kind::OldRelease => self.run_old_release(broker, for_ms * 2),
        }
    }

    pub(crate) fn pick(&self, bound: usize) -> usize {
        usize::try_from(self.dice.below(bound as u64)).unwrap_or(0)
    }
}
