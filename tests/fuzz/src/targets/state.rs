//! The state of a shard, read back from a checkpoint; and commands, as entries bring them.

use bytes::Bytes;
use holdfast_core::replica::History;
use holdfast_core::state::{Command, State};
use holdfast_protocol::Header;
use holdfast_protocol::entry::split;

use super::{KIB, MIB, shard};
use crate::{Target, repair};

/// A message of two bytes may be a struct of some 300 in memory, and is held twice while it is
/// read.
const MEMORY_BYTES_MAX: usize = 4 * MIB;

pub(super) const CHECKPOINT: Target = Target {
    name: "state-checkpoint",
    run: checkpoint,
    repair: repair::nothing,
    seeds: || vec![shard::checkpoint(shard::ENTRIES), shard::checkpoint(6)],
    words: &[],
    input_bytes_max: 8 * KIB,
    memory_bytes_max: MEMORY_BYTES_MAX,
};

pub(super) const COMMANDS: Target = Target {
    name: "state-commands",
    run: commands,
    repair: |input| {
        repair::batches(input);
        repair::entries(input, 0);
    },
    seeds: || vec![shard::entries(0, shard::ENTRIES), shard::entries(0, 9)],
    words: &[],
    input_bytes_max: 8 * KIB,
    memory_bytes_max: MEMORY_BYTES_MAX,
};

/// What is accepted is the same when it is written and read again, and takes what follows.
fn checkpoint(bytes: &[u8]) {
    let Ok((mut state, history)) = State::decode(bytes) else {
        return;
    };
    let encoded = state.encode(&history);
    let (again, history) = State::decode(&encoded).expect("what was written can be read");
    assert_eq!(again.encode(&history), encoded, "a checkpoint survives the disk");
    let position = state.position().0;
    for entry in split(shard::entries(position, shard::ENTRIES).into()).unwrap_or_default() {
        if !apply(&mut state, entry.header, &entry.bytes) {
            break;
        }
    }
}

fn commands(bytes: &[u8]) {
    let Ok(entries) = split(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let mut state = State::default();
    for entry in entries {
        let is_next = entry.header.position >= state.position();
        if is_next && !apply(&mut state, entry.header, &entry.bytes) {
            break;
        }
    }
    let _ = state.encode(&History::default());
}

/// Whether the state took it; where not, it is as it was.
fn apply(state: &mut State, header: Header, bytes: &Bytes) -> bool {
    let before = state.position();
    let taken = state.apply(&Command::new(header, &bytes.slice(Header::LEN..)));
    assert_eq!(state.position(), if taken.is_ok() { header.position.next() } else { before });
    taken.is_ok()
}
