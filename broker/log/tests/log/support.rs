//! Entries to write and files to spoil.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use holdfast_log::{Config, Error, LogReader, Recovered, ShardLog};
use holdfast_protocol::entry::{Draft, Entries};
use holdfast_protocol::{Entry, Epoch, Kind, Offset, Position, StreamId, TopicId};

/// The stream with this number.
pub(crate) fn stream(number: u8) -> StreamId {
    StreamId { topic: TopicId([number + 1; 16]), partition: u32::from(number) }
}

/// Small segments, so that a few entries make several.
pub(crate) fn small() -> Config {
    Config {
        segment_bytes_max: 1024,
        segment_entries_max: 16,
        preallocate_bytes: 4096,
        indexes_cached_max: 2,
        tail_bytes_max: 2048,
        clean_dead_percent: 40,
        ..Config::default()
    }
}

/// An `Append` of `count` offsets from `offset` on.
pub(crate) fn batch(
    position: u64,
    epoch: u32,
    of: u8,
    offset: u64,
    count: u32,
    body: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    Draft {
        kind: Kind::Append,
        stream: stream(of),
        count,
        offset: Offset(offset),
        timestamp_ms: 1000 + offset as i64,
        body,
    }
    .encode(Epoch(epoch), Position(position), &mut out);
    out
}

/// A command without a stream, of a length that depends on its position.
pub(crate) fn command(position: u64, epoch: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let body = vec![position as u8; 20 + (position as usize * 7) % 50];
    Draft::command(Kind::KeepGroup, &body).encode(Epoch(epoch), Position(position), &mut out);
    out
}

/// Appends bytes as a broker would that got them from elsewhere.
pub(crate) trait Write {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;
}

impl Write for ShardLog {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.append(&Entries::verify(Bytes::copy_from_slice(bytes))?)
    }
}

/// Appends commands until the log ends at `to`.
pub(crate) fn fill(log: &mut ShardLog, to: u64) {
    for position in log.end().0..to {
        let epoch = log.last_epoch().0.max(1);
        log.write(&command(position, epoch)).unwrap();
    }
}

/// Makes everything durable.
pub(crate) fn flush(log: &mut ShardLog) {
    if let Some(job) = log.flush_job() {
        let flushed = job.run().unwrap();
        log.flushed(flushed).unwrap();
    }
    assert_eq!(log.durable(), log.end());
}

pub(crate) fn open(dir: &Path) -> (ShardLog, Recovered) {
    ShardLog::open(dir, small()).unwrap()
}

/// Every entry that the log has.
pub(crate) fn entries(reader: &LogReader) -> Vec<Entry> {
    reader.entries(Position(0), Position(u64::MAX)).collect::<Result<_, _>>().unwrap()
}

/// The position of every entry that the log has.
pub(crate) fn positions(reader: &LogReader) -> Vec<u64> {
    entries(reader).iter().map(|entry| entry.header.position.0).collect()
}

/// The segment files, in order.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    paths
}

/// Where the entry at `position` lies: its file, where in it, and its length.
pub(crate) fn place(dir: &Path, position: u64) -> (PathBuf, u64, u64) {
    for path in segments(dir) {
        let bytes = fs::read(&path).unwrap();
        let mut at = 64;
        while let Ok(header) = holdfast_protocol::Header::peek(&bytes[at..]) {
            if header.position.0 == position {
                return (path, at as u64, u64::from(header.length));
            }
            at += header.length as usize;
        }
    }
    panic!("no entry at position {position}");
}

/// Flips one bit of the file.
pub(crate) fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

/// Writes over part of the file.
pub(crate) fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}
