//! What ends what is wrong.

use crate::event::Event;
use crate::fault::NODES;
use crate::world::World;

/// What ends a fault.
#[derive(Clone, Debug)]
pub(crate) enum Heal {
    Links(Vec<(usize, usize)>),
    Fast(usize),
    Loss,
    FlushFast(u32),
    Room(u32),
    Reads(u32),
    SecondOperator,
}

impl World {
    pub(crate) fn heal(&mut self, heal: Heal) {
        match heal {
            Heal::Links(links) => {
                for (from, to) in links {
                    self.faults.cut[from][to] = self.faults.cut[from][to].saturating_sub(1);
                }
            }
            Heal::Fast(node) => self.faults.slow[node] = 1,
            Heal::Loss => {
                self.faults.lost_permille = 0;
                self.faults.garbled_permille = 0;
            }
            Heal::FlushFast(broker) => self.broker(broker).flush_fast(),
            Heal::Room(broker) => self.broker(broker).give_room(),
            Heal::Reads(broker) => {
                let machine = self.broker(broker);
                machine.disk.fail_reads(0);
                machine.reads_fail = false;
            }
            Heal::SecondOperator => self.stop_operator(1),
        }
    }

    /// Everything heals, and nothing more goes wrong.
    pub(crate) fn quieten(&mut self) {
        self.quiet = true;
        self.faults.cut = [[0; NODES]; NODES];
        self.faults.slow = [1; NODES];
        self.faults.lost_permille = 0;
        self.faults.garbled_permille = 0;
        self.faults.twice_permille = 0;
        self.faults.ambiguous_permille = 0;
        self.faults.midway_permille = 0;
        self.store.away_until_ms = 0;
        self.stop_operator(1);
        self.after(1, Event::StartOperator(0));
        for broker in self.machines() {
            let machine = self.broker(broker);
            machine.paused_until_ms = 0;
            machine.old_until_ms = 0;
            machine.flush_fast();
            machine.give_room();
            machine.disk.fail_flushes(0);
            machine.disk.fail_reads(0);
            machine.reads_fail = false;
            machine.disk.stop_after(u64::MAX);
            self.after(1, Event::Start(broker));
        }
    }
}
