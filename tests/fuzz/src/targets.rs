//! What takes bytes from outside, a file each.

mod door;
mod log;
#[allow(dead_code, clippy::unwrap_used)] // it also serves the door's own tests, and is one
#[path = "../../../broker/front/kafka/tests/door/memory.rs"]
mod memory;
mod messages;
mod operator;
mod record_batch;
mod replica;
mod requests;
#[allow(dead_code, clippy::unwrap_used)] // as above
#[path = "../../../broker/front/kafka/tests/door/samples.rs"]
mod samples;
mod shard;
mod state;
mod wire;
mod yaml;

use crate::Target;

/// All of them.
pub static TARGETS: [Target; 14] = [
    door::TARGET,
    requests::TARGET,
    record_batch::TARGET,
    messages::TARGET,
    replica::TARGET,
    operator::TARGET,
    log::SEGMENT,
    log::INDEX,
    log::CHECKPOINT,
    log::META,
    log::VOLUME,
    state::CHECKPOINT,
    state::COMMANDS,
    yaml::TARGET,
];

/// A number of bytes.
const KIB: usize = 1024;
/// A number of bytes.
const MIB: usize = 1024 * KIB;
