//! The end of a run: everything works again, and the cluster has to become whole.

use super::World;
use super::checker::Violation;
use super::trace;
use crate::replica::History;

/// Rounds in which every broker hears everything, and 10 ms pass.
const ROUNDS: usize = 400;
/// Rounds that are traced.
const ROUNDS_TRACED: usize = 5;

impl World {
    pub(super) fn end_in_quiet(&mut self) -> Result<(), Violation> {
        self.note(|| "quiet".to_owned());
        self.weather.refuse = 0;
        for n in 0..self.nodes.len() {
            self.nodes[n].is_cut = false;
            self.start(n);
        }
        // The steps that led here tell more than the waiting.
        let mut trace = None;
        for round in 0..ROUNDS {
            if round == ROUNDS_TRACED {
                trace = self.trace.take();
            }
            let result = self.round_is_last();
            if let Some(result) = result {
                self.trace = self.trace.take().or(trace);
                return result;
            }
        }
        self.trace = self.trace.take().or(trace);
        let record = trace::record(self.operator.record());
        Err(self.unrest().map_or(String::new(), |why| format!("no rest: {why}; {record}")))
    }

    /// One round; what came of all, if it is the last.
    fn round_is_last(&mut self) -> Option<Result<(), Violation>> {
        if !self.lead_well() {
            return Some(Ok(()));
        }
        self.round();
        if let Some(violation) = self.violation.take() {
            return Some(Err(violation));
        }
        self.unrest().is_none().then(|| self.all_equal())
    }

    /// Elects somebody who can lead, where nobody does. `false`: nobody may.
    fn lead_well(&mut self) -> bool {
        let record = self.operator.record();
        let epoch = record.epoch;
        let leads = |n: usize| {
            let node = &self.nodes[n];
            // A broker that did not see the record yet may still take it.
            let unseen = node.shard.as_ref().is_some_and(|s| s.replica().epoch() < epoch);
            let named = self.operator.leads(node.id, node.disk.incarnation);
            named && (node.leads() == Some(epoch) || unseen)
        };
        if (0..self.nodes.len()).any(leads) {
            return true;
        }
        let shards = self.nodes.iter().filter_map(|node| node.shard.as_ref());
        let able = shards.map(crate::Shard::replica).filter(|replica| {
            record.isr.contains(&replica.member()) && !replica.is_bootstrapping()
        });
        let best = able.max_by_key(|replica| (replica.last_epoch(), replica.end()));
        match best.map(crate::Replica::member) {
            Some(leader) => self.operator.elect(leader),
            None if self.setup.unclean => self.elect_unclean(),
            None => return false,
        }
        true
    }

    fn round(&mut self) {
        self.now_ms += 10;
        let record = self.operator.record().clone();
        for n in 0..self.nodes.len() {
            let record = record.clone();
            self.with(n, |shard, now| {
                shard.handle_record(record, now);
                shard.handle_tick(now);
            });
            self.flush(n);
            self.flush(n);
            self.bootstrap(n);
        }
        for _ in 0..self.messages.len() {
            if let Some(message) = self.messages.pop_front() {
                self.deliver(message);
            }
        }
        for client in 0..self.clients.len() {
            self.send_batches(client);
        }
    }

    /// What is not as it should be.
    fn unrest(&self) -> Option<String> {
        let record = self.operator.record();
        let leader = self.nodes.iter().find(|node| node.confirmed() == Some(record.epoch));
        let Some(leader) = leader.and_then(|node| node.shard.as_ref()) else {
            return Some("nobody leads".to_owned());
        };
        for node in &self.nodes {
            let (id, Some(shard)) = (node.id, &node.shard) else {
                return Some("somebody is down".to_owned());
            };
            if record.in_sync(id) != Some(node.disk.incarnation) {
                return Some(format!("{id} is not in sync"));
            }
            let (here, there) = (shard.replica(), leader.replica());
            let ends = (here.end(), here.committed(), node.disk.end);
            if ends != (there.end(), there.end(), there.end()) {
                return Some(format!("{id} ends at {ends:?}, the leader at {}", there.end()));
            }
        }
        let waits = self.clients.iter().position(|client| !client.pending.is_empty());
        waits.map(|client| format!("client {client} still waits"))
    }

    fn all_equal(&mut self) -> Result<(), Violation> {
        let shards: Vec<_> = self.nodes.iter().filter_map(|node| node.shard.as_ref()).collect();
        for shard in &shards[1..] {
            let (one, other) = (shards[0].state(), shard.state());
            if one.encode(&History::default()) != other.encode(&History::default()) {
                return Err(format!("states differ at rest: {one:?} and {other:?}"));
            }
        }
        Ok(())
    }
}
