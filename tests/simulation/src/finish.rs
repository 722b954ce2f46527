//! Whether everything is well again, and the last judgement.

use holdfast_core::Shard;
use holdfast_protocol::{Offset, ShardId};

use crate::client::value_of;
use crate::world::{BROKERS, SHARDS, World};

impl World {
    /// Every shard is led, all replicas are in sync and equally far, and nobody waits.
    pub(crate) fn is_well(&self) -> bool {
        self.clients.iter().all(|client| !client.pending)
            && (0..SHARDS).all(|shard| self.is_shard_well(ShardId(shard)))
    }

    fn is_shard_well(&self, shard: ShardId) -> bool {
        // A store that was restored is found to be behind with the next write; until then nothing
        // is wrong with who leads.
        let Some(record) = self.newest(shard) else { return false };
        let Some(leader) = record.leader else { return false };
        let Some(leads) = self.core(leader.broker.0, shard) else { return false };
        let end = leads.replica().end();
        leads.replica().confirmed() == Some(record.epoch)
            && record.isr.len() == BROKERS as usize
            && (0..BROKERS).all(|broker| {
                self.core(broker, shard).is_some_and(|core| {
                    let replica = core.replica();
                    replica.end() == end && replica.committed() == end && replica.held() == end
                })
            })
    }

    fn core(&self, broker: u32, shard: ShardId) -> Option<&Shard> {
        let process = self.brokers[broker as usize].process.as_ref()?;
        process.drivers.get(&shard).map(holdfast_broker::driver::Driver::core)
    }

    fn failure(&self, broker: u32, shard: ShardId) -> Option<String> {
        let process = self.brokers[broker as usize].process.as_ref()?;
        process.drivers.get(&shard)?.view().report().failure
    }

    /// What is not well, for people.
    pub(crate) fn ill(&self) -> String {
        let mut text = String::new();
        for (shard, record) in self.store.records() {
            text.push_str(&format!("\n{shard}: {record:?}"));
            for broker in 0..BROKERS {
                match self.core(broker, *shard) {
                    None => text.push_str(&format!("\n  {broker}: does not run")),
                    Some(core) => {
                        let replica = core.replica();
                        text.push_str(&format!(
                            "\n  {broker}: end {} committed {} held {} epoch {} leads {:?} \
                             confirmed {:?} follows {:?} incarnation {} failure {:?} record {:?}",
                            replica.end(),
                            replica.committed(),
                            replica.held(),
                            replica.epoch(),
                            replica.leads(),
                            replica.confirmed(),
                            replica.follows(),
                            replica.member().incarnation,
                            self.failure(broker, *shard),
                            replica.record().map(|record| record.version),
                        ));
                    }
                }
            }
        }
        let waiting = self.clients.iter().filter(|client| client.pending);
        text.push_str(&format!("\nclients that wait: {:?}", waiting.collect::<Vec<_>>()));
        text
    }

    /// Judges what is there in the end.
    pub(crate) fn judge(&mut self) -> Result<(), String> {
        for shard in (0..SHARDS).map(ShardId) {
            let states: Vec<Option<Vec<u8>>> = (0..BROKERS)
                .map(|broker| {
                    let core = self.core(broker, shard)?;
                    Some(core.state().encode(core.replica().history()))
                })
                .collect();
            if states.windows(2).any(|pair| pair[0] != pair[1]) {
                return Err(format!("shard {shard}: the replicas' states are not equal"));
            }
            if let Some(state) = &states[0] {
                let sum = state
                    .iter()
                    .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
                self.note(sum);
            }
        }
        for client in &self.clients {
            let (shard, stream) = (client.shard, client.stream);
            let leader = self.newest(shard).and_then(|record| record.leader);
            let leader = leader.map_or(0, |leader| leader.broker.0);
            let content = self.content(leader, shard, stream, None);
            self.checker.judge(stream, client.is_idempotent(), &content)?;
            for broker in 0..BROKERS {
                let Some(process) = &self.brokers[broker as usize].process else { continue };
                let reader = &process.drivers[&shard].view().reader;
                let end = Offset(u64::MAX);
                let held = reader
                    .read_stream(stream, Offset(0), end, usize::MAX, true)
                    .map_err(|error| format!("broker {broker}, shard {shard}: {error}"))?;
                let held: Vec<u64> = held.iter().map(value_of).collect();
                if held.iter().ne(content.iter().map(|(_, value)| value)) {
                    return Err(format!(
                        "{stream:?}: broker {broker} holds other batches than its leader"
                    ));
                }
            }
        }
        Ok(())
    }
}
