//! The scrub of a simulated broker, as `broker/src/scrub.rs` does it, but more often.

use holdfast_broker::driver::Input;
use holdfast_log::LogReader;
use holdfast_protocol::{Position, ShardId};

use crate::event::Event;
use crate::world::{SHARDS, World};

/// Between one pass over all logs and the next, ms.
const PAUSE_MS: u64 = 5_000;
/// Bytes read at once.
const BYTES_AT_ONCE: usize = 64 * 1024;

impl World {
    /// Reads everything that a broker has, and tells its replicas what it finds.
    pub(crate) fn scrub(&mut self, id: u32, run: u64) {
        if !self.runs(id, run) {
            return;
        }
        let pause = PAUSE_MS + self.dice.below(PAUSE_MS);
        self.after(pause, Event::Scrub(id, run));
        if self.is_paused(id).is_some() {
            return;
        }
        for shard in (0..SHARDS).map(ShardId) {
            let Some(process) = &self.brokers[id as usize].process else { return };
            let view = process.drivers[&shard].view();
            let of = view.report().incarnation;
            let found = match scrubbed(&view.reader) {
                Ok(None) => continue,
                Ok(Some(files)) => Input::Scrubbed(files),
                Err(error) if error.is_rot() => Input::Rot(of, error.to_string()),
                // It is about to end.
                Err(_) => continue,
            };
            self.faults.count("rot found by a scrub");
            self.drive(id, shard, |driver| driver.handle(found));
        }
    }

    /// Reads everything that a broker in doubt holds: whether there is rot in it.
    pub(crate) fn look_for_rot(&mut self, broker: u32) {
        let machine = &self.brokers[broker as usize];
        let Some(process) = machine.process.as_ref().filter(|_| machine.rotten) else { return };
        let whole = |reader: &LogReader| matches!(scrubbed(reader), Ok(None));
        let rotten = !process.drivers.values().all(|driver| whole(&driver.view().reader));
        self.broker(broker).rotten = rotten;
    }
}

/// Reads all of a log; gives what of its small files is not whole.
fn scrubbed(reader: &LogReader) -> Result<Option<holdfast_log::SmallFiles>, holdfast_log::Error> {
    let mut next = Position(0);
    while let Some(piece) = reader.scrub(next, BYTES_AT_ONCE)? {
        next = piece.next;
    }
    let files = reader.scrub_files()?;
    Ok((!(files.checkpoint_is_whole && files.meta_is_whole)).then_some(files))
}
