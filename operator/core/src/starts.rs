//! Which start of each broker is the newest, kept where it outlives the operator: in the record of
//! the catalog's shard.
//!
//! A volume that was put back to an older state counts a start again that is remembered already.
//! What the volume held since is gone, under the incarnations that the records trust, so nothing
//! is taken from that broker before it has renewed them. A copy that was made in the very start
//! that was remembered last goes unnoticed by this.

use holdfast_protocol::{BrokerId, ShardId, ShardRecord, Start};

use crate::planner::Planner;

/// The newest start of `broker` that is remembered or was seen.
pub(crate) fn newest(planner: &Planner, broker: BrokerId) -> Option<Start> {
    let record = planner.shards.get(&ShardId::CATALOG).and_then(|shard| shard.record.as_ref());
    let starts = record.map_or(&[][..], |record| &record.starts);
    let remembered = starts.iter().find(|start| start.broker == broker).copied();
    let known = planner.brokers.get(&broker);
    let seen = known.and_then(|broker| broker.start);
    match known {
        // A volume that was named anew may count from one.
        Some(known) if known.renewed => seen,
        _ => [seen, remembered].into_iter().flatten().max_by_key(|start| start.counter),
    }
}

/// The record of the catalog's shard with the starts of those who are here, where it has others.
pub(crate) fn remembered(planner: &Planner, record: &ShardRecord) -> Option<ShardRecord> {
    if record.shard != ShardId::CATALOG {
        return None;
    }
    let here = planner.brokers.values().filter(|broker| broker.is_live());
    let mut starts = record.starts.clone();
    for start in here.filter_map(|broker| broker.start).filter(|start| start.counter > 0) {
        starts.retain(|known| known.broker != start.broker);
        starts.push(start);
    }
    starts.sort_unstable_by_key(|start| start.broker);
    let version = record.version.next();
    (starts != record.starts).then(|| ShardRecord { version, starts, ..record.clone() })
}
