//! What is wrong with a disk, as tests want it.

use super::{Disk, Result};

/// What is wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The next flush of a file with this in its path fails.
    pub(super) failing: Option<String>,
    /// Flushes say that all is well, and do nothing.
    pub(super) ignores_flushes: bool,
    /// How long each flush of a file takes, ms.
    pub(super) flush_ms: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Writes.
    pub(super) writes: u64,
    /// Flushes, of files and of names.
    pub(super) flushes: u64,
    /// Those of them that failed.
    pub(super) failed_flushes: u64,
}

impl Disk {
    /// The next flush of a file with `part` in its path fails; later ones claim success.
    pub fn fail_next_flush(&mut self, part: &str) {
        self.faults.failing = Some(part.to_owned());
    }

    /// From now on flushes do nothing, or do what they should again.
    pub fn ignore_flushes(&mut self, ignores: bool) {
        self.faults.ignores_flushes = ignores;
    }

    /// From now on flushes of files take so long.
    pub fn slow_flushes(&mut self, ms: u64) {
        self.faults.flush_ms = ms;
    }

    /// From now on there is room for so many bytes.
    pub fn resize(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// Flips a bit of a file, on the disk itself.
    ///
    /// # Errors
    /// Where there is no such file, or it does not reach so far.
    pub fn rot(&mut self, path: &str, at: u64, bit: u8) -> Result<()> {
        let ino = self.find(path)?;
        if self.content(ino)?.rot(at, bit) { Ok(()) } else { Err(rustix::io::Errno::RANGE) }
    }

    /// What there is to say, as `name=value`.
    #[must_use]
    pub fn status(&self) -> String {
        format!(
            "power={} run={} taken={} capacity={} unflushed={} names={} writes={} flushes={} failed={}",
            if self.powered { "on" } else { "off" },
            self.run,
            self.taken(),
            self.capacity,
            self.unflushed(),
            self.pending.len(),
            self.tally.writes,
            self.tally.flushes,
            self.tally.failed_flushes,
        )
    }
}
