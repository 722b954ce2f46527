//! What must hold after every step, judged from outside: the checker sees every disk and every
//! replica, and remembers everything that was ever committed, written or acknowledged.

use std::collections::{BTreeMap, HashMap, HashSet};

use holdfast_protocol::{BrokerId, Epoch, Header, Kind, Offset, Position, StreamId};

use super::client::mark_of;
use super::disk::Disk;
use crate::Shard;
use crate::replica::History;

/// A rule that was seen broken.
pub(super) type Violation = String;

/// Everything that was ever seen.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// Checksums of what leaders committed, by position.
    committed: BTreeMap<Position, (Epoch, u32)>,
    end: Position,
    /// What was ever written at a position in an epoch: its checksum, and the epoch before it.
    written: HashMap<(Position, Epoch), (u32, Epoch)>,
    leaders: BTreeMap<Epoch, (BrokerId, u64)>,
    /// Checksums of states, by position.
    states: BTreeMap<Position, u32>,
    /// Where each client's batch was committed.
    batches: HashMap<u64, (StreamId, Offset)>,
    ends: HashMap<StreamId, Offset>,
    acknowledged: HashSet<u64>,
}

impl Checker {
    /// How far anything was ever committed.
    pub(super) fn committed(&self) -> Position {
        self.end
    }

    /// LogMatching: an entry of an epoch at a position is the same wherever it is, and what is
    /// before it is too.
    pub(super) fn appended(&mut self, disk: &Disk, headers: &[Header]) -> Result<(), Violation> {
        for header in headers {
            if header.position <= disk.clean_point {
                continue;
            }
            let before = disk.epoch_before(header.position);
            let key = (header.position, header.epoch);
            let first = *self.written.entry(key).or_insert((header.crc, before));
            if first != (header.crc, before) {
                let now = (header.crc, before);
                return Err(format!("LogMatching at {key:?}: {first:?} and {now:?}"));
            }
        }
        Ok(())
    }

    /// OneLeaderPerEpoch, over all lives of all brokers.
    pub(super) fn leads(&mut self, epoch: Epoch, who: (BrokerId, u64)) -> Result<(), Violation> {
        let first = *self.leaders.entry(epoch).or_insert(who);
        if first == who {
            return Ok(());
        }
        Err(format!("OneLeaderPerEpoch {epoch}: {first:?} and {who:?}"))
    }

    /// A leader has committed up to `end`: from now on all of it is to be there for ever.
    pub(super) fn leader_committed(&mut self, disk: &Disk, end: Position) -> Result<(), Violation> {
        while self.end < end {
            let at = self.end;
            self.end = at.next();
            let Some(entry) = disk.entry(at) else {
                return Err(format!("the leader that committed position {at} does not have it"));
            };
            let header = entry.header;
            self.committed.insert(at, (header.epoch, header.crc));
            if header.kind == Kind::Append {
                self.batch_committed(&header, mark_of(entry.body()))?;
            }
        }
        Ok(())
    }

    /// Offsets are dense, and no batch is there twice.
    fn batch_committed(&mut self, header: &Header, mark: Option<u64>) -> Result<(), Violation> {
        let end = self.ends.entry(header.stream).or_default();
        if header.offset != *end {
            return Err(format!("offset {} where {end} follows", header.offset));
        }
        *end = end.plus(u64::from(header.count));
        let Some(mark) = mark else { return Ok(()) };
        match self.batches.insert(mark, (header.stream, header.offset)) {
            None => Ok(()),
            Some(first) => Err(format!("batch {mark} is at {first:?} and at {}", header.offset)),
        }
    }

    /// What a replica knows to be committed is what leaders committed. Checks `from..to`.
    pub(super) fn knows(&self, disk: &Disk, from: Position, to: Position) -> Result<(), Violation> {
        if to > self.end {
            return Err(format!("committed up to {to} here, but only to {} by leaders", self.end));
        }
        for (at, committed) in self.committed.range(from..to) {
            match disk.entry(*at) {
                Some(entry) if (entry.header.epoch, entry.header.crc) == *committed => {}
                None if *at < disk.clean_point => {}
                other => {
                    let header = other.map(|entry| entry.header);
                    return Err(format!("CommittedNeverLost at {at}: {committed:?}, {header:?}"));
                }
            }
        }
        Ok(())
    }

    /// LeaderHasAllCommitted.
    pub(super) fn leader_has(&self, disk: &Disk, from: Position) -> Result<(), Violation> {
        if disk.end < self.end {
            return Err(format!("LeaderHasAllCommitted: ends at {} of {}", disk.end, self.end));
        }
        self.knows(disk, from, self.end)
    }

    /// Replicas are equal at equal positions.
    pub(super) fn state(&mut self, shard: &Shard) -> Result<(), Violation> {
        let position = shard.state().position();
        let now = crc32c::crc32c(&shard.state().encode(&History::default()));
        let first = *self.states.entry(position).or_insert(now);
        if first == now {
            return Ok(());
        }
        Err(format!("two states at position {position}: {:?}", shard.state()))
    }

    /// A client was told that its batch is committed.
    pub(super) fn acknowledge(
        &mut self,
        mark: u64,
        at: (StreamId, Offset),
    ) -> Result<(), Violation> {
        self.acknowledged.insert(mark);
        match self.batches.get(&mark) {
            Some(known) if *known == at => Ok(()),
            known => Err(format!("batch {mark} is said to be at {at:?} and is at {known:?}")),
        }
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }
}
