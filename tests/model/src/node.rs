//! A broker of the model: carries out what its replica says, as the shell does.

use std::sync::Arc;

use holdfast_core::Replica;
use holdfast_core::replica::{Fault, IsrRequest, Output};
use holdfast_protocol::{FlushMode, Position, ShardId};

use crate::disk::Entry;
use crate::invariants::{Invariant, index};
use crate::setup::{NOW_MS, Setup, Shell, TICK_MS};
use crate::state::{Message, Posted, State, id};

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What was written stays.
    Kill,
    /// Of what was not flushed, what is below this stays.
    Power(usize),
    /// The volume is another one.
    Lost,
    /// The log is found damaged below the durable checkpoint.
    Rotten,
}

impl State {
    /// Does something to the replica of a broker that runs, and carries out what comes of it.
    pub(crate) fn with(&mut self, setup: &Setup, broker: usize, act: impl FnOnce(&mut Replica)) {
        let Some(replica) = &mut self.node_mut(broker).replica else { return };
        let (epoch, known) = (replica.epoch(), replica.committed());
        act(replica);
        let regressed = replica.epoch() < epoch;
        if regressed {
            self.judge(setup, Invariant::EpochNeverRegresses);
        }
        self.settle(setup, broker, known);
    }

    /// Carries out what a replica says, that knew everything below `known` to be committed.
    fn settle(&mut self, setup: &Setup, broker: usize, known: Position) {
        while let Some(output) =
            self.node_mut(broker).replica.as_mut().and_then(Replica::poll_output)
        {
            self.carry_out(setup, broker, output, known);
        }
        let node = self.node_mut(broker);
        let Some(replica) = &node.replica else { return };
        // As the shard does it: a new leader begins its epoch before anything else.
        if let Some(epoch) = replica.wants_epoch_start() {
            self.append(setup, broker, Entry { epoch, mark: 0 });
        }
    }

    /// A leader appends an entry of its own.
    pub(crate) fn append(&mut self, setup: &Setup, broker: usize, entry: Entry) {
        let node = self.node_mut(broker);
        let (entries, next) = (node.disk.draft(entry), node.disk.end().next());
        self.with(setup, broker, |replica| replica.handle_appended(entries, next, NOW_MS));
    }

    fn carry_out(&mut self, setup: &Setup, broker: usize, output: Output, known: Position) {
        let from = id(broker);
        let node = self.node_mut(broker);
        match output {
            Output::Persist(record) => node.disk.record = Some(record),
            Output::Append(entries) => node.disk.append(&entries),
            Output::Truncate(to) => {
                node.disk.truncate(index(to.0));
                if to < known {
                    self.judge(setup, Invariant::NoTruncateBelowCommitted);
                }
            }
            Output::Fetch(to, fetch) => self.send(setup, Message::Fetch { from, to, fetch }),
            Output::Serve { to, key, end, committed } => {
                let count = setup.serve_entries_max;
                let (entries, next) = node.disk.read(index(key.position.0), index(end.0), count);
                let answer = Replica::data(key, entries, next, committed);
                self.send(setup, Message::Answer { from, to, answer });
            }
            Output::Answer(to, answer) => self.send(setup, Message::Answer { from, to, answer }),
            // Nothing is cleaned here and no election is unclean, so nothing is built anew.
            Output::Bootstrap(_) => {}
            Output::RequestIsr(request) => self.wish(setup, broker, request),
            Output::Halt(Fault::TruncateBelowCommitted { .. }) => {
                self.judge(setup, Invariant::NoTruncateBelowCommitted);
            }
            // No state is applied here, so the other can't come of anything.
            Output::Halt(Fault::Entries(_) | Fault::Apply { .. }) => {
                self.judge(setup, Invariant::LogMatching);
            }
        }
    }

    fn wish(&mut self, setup: &Setup, broker: usize, request: IsrRequest) {
        let record = self.store.record();
        let present = record.version == request.expected && record.epoch == request.epoch;
        let wish = (request.expected, request.isr.clone());
        if (present || setup.bounds.rollbacks > 0) && !self.seen.asked.contains(&wish) {
            self.seen_mut().asked.push(wish);
        }
        self.send(setup, Message::Wish { from: id(broker), request });
    }

    /// Puts a message on its way, where it is not there already. Above the bound it is lost.
    pub(crate) fn send(&mut self, setup: &Setup, message: Message) {
        if self.messages.len() >= setup.bounds.messages {
            return;
        }
        let posted = Posted::new(message);
        let place = self.messages.binary_search_by_key(&posted.name, |other| other.name);
        if let Err(place) = place {
            self.messages.insert(place, posted);
        }
    }

    /// The process of a broker ends.
    pub(crate) fn stop(&mut self, setup: &Setup, broker: usize, how: Stop) {
        for leader in &mut self.seen_mut().leaders {
            leader.2 &= leader.1 != id(broker);
        }
        self.end_sessions(broker);
        let renews = setup.missing.keeps(Shell::Renewal);
        let node = self.node_mut(broker);
        node.replica = None;
        let believed = node.disk.believed;
        let (lost, other) = match how {
            Stop::Kill => (false, false),
            Stop::Power(keep) => {
                node.disk.truncate(keep.max(node.disk.durable));
                let counted = match setup.flush {
                    FlushMode::Sync => node.disk.log.len() < believed,
                    // Nobody can tell what was lost.
                    FlushMode::Async => true,
                };
                (counted, setup.flush == FlushMode::Async)
            }
            Stop::Lost => {
                node.disk.truncate(0);
                node.disk.record = None;
                (true, true)
            }
            Stop::Rotten => {
                let kept = if setup.missing.keeps(Shell::RotLeaves) { 0 } else { 1 };
                node.disk.truncate(kept);
                (true, setup.missing.keeps(Shell::RotLeaves))
            }
        };
        if lost {
            node.unproven = true;
            self.spent.lost_copies += 1;
        }
        // An empty volume has no name to keep.
        if how == Stop::Lost || other && renews {
            self.node_mut(broker).renew(broker);
        }
    }

    fn end_sessions(&mut self, broker: usize) {
        for operator in &mut self.operators {
            self.spent.boots[broker] = self.spent.boots[broker].wrapping_add(1);
            let operator = Arc::make_mut(operator);
            operator.sessions[broker] = false;
            operator.stopping[broker] = false;
        }
    }

    /// The process of a broker starts: what it recovers is durable by then.
    pub(crate) fn start(&mut self, setup: &Setup, broker: usize) {
        let node = self.node_mut(broker);
        node.disk.believed = node.disk.log.len();
        if setup.missing.keeps(Shell::TailCopy) {
            node.disk.durable = node.disk.believed;
        }
        let (recovered, settings) = (node.disk.recovered(), setup.settings());
        node.replica = Some(Replica::new(id(broker), ShardId(0), settings, recovered));
        self.settle(setup, broker, Position(0));
    }

    /// A flush ends. One that fails ends the process; without that rule, its pages are clean.
    pub(crate) fn flush(&mut self, setup: &Setup, broker: usize, fails: bool) {
        if fails && setup.missing.keeps(Shell::FlushStops) {
            // The process ends with it; the tail is copied and synced when it starts again.
            self.stop(setup, broker, Stop::Kill);
            return;
        }
        let disk = &mut self.node_mut(broker).disk;
        disk.believed = disk.log.len();
        if !fails {
            disk.durable = disk.believed;
        }
        let durable = Position(disk.believed as u64);
        self.with(setup, broker, |replica| replica.handle_durable(durable, NOW_MS));
    }

    /// Time passes at a replica; afterwards it is now again.
    pub(crate) fn tick(&mut self, setup: &Setup, broker: usize) {
        let then_ms = NOW_MS + TICK_MS;
        self.with(setup, broker, |replica| replica.handle_tick(then_ms));
        if let Some(replica) = &mut self.node_mut(broker).replica {
            replica.shift_time(then_ms, NOW_MS, TICK_MS);
        }
    }
}
