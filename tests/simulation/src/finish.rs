//! Whether everything is well again, and the last judgement.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use holdfast_core::Shard;
use holdfast_protocol::{Header, Offset, ShardId, ShardRecord, StreamId};

use crate::check::Content;
use crate::client::{SHORT, placed, topic_of};
use crate::world::{SHARDS, World};

#[cfg(test)]
mod tests;

impl World {
    /// Every shard is led, all replicas are in sync and equally far, and nobody waits.
    pub(crate) fn is_well(&self) -> bool {
        self.clients.iter().all(|client| !client.pending)
            && !self.brokers.iter().any(|broker| broker.rotten && !broker.is_absent)
            && (0..SHARDS).all(|shard| self.is_shard_well(ShardId(shard)))
    }

    fn is_shard_well(&self, shard: ShardId) -> bool {
        let Some(record) = self.newest_alive(shard) else { return false };
        let Some(leader) = record.leader else { return false };
        let Some(leads) = self.core(leader.broker.0, shard) else { return false };
        let end = leads.replica().end();
        leads.replica().confirmed() == Some(record.epoch)
            && self.is_placed(&record)
            && self.holders(shard).into_iter().all(|broker| {
                self.core(broker, shard).is_some_and(|core| {
                    let replica = core.replica();
                    replica.end() == end && replica.committed() == end && replica.held() == end
                })
            })
    }

    /// The newest record that anyone who runs knows of. A store that was restored is found to be
    /// behind with the next write, and so is what an operator wrote that died before it told
    /// anybody; until then nothing is wrong with who leads.
    pub(crate) fn newest_alive(&self, shard: ShardId) -> Option<ShardRecord> {
        let planners = self.operators.iter().filter_map(|operator| operator.planner.as_ref());
        let planned = planners.flat_map(|planner| planner.records()).filter(|r| r.shard == shard);
        let kept = self.kept(shard);
        kept.chain(planned.cloned()).max_by_key(|record| record.version)
    }

    /// Whether a broker does not know yet that another one was elected: what it shows may be older.
    pub(crate) fn is_deposed(&self, broker: u32, shard: ShardId) -> bool {
        let own = self.core(broker, shard).map(|core| core.replica().epoch());
        self.newest(shard).is_some_and(|record| Some(record.epoch) > own)
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
            for broker in self.machines() {
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
        let rotten = (0..).zip(&self.brokers).filter(|(_, broker)| broker.rotten);
        text.push_str(&format!(
            "\nrotten: {:?}",
            rotten.map(|(id, _): (u32, _)| id).collect::<Vec<_>>()
        ));
        let known = (0..SHARDS).map(|shard| self.newest_alive(ShardId(shard)));
        text.push_str(&format!("\nnewest: {:?}", known.collect::<Vec<_>>()));
        let waiting = self.clients.iter().filter(|client| client.pending);
        text.push_str(&format!("\nclients that wait: {:?}", waiting.collect::<Vec<_>>()));
        text
    }

    /// Judges what is there in the end.
    pub(crate) fn judge(&mut self) -> Result<(), String> {
        for shard in (0..SHARDS).map(ShardId) {
            let states: Vec<Option<Vec<u8>>> = self
                .holders(shard)
                .into_iter()
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
            self.judge_copies(shard)?;
        }
        self.judge_streams()?;
        self.judge_views()?;
        self.judge_catalog()?;
        self.checker.judge_cursors(|group, stream| self.cursor(group, stream))?;
        self.judge_room()
    }

    /// That all replicas hold the same messages, to the byte: of every stream from where it begins by
    /// the state, which is the same for all of them.
    fn judge_copies(&self, shard: ShardId) -> Result<(), String> {
        let holders = self.holders(shard);
        let Some((first, others)) = holders.split_first() else { return Ok(()) };
        let Some(core) = self.core(*first, shard) else {
            return Err(format!("shard {shard}: broker {first} does not run"));
        };
        for (stream, known) in core.state().streams() {
            let range = known.start..known.end;
            let own = self.bodies(*first, shard, *stream, &range)?;
            for other in others {
                let theirs = self.bodies(*other, shard, *stream, &range)?;
                if let Some(what) = difference(&own, &theirs) {
                    return Err(format!(
                        "{stream:?}: brokers {first} and {other} don't hold the same: {what}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// What a broker holds of a stream.
    fn bodies(
        &self,
        broker: u32,
        shard: ShardId,
        stream: StreamId,
        range: &Range<Offset>,
    ) -> Result<Vec<Bytes>, String> {
        let Some(process) = &self.brokers[broker as usize].process else {
            return Err(format!("shard {shard}: broker {broker} does not run"));
        };
        let reader = &process.drivers[&shard].view().reader;
        reader
            .read_stream(stream, range.start, range.end, usize::MAX, true)
            .map_err(|error| format!("broker {broker}, shard {shard}: {error}"))
    }

    fn judge_streams(&self) -> Result<(), String> {
        for client in &self.clients {
            let (shard, stream) = (client.shard, client.stream);
            let holders = self.holders(shard);
            let Some(core) = holders.iter().find_map(|broker| self.core(*broker, shard)) else {
                return Err(format!("shard {shard}: nobody runs"));
            };
            let known = core.state().stream(stream);
            let (start, end) = known.map_or_else(Default::default, |of| (of.start, of.end));
            for broker in holders {
                let held = self.bodies(broker, shard, stream, &(start..end))?;
                let batches: Vec<(Offset, u64)> = held.iter().map(placed).collect();
                let content =
                    Content { start, batches: &batches, idempotent: client.is_idempotent() };
                self.checker
                    .judge(stream, &content)
                    .map_err(|violation| format!("broker {broker}: {violation}"))?;
                let bytes: u64 = held.iter().map(|body| (body.len() + Header::LEN) as u64).sum();
                let said = known.map_or(0, |of| of.bytes);
                if bytes != said {
                    return Err(format!("{stream:?}: {bytes} bytes, and its state says {said}"));
                }
            }
            self.judge_retention(stream, known.map_or(0, |of| of.bytes), start)?;
        }
        Ok(())
    }

    /// That what a broker shows of its streams is what it has, also of those it holds no more.
    fn judge_views(&self) -> Result<(), String> {
        for (broker, machine) in self.brokers.iter().enumerate() {
            let drivers = machine.process.iter().flat_map(|process| &process.drivers);
            for (shard, driver) in drivers {
                let shown: BTreeMap<StreamId, u64> = driver.view().sizes().into_iter().collect();
                let streams = driver.core().state().streams();
                let held = streams.map(|(id, stream)| (*id, stream.bytes)).collect();
                if shown != held {
                    return Err(format!(
                        "broker {broker}, shard {shard}: it shows {shown:?} and has {held:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// That retention left as much as the topic keeps.
    fn judge_retention(&self, stream: StreamId, bytes: u64, start: Offset) -> Result<(), String> {
        let client = self.clients.iter().find(|client| client.stream == stream);
        let keeps = self.shape.retention_bytes;
        let is_short = client.is_some_and(|client| topic_of(client.shard, SHORT) == stream.topic);
        if is_short && start > Offset(0) && bytes < keeps {
            return Err(format!("{stream:?}: {bytes} bytes are left, and its topic keeps {keeps}"));
        }
        Ok(())
    }

    /// That the topics are there which were said to be declared.
    fn judge_catalog(&self) -> Result<(), String> {
        let shard = ShardId::CATALOG;
        let mut holders = self.holders(shard).into_iter();
        let Some(core) = holders.find_map(|broker| self.core(broker, shard)) else {
            return Err("nobody has the catalog".to_owned());
        };
        self.checker.judge_topics(core.state().catalog().topics())
    }

    /// Up to where a group has come.
    fn cursor(&self, group: &str, stream: StreamId) -> Offset {
        let of = |shard: u32| {
            let mut holders = self.holders(ShardId(shard)).into_iter();
            let core = holders.find_map(|broker| self.core(broker, ShardId(shard)))?;
            Some(core.state().group(group)?.cursors.get(&stream)?.offset)
        };
        (0..SHARDS).find_map(of).unwrap_or_default()
    }
}

/// Where what two replicas hold of a stream differs, for people.
fn difference(own: &[Bytes], theirs: &[Bytes]) -> Option<String> {
    let differing = own.iter().zip(theirs).find(|(own, theirs)| own != theirs);
    match differing {
        Some((own, theirs)) => Some(format!("{:?}, {:?}", placed(own), placed(theirs))),
        None if own.len() != theirs.len() => {
            Some(format!("{} batches, {} batches", own.len(), theirs.len()))
        }
        None => None,
    }
}
