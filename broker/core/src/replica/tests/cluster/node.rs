//! A broker of the cluster: its disk, and its shard while it runs.

use holdfast_protocol::{BrokerId, Epoch, Member, Offset, Position, StreamId};

use super::checker::Violation;
use super::disk::Disk;
use super::{Message, World};
use crate::Shard;
use crate::replica::{Output, Settings};

/// A client that waits at a leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) client: usize,
    pub(super) mark: u64,
    pub(super) epoch: Epoch,
    pub(super) until: Position,
    pub(super) at: (StreamId, Offset),
}

/// A leader's checkpoint on its way to a replica that is built anew.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) start: Position,
    pub(super) bytes: Vec<u8>,
}

/// One broker.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: BrokerId,
    settings: Settings,
    pub(super) disk: Disk,
    /// `None` while it is down.
    pub(super) shard: Option<Shard>,
    /// Which life of the broker this is.
    pub(super) boot: u64,
    /// No message comes or goes.
    pub(super) is_cut: bool,
    pub(super) waits: Vec<Wait>,
    /// The leader whose checkpoint was asked for.
    pub(super) bootstrap: Option<BrokerId>,
    pub(super) image: Option<Image>,
    /// Up to here its committed entries were compared.
    compared: Position,
    /// The epoch whose leader it was seen to be.
    led: Option<Epoch>,
}

impl Node {
    pub(super) fn new(member: Member, settings: Settings) -> Self {
        let mut node = Self {
            id: member.broker,
            settings,
            disk: Disk::new(member.incarnation),
            shard: None,
            boot: 0,
            is_cut: false,
            waits: Vec::new(),
            bootstrap: None,
            image: None,
            compared: Position(0),
            led: None,
        };
        node.start();
        node
    }

    pub(super) fn start(&mut self) {
        self.boot += 1;
        self.compared = Position(0);
        self.led = None;
        self.shard = Some(self.disk.open(self.id, self.settings));
    }

    /// Its log begins anew: everything is to be compared again.
    pub(super) fn compared_anew(&mut self) {
        self.compared = Position(0);
    }

    /// The process is gone, and all that it only had in memory.
    pub(super) fn stop(&mut self) {
        self.shard = None;
        self.waits.clear();
        self.bootstrap = None;
        self.image = None;
    }

    pub(super) fn leads(&self) -> Option<Epoch> {
        self.shard.as_ref().and_then(|shard| shard.replica().leads())
    }

    pub(super) fn confirmed(&self) -> Option<Epoch> {
        self.shard.as_ref().and_then(|shard| shard.replica().confirmed())
    }
}

impl World {
    /// Does something to the shard of a broker that runs, and carries out what comes of it.
    pub(super) fn with(&mut self, n: usize, act: impl FnOnce(&mut Shard, u64)) {
        let now_ms = self.now_ms;
        if let Some(shard) = &mut self.nodes[n].shard {
            act(shard, now_ms);
        }
        self.settle(n);
    }

    pub(super) fn settle(&mut self, n: usize) {
        while let Some(output) = self.nodes[n].shard.as_mut().and_then(Shard::poll_output) {
            let result = self.carry_out(n, output);
            self.judge(result);
        }
        let Some(shard) = &mut self.nodes[n].shard else { return };
        while shard.poll_change().is_some() {}
        let result = self.look(n);
        self.judge(result);
        self.acknowledge(n);
    }

    fn carry_out(&mut self, n: usize, output: Output) -> Result<(), Violation> {
        self.note(|| format!("  {n}: {}", super::trace::output(&output)));
        let from = self.nodes[n].id;
        let node = &mut self.nodes[n];
        match output {
            Output::Persist(record) => node.disk.record = Some(record),
            Output::Append(entries) => {
                node.disk.append(&entries);
                self.checker.appended(&node.disk, entries.headers())?;
            }
            Output::Truncate(to) => {
                if to < node.compared {
                    return Err(format!("cut to {to}, below what is committed: {}", node.compared));
                }
                node.disk.truncate(to);
            }
            Output::Fetch(to, fetch) => self.send(Message::Fetch { from, to, fetch }),
            Output::Serve { to, key, end, committed } => {
                let count = 1 + self.random.index(8);
                let (entries, next) = self.nodes[n].disk.read(key.position, end, count);
                let answer = crate::Replica::data(key, entries, next, committed);
                self.send(Message::Answer { from, to, answer });
            }
            Output::Answer(to, answer) => self.send(Message::Answer { from, to, answer }),
            Output::Bootstrap(leader) => node.bootstrap = Some(leader),
            Output::RequestIsr(request) => self.send(Message::Isr { from, request }),
            Output::Halt(fault) => return Err(format!("broker {n} halts: {fault}")),
        }
        Ok(())
    }

    /// Compares a broker with everything seen before.
    fn look(&mut self, n: usize) -> Result<(), Violation> {
        let node = &mut self.nodes[n];
        let Some(shard) = &node.shard else { return Ok(()) };
        let replica = shard.replica();
        let committed = replica.committed();
        if let Some(epoch) = replica.leads() {
            self.checker.leads(epoch, (node.id, node.boot))?;
            let newest = epoch == self.operator.record().epoch;
            if node.led != Some(epoch) && newest && !self.setup.unclean {
                self.checker.leader_has(&node.disk, Position(0))?;
            }
            node.led = Some(epoch);
        }
        let isr = &self.operator.record().isr;
        if self.setup.unclean {
            // What was committed may go then, so only the end of the run is judged.
            return Ok(());
        }
        if isr.len() < self.operator.record().min_in_sync_replicas as usize {
            return Err(format!("IsrNeverBelowMinimum: {isr:?}"));
        }
        let before = self.checker.committed();
        if replica.leads().is_some() {
            self.checker.leader_committed(&node.disk, committed)?;
        }
        if committed > node.compared {
            self.checker.knows(&node.disk, node.compared, committed)?;
            node.compared = committed;
            self.checker.state(shard)?;
        }
        if self.checker.committed() > before {
            self.newest_leader_has(before)?;
        }
        Ok(())
    }

    /// LeaderHasAllCommitted, of what an older leader committed late.
    fn newest_leader_has(&self, from: Position) -> Result<(), Violation> {
        let newest = Some(self.operator.record().epoch);
        let leader = self.nodes.iter().find(|node| node.leads() == newest);
        leader.map_or(Ok(()), |leader| self.checker.leader_has(&leader.disk, from))
    }

    /// Tells clients whose batches are committed; a leader that is none any more tells nobody.
    fn acknowledge(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some(shard) = &node.shard else { return };
        let (confirmed, committed) = (shard.replica().confirmed(), shard.replica().committed());
        node.waits.retain(|wait| confirmed == Some(wait.epoch));
        let waits = std::mem::take(&mut node.waits);
        let (done, waiting) = waits.into_iter().partition(|wait: &Wait| wait.until <= committed);
        node.waits = waiting;
        let mut broken = Vec::new();
        for wait in done {
            if self.random.percent(3) {
                // The connection breaks before the client hears of it: it sends all again.
                self.clients[wait.client].give_up(|_, _| false);
                broken.push(wait.client);
            }
            if !broken.contains(&wait.client) {
                self.clients[wait.client].acknowledged(wait.mark);
            }
            if !self.setup.unclean {
                let result = self.checker.acknowledge(wait.mark, wait.at);
                self.judge(result);
            }
        }
        self.nodes[n].waits.retain(|wait| !broken.contains(&wait.client));
    }
}
