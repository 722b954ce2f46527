//! Bytes on disk: the log of one replica of one shard, and the volume that holds them.
//!
//! The crate knows entries ([`holdfast_protocol::entry`]: a 64-byte header, a checksum, a body)
//! but not what they mean: stream and offset are opaque keys of an index. It blocks, and is meant
//! to be called from threads that may: one writer a shard ([`ShardLog`]), a thread that runs
//! [`FlushJob`]s, and any number of readers ([`LogReader`]).
//!
//! What it leaves to others: who may append or truncate (`holdfast-core`), and what a checkpoint
//! or a record holds (opaque bytes here).

mod aside;
mod checkpoint;
mod codec;
mod config;
mod disk;
mod error;
mod flush;
mod identity;
mod index;
mod meta;
mod reader;
mod recover;
mod recovered;
mod scan;
mod segment;
mod shard;
mod shared;
#[cfg(feature = "simulated")]
pub mod simulated;
mod storage;
mod summary;
mod tail;
pub mod volume;

pub use config::Config;
pub use error::Error;
pub use flush::{FlushJob, Flushed};
pub use meta::Meta;
pub use reader::{Entries, Headers, LogReader, Scrubbed, SmallFiles};
pub use recovered::{Damage, Recovered};
pub use shard::{APPEND_BYTES_MAX, CheckpointJob, Checkpointed, Cleaned, ShardLog};
pub use storage::Disk;
pub use volume::{Boot, Volume};
