//! A wanted number of brokers that changes: replicas move, machines come and go.
//!
//! Some seeds have a fourth machine. As on Kubernetes, whoever keeps the policy starts an operator
//! anew where what it is told changes, runs the machines that are wanted or hold replicas, and stops
//! the fourth once no record names it, with its volume kept or deleted. What is drawn here comes
//! from dice of its own, so that the other seeds are as they were.

use holdfast_operator_core::{Policy, Status};
use holdfast_protocol::{BrokerId, ShardId, ShardRecord};

use crate::broker::Broker;
use crate::dice::Dice;
use crate::effects::Clock;
use crate::event::Event;
use crate::operator::policy;
use crate::world::{BROKERS, SHARDS, World};

/// The most machines that there are.
pub(crate) const MACHINES_MAX: u32 = 4;
/// How many replicas a shard has.
pub(crate) const REPLICAS: u32 = 3;
/// How often what is wanted is looked at, ms.
const LOOK_MS: u64 = 400;
/// Makes other dice of the same seed. Chosen so that the seeds which once failed are as they were.
const SALT: u64 = 33;

/// What is wanted, and what is not yet.
#[derive(Debug)]
pub(crate) struct Wants {
    /// How many brokers are wanted.
    pub(crate) staying: u32,
    /// How many run: those and whoever still holds something.
    runs: u32,
    /// `None`: it stays like that.
    dice: Option<Dice>,
    changes_ms: u64,
}

impl Wants {
    /// Three brokers, always.
    pub(crate) fn steady() -> Self {
        Self { staying: BROKERS, runs: BROKERS, dice: None, changes_ms: 0 }
    }

    pub(crate) fn draw(seed: u64) -> Self {
        let dice = Dice::new(seed ^ SALT);
        if !dice.chance(300) {
            return Self::steady();
        }
        let staying = if dice.chance(500) { MACHINES_MAX } else { BROKERS };
        let changes_ms = dice.between(3_000, 15_000);
        Self { staying, runs: staying, dice: Some(dice), changes_ms }
    }

    pub(crate) fn machines(&self) -> u32 {
        if self.dice.is_some() { MACHINES_MAX } else { BROKERS }
    }

    pub(crate) fn machine(&self, id: u32, clock: &Clock) -> Broker {
        let mut machine = Broker::new(clock);
        machine.is_absent = id >= self.runs;
        machine
    }
}

impl World {
    /// Every machine.
    pub(crate) fn machines(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.brokers.len()).unwrap_or(0)
    }

    /// Those that are to have a shard, and of the catalog those that follow it, too.
    pub(crate) fn holders(&self, shard: ShardId) -> Vec<u32> {
        let replicas = self.newest_alive(shard).map(|record| record.replicas).unwrap_or_default();
        let follows = |id: &u32| shard == ShardId::CATALOG && *id < self.wants.staying;
        self.machines().filter(|id| replicas.contains(&BrokerId(*id)) || follows(id)).collect()
    }

    /// Whether the replicas are where they are wanted.
    pub(crate) fn is_placed(&self, record: &ShardRecord) -> bool {
        record.replicas.len() == REPLICAS as usize
            && record.replicas.iter().all(|broker| broker.0 < self.wants.staying)
            && record.isr.len() == record.replicas.len()
    }

    pub(crate) fn some_machine(&self) -> u32 {
        u32::try_from(self.dice.below(self.brokers.len() as u64)).unwrap_or(0)
    }

    /// What an operator is told that knows these records, as `holdfast_operator::wanted` has it:
    /// nobody is stopped before it is certain that nobody needs them.
    pub(crate) fn policy<'a>(
        &self,
        records: impl Iterator<Item = &'a ShardRecord>,
        status: Option<&Status>,
    ) -> Policy {
        let Wants { staying, runs, .. } = self.wants;
        let held = records.flat_map(|record| &record.replicas).map(|broker| broker.0 + 1).max();
        let wanted = staying.max(held.unwrap_or(0));
        let runs = match status {
            Some(status) if status.is_certain => wanted,
            Some(status) => wanted.max(status.brokers_named).max(runs),
            None => wanted.max(runs),
        };
        policy(self.shape, runs, staying)
    }

    pub(crate) fn begin_wants(&mut self) {
        if self.wants.dice.is_some() {
            self.after(LOOK_MS, Event::Want);
        }
    }

    /// Perhaps something else is wanted now; and what was wanted before is brought on.
    ///
    /// # Errors
    /// Where somebody left a shard too early.
    pub(crate) fn want(&mut self) -> Result<(), String> {
        let Some(dice) = self.wants.dice.clone() else { return Ok(()) };
        self.judge_moves()?;
        self.after(LOOK_MS, Event::Want);
        if !self.quiet && self.now() >= self.wants.changes_ms {
            self.wants.staying = MACHINES_MAX + BROKERS - self.wants.staying;
            // Now and then before the last change is done.
            let pause = if dice.chance(350) { 1_500 } else { 15_000 };
            self.wants.changes_ms = self.now() + 200 + dice.below(pause);
            self.faults.count("other brokers wanted");
        }
        self.keep_operators();
        self.keep_machines(&dice);
        if !self.quiet && dice.chance(150) {
            self.strike_a_move(&dice);
        }
        Ok(())
    }

    /// That all who stay were in sync when somebody left. What was adopted in place of a store that
    /// went back is what was decided before.
    fn judge_moves(&mut self) -> Result<(), String> {
        for (before, after) in self.store.take_left() {
            let stays = |broker: &BrokerId| {
                let now = after.in_sync(*broker);
                now.is_some() && now == before.in_sync(*broker)
            };
            let adopted = after.version.generation > before.version.generation;
            if !adopted && !after.replicas.iter().all(stays) {
                return Err(format!("somebody left too early: {before:?}, then {after:?}"));
            }
        }
        Ok(())
    }

    /// Operators that are told something else begin anew.
    fn keep_operators(&mut self) {
        for number in 0..self.operators.len() {
            let Some(planner) = &self.operators[number].planner else { continue };
            let policy = self.policy(planner.records(), Some(&planner.status()));
            self.wants.runs = policy.brokers;
            if self.operators[number].policy.as_ref() != Some(&policy) {
                self.stop_operator(number);
                self.start_operator(number);
            }
        }
    }

    /// The fourth machine runs while it is wanted, or some record names it.
    fn keep_machines(&mut self, dice: &Dice) {
        for id in BROKERS..MACHINES_MAX {
            let is_wanted = id < self.wants.runs;
            if is_wanted != self.brokers[id as usize].is_absent {
                continue;
            }
            self.broker(id).is_absent = !is_wanted;
            if is_wanted {
                self.after(dice.below(3_000), Event::Start(id));
                continue;
            }
            self.faults.count("broker removed");
            self.broker(id).disk.kill();
            self.end_process(id);
            // The records are read once more before a volume is deleted.
            let named = |record: &ShardRecord| record.replicas.contains(&BrokerId(id));
            let held = self.store.records().values().any(named) || self.is_store_behind();
            if !held && dice.chance(500) {
                self.faults.count("volume of a removed broker deleted");
                self.note_lossy(id);
                let machine = self.broker(id);
                machine.disk.wipe();
                machine.rotten = false;
                machine.boots += 1;
            }
        }
    }

    /// Kills one of those that a replica goes from or to, in the midst of it.
    fn strike_a_move(&mut self, dice: &Dice) {
        let moving = (0..SHARDS).filter_map(|shard| self.store.read(ShardId(shard)));
        let moving: Vec<ShardRecord> =
            moving.filter(|record| record.replicas.len() > REPLICAS as usize).collect();
        let Some(record) = dice.pick(&moving) else { return };
        let (stay, leave) = record.replicas.split_at(REPLICAS as usize);
        let comes = |broker: &&BrokerId| record.in_sync(**broker).is_none();
        let (kind, victim) = match dice.chance(500) {
            true => ("killed while its replica moved away", dice.pick(leave)),
            false => ("killed while a replica came", stay.iter().find(comes)),
        };
        let Some(victim) = victim.map(|broker| broker.0) else { return };
        if self.brokers[victim as usize].process.is_some() {
            self.faults.count(kind);
            self.kill(victim);
        }
    }
}
