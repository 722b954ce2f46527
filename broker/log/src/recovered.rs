//! What opening a log found.

use std::fmt;
use std::path::PathBuf;

use holdfast_protocol::Position;

/// What [`crate::ShardLog::open`] found on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Nothing was there: an empty or new volume. The incarnation is zero; draw one.
    pub fresh: bool,
    /// The log was closed by [`crate::ShardLog::close`]: nothing can have been lost.
    pub clean: bool,
    /// Durable bytes are missing or rotten: renew the incarnation and fetch again
    /// ([`crate::ShardLog::reset`]). What is still whole can be read meanwhile.
    pub damage: Option<Damage>,
    /// Bytes that were cut from the end because they were no whole entries: an append that never
    /// finished. Later whole entries behind them are counted too, and were set aside.
    pub torn_bytes: u64,
    /// The durable checkpoint and the position that it is of (the state after every entry below
    /// it); `None` where there is none, or where it is damaged, which `damage` says.
    pub checkpoint: Option<(Position, Vec<u8>)>,
}

/// Bytes that were durable are missing or are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, or the directory where a file is missing.
    pub path: PathBuf,
    /// The first position that can't be trusted.
    pub position: Position,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, position, reason } = self;
        write!(f, "{} at position {position}: {reason}", path.display())
    }
}
