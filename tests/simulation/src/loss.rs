//! What may be lost in Async mode, and was told to be: apart from what the operator believes, it
//! is known here which logs lost something.
//!
//! An acknowledged message is in the memory of every in-sync replica. So it may be lost only
//! where each of those lost its memory, or its volume; then an unclean election tells so, and the
//! new leader keeps all that it holds.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{
    Epoch, Incarnation, LossRange, Offset, Position, ShardId, ShardRecord, StreamId,
};

use crate::check::Held;
use crate::client::placed;
use crate::member::group_of;
use crate::world::World;

#[cfg(test)]
mod tests;

/// What was lost, and what may be.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Logs that lost, or may have lost, what was not flushed.
    lossy: BTreeSet<(ShardId, Incarnation)>,
    /// Unclean elections, each judged once.
    elections: BTreeSet<(ShardId, Epoch)>,
    counts: BTreeMap<ShardId, usize>,
    /// What each of them was said to have lost; after a restore of the store perhaps by another
    /// operator once more, who had heard of less.
    told: BTreeMap<(ShardId, Epoch), Vec<LossRange>>,
    /// The furthest that any replica knew to be committed.
    committed: BTreeMap<ShardId, Position>,
    /// More was damaged than can be made good, and nobody can know.
    pub(crate) untold: bool,
}

impl Losses {
    /// Unclean elections of this shard.
    pub(crate) fn count(&self, shard: ShardId) -> usize {
        self.counts.get(&shard).copied().unwrap_or(0)
    }

    /// Whether there was one.
    pub(crate) fn had(&self, shard: ShardId) -> bool {
        self.count(shard) > 0
    }

    /// Unclean elections of all shards.
    pub(crate) fn total(&self) -> usize {
        self.counts.values().sum()
    }
}

impl World {
    /// This machine's memory, or its volume, is about to be lost.
    pub(crate) fn note_lossy(&mut self, broker: u32) {
        self.note_logs(broker);
        let machine = &self.brokers[broker as usize];
        let logs: Vec<(ShardId, Incarnation)> =
            machine.logs.iter().map(|(shard, log)| (*shard, *log)).collect();
        self.losses.lossy.extend(logs);
    }

    /// Remembers the logs of a process that is about to end.
    pub(crate) fn note_logs(&mut self, broker: u32) {
        let machine = self.broker(broker);
        let Some(process) = &machine.process else { return };
        let logs = process.drivers.iter();
        machine.logs = logs
            .map(|(shard, driver)| (*shard, driver.core().replica().member().incarnation))
            .collect();
    }

    /// Judges unclean elections that were written just now: that they had to be, and what the
    /// elected leader holds, which must not be lost as well.
    pub(crate) fn judge_elections(&mut self) -> Result<(), String> {
        for (before, after) in self.store.take_unclean() {
            let Some(epoch) = after.unclean_epoch else { continue };
            let range = self.judge_range(&after)?;
            self.losses.told.entry((after.shard, epoch)).or_default().push(range);
            if !self.losses.elections.insert((after.shard, epoch)) {
                continue;
            }
            self.faults.count("unclean election");
            *self.losses.counts.entry(after.shard).or_default() += 1;
            for member in &before.isr {
                if !self.losses.lossy.contains(&(after.shard, member.incarnation)) {
                    return Err(format!(
                        "shard {}: an unclean election, though broker {} still had everything: \
                         {before:?}, {after:?}",
                        after.shard, member.broker
                    ));
                }
            }
            self.forgive(&after, range.from)?;
        }
        Ok(())
    }

    /// That a possible loss has a range that may be: within what was committed, as far as anybody
    /// ever knew.
    fn judge_range(&self, record: &ShardRecord) -> Result<LossRange, String> {
        let most = self.losses.committed.get(&record.shard).copied().unwrap_or_default();
        match record.loss {
            Some(range) if !self.shape.is_async() => {
                Err(format!("shard {}: {range:?} lost in Sync mode", record.shard))
            }
            Some(range) if range.from > range.to || range.to > most.max(range.from) => {
                Err(format!("shard {}: {range:?} lost, of {most} committed", record.shard))
            }
            Some(range) => Ok(range),
            None => Err(format!("shard {}: a possible loss without a range", record.shard)),
        }
    }

    /// An operator told people of a possible loss.
    pub(crate) fn judge_told(&mut self, shard: ShardId, epoch: Epoch, range: LossRange) {
        let written = self.losses.told.get(&(shard, epoch)).cloned().unwrap_or_default();
        if !written.contains(&range) {
            self.violate(format!("shard {shard}: {range:?} was told to be lost, not {written:?}"));
        }
        self.faults.count("possible loss told");
    }

    /// How far anybody knows the log to be committed.
    pub(crate) fn note_committed(&mut self, shard: ShardId, committed: Position) {
        let most = self.losses.committed.entry(shard).or_default();
        *most = (*most).max(committed);
    }

    /// What the elected leader does not hold may be lost, from where the loss is said to begin.
    fn forgive(&mut self, record: &ShardRecord, from: Position) -> Result<(), String> {
        let shard = record.shard;
        let streams = self.clients.iter().filter(|client| client.shard == shard);
        let held: Vec<_> = streams
            .map(|client| {
                let held = self.held(record, client.stream);
                (client.stream, held)
            })
            .collect();
        for (stream, held) in held {
            self.checker.forgive(stream, held.as_ref(), from)?;
        }
        let group = group_of(shard);
        self.checker.forgive_groups(|of| of == group, shard == ShardId::CATALOG, from);
        Ok(())
    }

    /// What the elected leader's log holds of a stream now, committed or not.
    fn held(&self, record: &ShardRecord, stream: StreamId) -> Option<Held> {
        let leader = record.leader?;
        let process = self.brokers[leader.broker.0 as usize].process.as_ref()?;
        let driver = process.drivers.get(&record.shard)?;
        if driver.core().replica().member() != leader {
            return None;
        }
        let reader = &driver.view().reader;
        let all = Offset(u64::MAX);
        let held = reader.read_stream(stream, Offset(0), all, usize::MAX, true).ok()?;
        let start = driver.core().state().stream(stream).map_or(Offset(0), |stream| stream.start);
        Some(Held { start, batches: held.iter().map(placed).collect() })
    }

    /// Whether a broker's log may have rot, or reads of it fail, or its process is about to end.
    pub(crate) fn is_unreadable(&self, broker: u32) -> bool {
        let machine = &self.brokers[broker as usize];
        machine.rotten || machine.reads_fail || machine.disk.has_stopped()
    }
}
