//! What bounds one shard's log.

use crate::segment::Growth;

/// Bounds of one shard's log. Every field has a default that suits a broker of a few dozen shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A segment is sealed before an append would make it longer than this, bytes. One append
    /// that is longer than a segment gets a segment of its own.
    pub segment_bytes_max: u64,
    /// A segment is sealed before an append would give it more entries than this: bounds the
    /// index of the active segment, about 52 bytes of memory an entry.
    pub segment_entries_max: u32,
    /// The active segment is preallocated in steps of this size, bytes; 0 for not at all.
    pub preallocate_bytes: u64,
    /// Most sealed segments whose file and index are kept open in memory.
    pub indexes_cached_max: usize,
    /// Most bytes of the newest entries that are kept in memory for readers at the tail.
    pub tail_bytes_max: usize,
    /// Most streams that the in-memory summary of one sealed segment lists (48 bytes each); where
    /// a segment has more, its index is asked instead.
    pub summary_streams_max: usize,
    /// Most cut suffixes and old logs kept in `aside/`.
    pub aside_count_max: usize,
    /// Most bytes kept in `aside/`; the newest file is kept whatever its size.
    pub aside_bytes_max: u64,
    /// Cleaning rewrites a segment once this share of its bytes is dead, percent.
    pub clean_dead_percent: u8,
    /// Most sealed segments that one call of `clean` looks at.
    pub clean_segments_max: usize,
    /// An append is answered as by a full disk rather than leave the filesystem less than this
    /// free, bytes: what recovery, checkpoints and cleaning need to get out of it again.
    pub reserve_bytes: u64,
    /// Most bytes that the segments of this log may take (`aside/` not counted); beyond it an
    /// append is answered as by a full disk. `None` for as much as the disk has.
    pub bytes_max: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 * 1024 * 1024,
            segment_entries_max: 32 * 1024,
            preallocate_bytes: 8 * 1024 * 1024,
            indexes_cached_max: 8,
            tail_bytes_max: 4 * 1024 * 1024,
            summary_streams_max: 1024,
            aside_count_max: 8,
            aside_bytes_max: 256 * 1024 * 1024,
            clean_dead_percent: 50,
            clean_segments_max: 16,
            reserve_bytes: 128 * 1024 * 1024,
            bytes_max: None,
        }
    }
}

impl Config {
    /// How the active segment grows.
    pub(crate) fn growth(&self) -> Growth {
        Growth { step: self.preallocate_bytes, reserve: self.reserve_bytes }
    }
}
