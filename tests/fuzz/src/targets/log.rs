//! A log on a disk, one file of which is what the input says: read back by the log alone, and by a
//! broker that starts over it.
//!
//! The first byte of an input says how the log was left and which file of its kind is meant; the
//! rest is the file. Beside panics and memory: what was opened once can be closed and opened
//! again, without damage.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use holdfast_broker::driver::Driver;
use holdfast_log::simulated::{SimulatedDisk, Snapshot};
use holdfast_log::{Disk, LogReader, Meta, ShardLog, Volume};
use holdfast_protocol::entry::{Draft, Entries};
use holdfast_protocol::{Incarnation, Kind, Offset, Position, ShardId, control};
use prost::Message;

use super::shard::{self, Host};
use super::{KIB, MIB, replica};
use crate::{Target, repair};

/// What opening and reading may take: pieces of 1 MiB of a segment that are read or written at a
/// time, and the disk itself, which is in memory and holds some files twice.
const MEMORY_BYTES_MAX: usize = 12 * MIB;
/// Longest file tried, bytes.
const INPUT_BYTES_MAX: usize = 8 * KIB;

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target {
        name,
        run,
        repair: |input| repair::frames(input, 1),
        seeds,
        words: &[],
        input_bytes_max: INPUT_BYTES_MAX,
        memory_bytes_max: MEMORY_BYTES_MAX,
    }
}

pub(super) const SEGMENT: Target = Target {
    repair: |input| repair::segment(input, 1),
    ..target("log-segment", |input| run("log", input), || seeds("log"))
};
pub(super) const INDEX: Target =
    target("log-index", |input| run("index", input), || seeds("index"));
pub(super) const CHECKPOINT: Target =
    target("log-checkpoint", |input| run("checkpoint", input), || seeds("checkpoint"));
pub(super) const META: Target = target("log-meta", |input| run("meta", input), || seeds("meta"));
pub(super) const VOLUME: Target =
    target("log-volume", |input| run("volume", input), || seeds("volume"));

const SHARD: ShardId = ShardId(0);
const DATA: &str = "/data";

/// Logs as they may be found: closed in order, killed, and cleaned before.
struct Worlds(Vec<(Snapshot, Vec<PathBuf>)>);

fn worlds() -> &'static Worlds {
    static WORLDS: OnceLock<Worlds> = OnceLock::new();
    WORLDS.get_or_init(|| Worlds((0..4).map(|how| world(how & 1 == 1, how & 2 == 2)).collect()))
}

fn world(is_closed: bool, is_cleaned: bool) -> (Snapshot, Vec<PathBuf>) {
    let simulated = SimulatedDisk::default();
    let disk = Disk::Simulated(simulated.clone());
    let volume = Volume::open_on(&disk, Path::new(DATA), "kernel").expect("it is new");
    let dir = volume.shard_dir(SHARD);
    let (mut log, _) = ShardLog::open_on(&disk, &dir, shard::config()).expect("it is new");
    let record = control::ShardRecord::from(&replica::record(2, Some(1))).encode_to_vec();
    let incarnation = Incarnation(Host::INCARNATION);
    log.write_meta(&Meta { incarnation, record, committed: Position(30) }).expect("there is room");
    for position in 0..shard::ENTRIES {
        append(&mut log, shard::entries(position, position + 1));
        flush(&mut log);
        if position == 25 {
            let bytes = shard::checkpoint(20);
            log.write_checkpoint(Position(20), &bytes).expect("there is room");
        }
    }
    if is_cleaned {
        log.clean(Position(u64::MAX), |header| header.position.0 % 3 == 1).expect("it is whole");
    }
    if is_closed {
        log.close().expect("there is room");
        volume.close_cleanly().expect("there is room");
    } else {
        drop((log, volume));
    }
    let files = simulated.files().into_iter().map(|(path, _)| path).collect();
    (simulated.snapshot(), files)
}

fn append(log: &mut ShardLog, entries: Vec<u8>) {
    let entries = Entries::verify(Bytes::from(entries)).expect("they were encoded here");
    log.append(&entries).expect("they follow");
}

fn flush(log: &mut ShardLog) {
    if let Some(job) = log.flush_job() {
        let flushed = job.run().expect("the disk is well");
        log.flushed(flushed).expect("it was flushed");
    }
}

/// The files that are of this kind.
fn of_kind<'a>(files: &'a [PathBuf], kind: &str) -> Vec<&'a PathBuf> {
    let is_kind =
        |path: &&PathBuf| path.extension().or(path.file_name()).is_some_and(|name| name == kind);
    files.iter().filter(is_kind).collect()
}

fn seeds(kind: &str) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (world, (snapshot, files)) in worlds().0.iter().enumerate() {
        let disk = SimulatedDisk::default();
        disk.restore(snapshot);
        for (number, path) in of_kind(files, kind).into_iter().enumerate() {
            let selector = u8::try_from(number << 2 | world).unwrap_or(0);
            seeds.push([vec![selector], disk.read(path).unwrap_or_default()].concat());
        }
    }
    seeds
}

/// A disk on which one file is as the input says.
fn spoiled(kind: &str, input: &[u8]) -> Option<SimulatedDisk> {
    let (selector, content) = input.split_first()?;
    let (snapshot, files) = &worlds().0[usize::from(selector & 3)];
    let files = of_kind(files, kind);
    let path = files.get(usize::from(selector >> 2) % files.len().max(1))?;
    let disk = SimulatedDisk::default();
    disk.restore(snapshot);
    disk.put(path, content);
    Some(disk)
}

fn run(kind: &str, input: &[u8]) {
    if let Some(disk) = spoiled(kind, input) {
        log_alone(&Disk::Simulated(disk));
    }
    if let Some(disk) = spoiled(kind, input) {
        broker(&Disk::Simulated(disk));
    }
}

fn log_alone(disk: &Disk) {
    let Ok(volume) = Volume::open_on(disk, Path::new(DATA), "kernel") else {
        return;
    };
    let dir = volume.shard_dir(SHARD);
    let Ok((mut log, recovered)) = ShardLog::open_on(disk, &dir, shard::config()) else {
        return;
    };
    read(&log.reader());
    let _ = log.checkpoint();
    if recovered.damage.is_some() {
        let reset = log.reset(Position(0), Vec::new(), Position(0));
        assert!(reset.is_ok(), "what is damaged is given up: {reset:?}");
    }
    let _ = log.clean(Position(u64::MAX), |header| header.position.0 % 2 == 0);
    read(&log.reader());
    let mut more = Vec::new();
    let epoch = log.last_epoch();
    Draft::command(Kind::KeepGroup, b"").encode(epoch, log.end(), &mut more);
    let appended = log.append(&Entries::verify(more.into()).expect("it was encoded here"));
    assert!(appended.is_ok(), "a log that was opened takes what follows: {appended:?}");
    read(&log.reader());
    let _ = log.truncate(Position(log.end().0 - 1));
    let end = log.end();
    let closed = log.close();
    assert!(closed.is_ok(), "a log that was opened can be closed: {closed:?}");
    let again = ShardLog::open_on(disk, &dir, shard::config());
    let (log, recovered) = again.expect("a log that was closed can be opened");
    assert_eq!((log.end(), &recovered.damage), (end, &None), "nothing is lost by closing");
}

/// Reads everything in every way; what is damaged may say so.
fn read(reader: &LogReader) {
    let _ = reader.entries(Position(0), Position(u64::MAX)).count();
    let _ = reader.headers(Position(0), Position(u64::MAX)).count();
    for position in [0, 13, 14, 39, 40, u64::MAX] {
        let _ = reader.read_from(Position(position), 700);
    }
    let all = Offset(u64::MAX);
    for partition in 0..3 {
        let stream = shard::stream(partition);
        for offset in [0, 9, 40, u64::MAX] {
            let _ = reader.locate(stream, Offset(offset));
            let _ = reader.read_stream(stream, Offset(offset), all, 5_000, true);
        }
        let _ = reader.find_timestamp(stream, 1_020, Offset(0), all);
    }
}

/// A broker starts, serves for a while, stops in order, and starts again.
fn broker(disk: &Disk) {
    for _ in 0..2 {
        let Ok(volume) = Volume::open_on(disk, Path::new(DATA), "kernel") else {
            return;
        };
        let place = (disk, &*volume.shard_dir(SHARD), shard::config());
        let Ok(mut driver) = Driver::open(Host::new(), SHARD, volume.boot(), place) else {
            return;
        };
        driver.start();
        shard::serve(&mut driver);
        for _ in 0..4 {
            shard::pass(&mut driver, 6_001);
        }
        driver.close();
        let _ = volume.close_cleanly();
    }
}
