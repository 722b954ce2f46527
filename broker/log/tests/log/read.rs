//! Finding and reading: by position, by offset, by time, from memory and from the disk.

use bytes::Bytes;
use holdfast_log::{Config, LogReader, ShardLog};
use holdfast_protocol::{Offset, Position, StreamId, entry};

use crate::support::{Write, batch, command, flush, open, positions, small, stream};

/// 200 entries: every fifth a command, the others batches of 3 offsets of streams 0 to 2 in turn.
fn mixed(log: &mut ShardLog) {
    let mut offsets = [0; 3];
    for position in 0..200 {
        if position % 5 == 0 {
            log.write(&command(position, 1)).unwrap();
            continue;
        }
        let of = (position % 3) as u8;
        let offset = &mut offsets[usize::from(of)];
        let body = body(of, *offset);
        log.write(&batch(position, 1, of, *offset, 3, &body)).unwrap();
        *offset += 3;
    }
}

fn body(of: u8, offset: u64) -> Vec<u8> {
    format!("stream {of} offset {offset}").into_bytes()
}

fn all(reader: &LogReader, of: u8, from: u64, below: u64) -> Vec<Bytes> {
    reader.read_stream(stream(of), Offset(from), Offset(below), usize::MAX, true).unwrap()
}

#[test]
fn streams_are_read_by_offset_wherever_they_lie() {
    // From memory, from the disk, and with a summary that does not know.
    for (tail_bytes_max, summary_streams_max) in [(1 << 20, 100), (0, 100), (3000, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { tail_bytes_max, summary_streams_max, ..small() };
        let (mut log, _) = ShardLog::open(dir.path(), config.clone()).unwrap();
        mixed(&mut log);
        check_streams(&log.reader());
        flush(&mut log);
        drop(log);
        let (log, _) = ShardLog::open(dir.path(), config).unwrap();
        check_streams(&log.reader());
    }
}

fn check_streams(reader: &LogReader) {
    for of in 0..3 {
        let bodies = all(reader, of, 0, u64::MAX);
        assert!(bodies.len() > 50);
        for (number, found) in bodies.iter().enumerate() {
            assert_eq!(found[..], body(of, number as u64 * 3));
        }
        let end = bodies.len() as u64 * 3;
        for offset in [0, 1, 2, 3, 50, 100, end - 1] {
            let header = reader.locate(stream(of), Offset(offset)).unwrap().unwrap();
            assert_eq!(header.offset.0, offset / 3 * 3);
            let below = (offset + 31).min(end);
            let found = all(reader, of, offset, below);
            assert_eq!(found[0], body(of, offset / 3 * 3));
            assert_eq!(found.len() as u64, below.div_ceil(3) - offset / 3);
        }
        assert_eq!(reader.locate(stream(of), Offset(end)).unwrap(), None);
        assert!(all(reader, of, end, u64::MAX).is_empty());
        assert!(all(reader, of, 9, 9).is_empty());
    }
    assert_eq!(reader.locate(stream(9), Offset(0)).unwrap(), None);
    assert_eq!(
        reader.locate(StreamId::default(), Offset(0)).unwrap(),
        None,
        "commands are of no stream"
    );
}

#[test]
fn reads_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    for position in 0..50 {
        log.write(&batch(position, 1, 1, position, 1, &[1; 100])).unwrap();
    }
    let reader = log.reader();
    let read = |bytes_max, at_least_one| {
        reader.read_stream(stream(1), Offset(5), Offset(50), bytes_max, at_least_one).unwrap().len()
    };
    assert_eq!(read(99, false), 0);
    assert_eq!(read(99, true), 1);
    assert_eq!(read(0, true), 1);
    assert_eq!(read(0, false), 0);
    assert_eq!(read(100, true), 1);
    assert_eq!(read(399, false), 3);
    assert_eq!(read(2500, false), 25, "across segments");
    for bytes_max in [0, 163, 164, 165, 500] {
        let bytes = reader.read_from(Position(5), bytes_max).unwrap();
        let entries = entry::split(bytes).unwrap();
        assert_eq!(entries.len(), (bytes_max / 164).max(1));
        assert_eq!(entries[0].header.position, Position(5));
    }
    assert!(reader.read_from(Position(50), 1000).unwrap().is_empty());
    assert!(reader.read_from(Position(999), 1000).unwrap().is_empty());
}

#[test]
fn timestamps_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    mixed(&mut log);
    let reader = log.reader();
    // An entry's timestamp is 1000 more than its first offset.
    let find = |timestamp_ms, from, below| {
        reader.find_timestamp(stream(1), timestamp_ms, Offset(from), Offset(below)).unwrap().map(
            |(offset, found)| {
                assert_eq!(found[..], body(1, offset.0));
                offset.0
            },
        )
    };
    assert_eq!(find(0, 0, 1000), Some(0));
    assert_eq!(find(1001, 0, 1000), Some(3));
    assert_eq!(find(1100, 0, 1000), Some(102));
    assert_eq!(find(1100, 0, 102), None);
    assert_eq!(find(1000, 50, 1000), Some(48), "the entry that holds 50");
    assert_eq!(find(1000, 51, 1000), Some(51));
    assert_eq!(find(5000, 0, 1000), None);
}

#[test]
fn headers_and_entries_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    mixed(&mut log);
    let reader = log.reader();
    let entries: Vec<_> = reader.entries(Position(17), Position(150)).map(Result::unwrap).collect();
    let headers: Vec<_> = reader.headers(Position(17), Position(150)).map(Result::unwrap).collect();
    assert_eq!(headers.len(), 133);
    for (entry, header) in entries.iter().zip(&headers) {
        assert_eq!(&entry.header, header);
        assert_eq!(entry::split(entry.bytes.clone()).unwrap()[0], *entry);
    }
    assert_eq!(entries.len(), headers.len());
}

#[test]
fn a_reader_at_the_end_skips_nothing_when_segments_roll() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    let count = 2000;
    std::thread::scope(|scope| {
        let (by_position, by_offset) = (log.reader(), log.reader());
        scope.spawn(move || {
            let mut next = 0;
            while next < count {
                let bytes = by_position.read_from(Position(next), 10_000).unwrap();
                for entry in entry::split(bytes).unwrap() {
                    assert_eq!(entry.header.position, Position(next));
                    next += 1;
                }
            }
        });
        scope.spawn(move || {
            let mut next = 0;
            while next < count {
                for found in all(&by_offset, 1, next, u64::MAX) {
                    assert_eq!(found[..], body(1, next));
                    next += 1;
                }
            }
        });
        for position in 0..count {
            log.write(&batch(position, 1, 1, position, 1, &body(1, position))).unwrap();
        }
    });
}

#[test]
fn readers_go_on_while_the_log_grows_and_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    let done = std::sync::atomic::AtomicBool::new(false);
    let reads = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for seed in 0..3u64 {
            let reader = log.reader();
            let (done, reads) = (&done, &reads);
            scope.spawn(move || {
                let mut position = seed;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let end = reader.end().0.max(1);
                    position = (position * 31 + 7) % end;
                    let bytes = reader.read_from(Position(position), 700).unwrap();
                    let entries = entry::split(bytes).unwrap();
                    if let Some(first) = entries.first() {
                        assert_eq!(first.header.position, Position(position));
                    }
                    let bodies = all(&reader, 1, position, u64::MAX);
                    assert!(bodies.iter().all(|found| found.starts_with(b"stream 1")));
                    reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
        for round in 1..=30u32 {
            for position in log.end().0..u64::from(round) * 20 {
                let entry = batch(position, round, 1, position, 1, &body(1, position));
                log.write(&entry).unwrap();
            }
            let cut = log.end().0 - u64::from(round % 7);
            log.truncate(Position(cut)).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(reads.into_inner() > 0);
    assert_eq!(positions(&log.reader()).len() as u64, log.end().0);
}
