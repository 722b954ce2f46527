//! Random histories of one log on a disk that loses what was not flushed: with power cuts in the
//! middle of anything, ends of the process alone, failed flushes, and rot.
//!
//! What must hold: what the log called durable is there after any of them; what is found is a
//! prefix of what was written; nothing that was damaged is handed out for good.

use std::path::{Path, PathBuf};

use holdfast_log::simulated::{Loss, SimulatedDisk};
use holdfast_log::{Config, Disk, Error, ShardLog};
use holdfast_protocol::{Entry, Position};

use crate::support::{Write, batch, command, small};

/// Seeds tried; a failure names its own.
const SEEDS: u64 = 300;
const STEPS: u64 = 50;

/// What a seed decides (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

/// What is known of the log without asking it.
#[derive(Default)]
struct Known {
    /// Every entry that may be in the log, by position.
    written: Vec<Vec<u8>>,
    /// Below this everything was promised.
    promised: usize,
    epoch: u32,
    checkpoint: u64,
}

struct World {
    seed: u64,
    dice: Dice,
    disk: SimulatedDisk,
    dir: PathBuf,
    log: Option<ShardLog>,
    known: Known,
    /// How often something happened, so that the test can tell that it tests.
    seen: Seen,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    crashes: u64,
    torn: u64,
    mid_step: u64,
    failed_flushes: u64,
    rot: u64,
}

fn config() -> Config {
    Config { reserve_bytes: 0, ..small() }
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::default();
        let dir = PathBuf::from("/volume/shards/0");
        let known = Known { epoch: 1, ..Known::default() };
        let mut world =
            Self { seed, dice: Dice(seed), disk, dir, log: None, known, seen: Seen::default() };
        world.reopen();
        world
    }

    /// Opens the log, again where the power goes in the middle of that, and checks what is found.
    fn reopen(&mut self) {
        loop {
            if self.dice.below(4) == 0 {
                self.disk.stop_after(1 + self.dice.below(40));
            }
            let opened = ShardLog::open_on(&on(&self.disk), &self.dir, config());
            if self.disk.has_stopped() {
                self.seen.mid_step += 1;
                self.end();
                continue;
            }
            self.disk.stop_after(u64::MAX);
            let (log, recovered) = opened.unwrap_or_else(|e| panic!("seed {}: {e:?}", self.seed));
            assert_eq!(recovered.damage, None, "seed {}", self.seed);
            self.seen.torn += u64::from(recovered.torn_bytes > 0);
            self.check(&log);
            let end = usize::try_from(log.end().0).unwrap();
            let position = recovered.checkpoint.map_or(0, |(position, _)| position.0);
            assert!(position >= self.known.checkpoint, "seed {}", self.seed);
            self.known.checkpoint = position;
            self.known.written.truncate(end);
            self.known.promised = end;
            self.log = Some(log);
            return;
        }
    }

    /// What the log holds is a prefix of what was written, and no shorter than what was promised.
    fn check(&self, log: &ShardLog) {
        let (seed, known) = (self.seed, &self.known);
        let end = usize::try_from(log.end().0).unwrap();
        assert!(end >= known.promised, "seed {seed}: {end} of {} promised", known.promised);
        assert!(end <= known.written.len(), "seed {seed}: {end} of {}", known.written.len());
        let entries = log.reader().entries(Position(0), Position(u64::MAX));
        let entries: Vec<Entry> =
            entries.collect::<Result<_, _>>().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(entries.len(), end, "seed {seed}");
        for (entry, written) in entries.iter().zip(&known.written) {
            assert_eq!(&entry.bytes[..], &written[..], "seed {seed}");
        }
    }

    /// The process ends, with or without the machine.
    fn end(&mut self) {
        self.log = None;
        match self.dice.below(4) {
            0 => self.disk.kill(),
            1 => self.disk.crash(self.dice.below(u64::MAX), Loss::All),
            _ => self.disk.crash(self.dice.below(u64::MAX), Loss::Any),
        }
        self.seen.crashes += 1;
    }

    /// After a step: goes on, or ends where the disk has stopped the process or failed.
    fn settle(&mut self, done: Result<(), Error>) {
        match done {
            Ok(()) if !self.disk.has_stopped() => {}
            Ok(()) => self.end_and_reopen(),
            Err(error) => {
                assert!(self.disk.has_stopped() || error.is_fatal(), "seed {}: {error}", self.seed);
                self.seen.mid_step += 1;
                self.end_and_reopen();
            }
        }
    }

    fn end_and_reopen(&mut self) {
        self.end();
        self.reopen();
    }

    fn log(&mut self) -> &mut ShardLog {
        self.log.as_mut().unwrap()
    }

    fn step(&mut self) {
        if self.dice.below(6) == 0 {
            self.disk.stop_after(1 + self.dice.below(12));
        }
        let done = match self.dice.below(20) {
            0..8 => self.append(),
            8..12 => self.flush(),
            12 => self.fail_flush(),
            13 | 14 => self.checkpoint(),
            15 | 16 => self.truncate(),
            17 => {
                self.known.epoch += 1;
                Ok(())
            }
            18 => {
                let meta = self.log().meta().clone();
                self.log().write_meta(&meta)
            }
            _ => {
                self.end_and_reopen();
                Ok(())
            }
        };
        self.settle(done);
    }

    fn append(&mut self) -> Result<(), Error> {
        let mut bytes = Vec::new();
        for _ in 0..=self.dice.below(6) {
            let position = self.known.written.len() as u64;
            let epoch = self.known.epoch;
            let entry = if self.dice.below(2) == 0 {
                command(position, epoch)
            } else {
                let body = vec![position as u8; self.dice.below(400) as usize];
                batch(position, epoch, 0, position * 2, 2, &body)
            };
            bytes.extend_from_slice(&entry);
            self.known.written.push(entry);
        }
        self.log().write(&bytes)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if let Some(job) = self.log().flush_job() {
            let flushed = job.run()?;
            self.log().flushed(flushed)?;
        }
        self.known.promised = usize::try_from(self.log().durable().0).unwrap();
        Ok(())
    }

    /// A flush that fails, after which only a restart helps: with the pages still seen, and the
    /// next flush claiming success.
    fn fail_flush(&mut self) -> Result<(), Error> {
        let Some(job) = self.log().flush_job() else { return Ok(()) };
        self.disk.fail_flushes(1);
        let failed = job.run().unwrap_err();
        self.disk.fail_flushes(0);
        assert!(self.log().write(&[]).is_err(), "a log that failed takes nothing more");
        self.seen.failed_flushes += 1;
        self.log = None;
        if self.dice.below(2) == 0 {
            self.disk.kill();
            self.reopen();
            // What was offered after the restart must be on the disk by then.
            self.disk.crash(self.dice.below(u64::MAX), Loss::All);
            self.log = None;
            self.reopen();
            return Ok(());
        }
        Err(failed)
    }

    fn low(&mut self) -> u64 {
        self.log().start().0.max(self.known.checkpoint)
    }

    fn checkpoint(&mut self) -> Result<(), Error> {
        let low = self.low();
        let position = low + self.dice.below(self.known.written.len() as u64 - low + 1);
        self.log().write_checkpoint(Position(position), position.to_string().as_bytes())?;
        self.known.checkpoint = position;
        self.known.promised = usize::try_from(self.log().durable().0).unwrap();
        Ok(())
    }

    fn truncate(&mut self) -> Result<(), Error> {
        let low = self.low();
        let to = low + self.dice.below(self.known.written.len() as u64 - low + 1);
        // From here on no more than this is promised, and until it is done no less is possible.
        self.known.promised = self.known.promised.min(usize::try_from(to).unwrap());
        self.log().truncate(Position(to))?;
        self.known.written.truncate(usize::try_from(to).unwrap());
        Ok(())
    }

    /// Turns a bit of a segment, or of its index, or of the checkpoint, and reads everything.
    fn rot(mut self) -> Seen {
        self.disk.stop_after(u64::MAX);
        self.flush().unwrap();
        let end = Position(self.known.written.len() as u64);
        self.log().write_checkpoint(end, b"state").unwrap();
        self.log = None;
        self.disk.kill();
        let files = self.disk.files();
        let in_log = |path: &Path| !path.components().any(|part| part.as_os_str() == "aside");
        let files: Vec<_> =
            files.into_iter().filter(|(path, length)| *length > 0 && in_log(path)).collect();
        let (path, length) = &files[self.dice.below(files.len() as u64) as usize];
        assert!(self.disk.flip_bit(path, self.dice.below(length * 8)));
        let seed = self.seed;
        let (log, recovered) = match ShardLog::open_on(&on(&self.disk), &self.dir, config()) {
            Ok(opened) => opened,
            // A flipped version is told from damage only where a checksum covers it.
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let entries = log.reader().entries(Position(0), Position(u64::MAX));
        let read: Result<Vec<Entry>, Error> = entries.collect();
        let reported = recovered.damage.is_some() || read.is_err();
        self.seen.rot += u64::from(reported);
        if !reported {
            self.check(&log);
        } else if let Ok(read) = read {
            // What is handed out beside a report is still what was written.
            for entry in read {
                let at = usize::try_from(entry.header.position.0).unwrap();
                assert_eq!(&entry.bytes[..], &self.known.written[at][..], "seed {seed}");
            }
        }
        self.seen
    }
}

fn on(disk: &SimulatedDisk) -> Disk {
    Disk::Simulated(disk.clone())
}

#[test]
fn what_was_durable_survives_and_what_is_found_was_written() {
    let mut total = Seen::default();
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        let seen = world.rot();
        total.crashes += seen.crashes;
        total.torn += seen.torn;
        total.mid_step += seen.mid_step;
        total.failed_flushes += seen.failed_flushes;
        total.rot += seen.rot;
    }
    let Seen { crashes, torn, mid_step, failed_flushes, rot } = total;
    let all = [crashes, torn, mid_step, failed_flushes, rot];
    assert!(all.iter().all(|count| *count > 100), "every fault is met: {all:?}");
}

/// A log that is filled behind a checkpoint has gaps, where the leader's was cleaned. What a power
/// cut takes of it must not look like one of those.
#[test]
fn what_is_lost_of_a_log_that_is_filled_is_not_taken_for_cleaned() {
    let (mut whole, mut reported) = (0, 0);
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let disk = SimulatedDisk::default();
        let dir = PathBuf::from("/volume/shards/0");
        let open = || ShardLog::open_on(&on(&disk), &dir, config()).unwrap();
        let (mut log, _) = open();
        log.reset(Position(0), Vec::new(), Position(60)).unwrap();
        log.install_checkpoint(Position(60), b"leader's").unwrap();
        let (mut filled, mut flushed) = (Vec::new(), 0);
        for position in 0..75 {
            if position < 60 && dice.below(4) == 0 {
                continue;
            }
            log.write(&command(position, 1)).unwrap();
            filled.push(position);
            if dice.below(30) == 0 {
                let job = log.flush_job().unwrap();
                log.flushed(job.run().unwrap()).unwrap();
                flushed = filled.len();
            }
        }
        drop(log);
        disk.crash(dice.below(u64::MAX), Loss::Any);
        let (log, recovered) = open();
        if recovered.damage.is_some() {
            reported += 1;
            drop(log);
            assert!(open().1.damage.is_some(), "seed {seed}: it is found again");
            continue;
        }
        whole += 1;
        let found = crate::support::positions(&log.reader());
        assert!(found.len() >= flushed, "seed {seed}: {found:?}");
        assert_eq!(found, filled[..found.len()], "seed {seed}");
    }
    assert!(whole > 20 && reported > 20, "{whole} whole, {reported} reported");
}
