//! Where things are laid: stream to shard, group to shard. Never changes once released.

use crate::ids::{ShardId, StreamId, TopicId};

/// FNV-1a, 64 bits: stable across machines, versions and languages.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn pick(hash: u64, shards: u32) -> ShardId {
    let index = hash % u64::from(shards.max(1));
    ShardId(u32::try_from(index).expect("a remainder of a u32 fits a u32"))
}

/// The shard that holds `stream`: (hash(uid) + partition) mod shards.
#[must_use]
pub fn shard_of_stream(stream: StreamId, shards: u32) -> ShardId {
    let TopicId(uid) = stream.topic;
    pick(fnv1a(&uid).wrapping_add(u64::from(stream.partition)), shards)
}

/// The shard that holds the cursors of `group`, and whose leader coordinates it.
#[must_use]
pub fn shard_of_group(group: &str, shards: u32) -> ShardId {
    pick(fnv1a(group.as_bytes()), shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_spread_over_consecutive_shards() {
        let stream = |partition| StreamId { topic: TopicId([7; 16]), partition };
        let first = shard_of_stream(stream(0), 12).0;
        for partition in 0..24 {
            assert_eq!(shard_of_stream(stream(partition), 12).0, (first + partition) % 12);
        }
    }

    #[test]
    fn placement_is_pinned_for_ever() {
        assert_eq!(shard_of_group("orders", 12), ShardId(4));
        assert_eq!(
            shard_of_stream(StreamId { topic: TopicId([7; 16]), partition: 3 }, 12),
            ShardId(4)
        );
    }
}
