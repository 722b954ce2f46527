//! Cutting, resetting, cleaning.

use std::fs;
use std::path::Path;

use holdfast_log::{Config, Error, Meta, ShardLog};
use holdfast_protocol::{Epoch, Header, Incarnation, Kind, Offset, Position};

use crate::support::{
    Write, batch, command, entries, fill, flush, open, positions, segments, small, stream,
};

/// Every entry in the items of `aside/`, by position.
fn aside(dir: &Path) -> Vec<u64> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir.join("aside")).unwrap() {
        for path in segments(&item.unwrap().path()) {
            let bytes = fs::read(path).unwrap();
            let mut left = &bytes[64..];
            while let Ok(header) = Header::verify(left) {
                found.push(header.position.0);
                left = &left[header.length as usize..];
            }
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn what_is_cut_is_set_aside_and_does_not_come_back() {
    for to in [0, 1, 30, 69, 70] {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path());
        fill(&mut log, 70);
        let reader = log.reader();
        log.truncate(Position(to)).unwrap();
        assert_eq!((log.end(), reader.end()), (Position(to), Position(to)));
        assert!(to == 70 || log.durable() == log.end());
        assert_eq!(positions(&reader), (0..to).collect::<Vec<_>>());
        assert_eq!(aside(dir.path()), (to..70).collect::<Vec<_>>());
        // Another history from here, unflushed, shorter than the old one.
        log.write(&command(to, 5)).unwrap();
        drop(log);
        let (mut log, recovered) = open(dir.path());
        assert_eq!((recovered.torn_bytes, recovered.damage), (0, None));
        assert_eq!(log.end(), Position(to + 1));
        assert_eq!(log.last_epoch(), Epoch(5));
        fill(&mut log, 90);
        assert_eq!(positions(&log.reader()), (0..90).collect::<Vec<_>>());
        drop(log);
        let (log, _) = open(dir.path());
        assert_eq!(positions(&log.reader()), (0..90).collect::<Vec<_>>());
    }
}

#[test]
fn a_cut_leaves_no_byte_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    fill(&mut log, 8);
    assert_eq!(segments(dir.path()).len(), 1);
    log.truncate(Position(3)).unwrap();
    let bytes = fs::read(&segments(dir.path())[0]).unwrap();
    let used: usize = entries(&log.reader()).iter().map(|entry| entry.bytes.len()).sum();
    assert!(bytes[64 + used..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_cut_forgets_epochs_and_flushes_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    for (position, epoch) in [(0, 1), (1, 1), (2, 2), (3, 4)] {
        log.write(&command(position, epoch)).unwrap();
    }
    let job = log.flush_job().unwrap();
    log.truncate(Position(2)).unwrap();
    assert_eq!(log.epochs(), [(Epoch(1), Position(0))]);
    fill(&mut log, 4);
    log.flushed(job.run().unwrap()).unwrap();
    assert_eq!(log.durable(), Position(2), "those were other entries");
    drop(log);
    let (log, _) = open(dir.path());
    assert_eq!(log.epochs(), [(Epoch(1), Position(0))]);
}

#[test]
fn a_cut_out_of_range_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    fill(&mut log, 20);
    log.write_checkpoint(Position(10), b"state").unwrap();
    for to in [0, 9, 21] {
        let error = log.truncate(Position(to)).unwrap_err();
        assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
    }
    log.truncate(Position(20)).unwrap();
    assert!(aside(dir.path()).is_empty(), "nothing to cut");
    log.truncate(Position(10)).unwrap();
}

#[test]
fn a_reset_begins_anew_with_gaps_below_the_clean_point() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    let meta = Meta { incarnation: Incarnation([1; 16]), ..Meta::default() };
    log.write_meta(&meta).unwrap();
    fill(&mut log, 40);
    log.write_checkpoint(Position(30), b"old").unwrap();
    let history = vec![(Epoch(1), Position(0)), (Epoch(6), Position(95))];
    log.reset(Position(100), history.clone(), Position(200)).unwrap();
    assert_eq!((log.start(), log.end()), (Position(100), Position(100)));
    assert_eq!(log.epochs(), history);
    assert_eq!(log.checkpoint_position(), None);
    assert_eq!(log.meta(), &meta, "kept");
    assert!(entries(&log.reader()).is_empty());
    assert_eq!(aside(dir.path()), (0..40).collect::<Vec<_>>());
    // As the leader has it: cleaned below 200.
    let kept = [103, 110, 111, 150, 199, 200, 201];
    for position in kept {
        log.write(&command(position, 7)).unwrap();
    }
    let gap = log.write(&command(203, 7)).unwrap_err();
    assert!(matches!(gap, Error::NotContiguous { .. }));
    flush(&mut log);
    drop(log);
    let (mut log, recovered) = open(dir.path());
    assert_eq!(recovered.damage, None);
    assert_eq!(recovered.checkpoint, None);
    assert_eq!(positions(&log.reader()), kept);
    assert_eq!(log.clean_point(), Position(200));
    assert_eq!(log.epochs(), [&history[..], &[(Epoch(7), Position(103))]].concat());
    log.truncate(Position(150)).unwrap();
    assert_eq!(positions(&log.reader()), [103, 110, 111]);
}

#[test]
fn a_reset_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    fill(&mut log, 40);
    log.write_checkpoint(Position(40), b"old").unwrap();
    let old = tempfile::tempdir().unwrap();
    for path in segments(dir.path()) {
        fs::copy(&path, old.path().join(path.file_name().unwrap())).unwrap();
    }
    fs::copy(dir.path().join("checkpoint"), old.path().join("checkpoint")).unwrap();
    log.reset(Position(10), Vec::new(), Position(10)).unwrap();
    drop(log);
    // As if only the meta file had been written: the old files are there, the new one is not.
    for path in segments(dir.path()) {
        fs::remove_file(path).unwrap();
    }
    for entry in fs::read_dir(old.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let (log, recovered) = open(dir.path());
    assert_eq!((recovered.damage, recovered.checkpoint), (None, None));
    assert_eq!((log.start(), log.end()), (Position(10), Position(10)));
}

/// Two streams in turn, and a log of them that is checkpointed at its end.
fn cleanable(dir: &Path, entries: u64) -> ShardLog {
    let (mut log, _) = open(dir);
    for position in 0..entries {
        let entry = batch(position, 1, (position % 2) as u8, position / 2, 1, &[1; 40]);
        log.write(&entry).unwrap();
    }
    log.write_checkpoint(Position(entries), b"state").unwrap();
    log
}

fn clean_all(log: &mut ShardLog, below: u64, dead: impl Fn(&Header) -> bool) -> (usize, usize) {
    let (mut deleted, mut rewritten) = (0, 0);
    loop {
        let cleaned = log.clean(Position(below), &dead).unwrap();
        deleted += cleaned.deleted;
        rewritten += cleaned.rewritten;
        if cleaned.complete {
            return (deleted, rewritten);
        }
    }
}

#[test]
fn dead_segments_go_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = cleanable(dir.path(), 100);
    let bytes = log.bytes();
    let (deleted, rewritten) = clean_all(&mut log, 60, |header| header.position.0 < 50);
    assert!(deleted >= 4 && rewritten <= 1, "{deleted} {rewritten}");
    assert!(log.bytes() < bytes);
    assert!(log.start() > Position(30) && log.start() <= Position(50));
    let left = positions(&log.reader());
    assert_eq!(left.last(), Some(&99));
    assert!(left.contains(&50) && left[0] >= log.start().0);
    assert_eq!(clean_all(&mut log, 60, |_| false), (0, 0));
    drop(log);
    let (log, recovered) = open(dir.path());
    assert_eq!(recovered.damage, None);
    assert_eq!(positions(&log.reader()), left);
    assert_eq!(log.epochs(), [(Epoch(1), Position(0))], "remembered");
}

#[test]
fn mostly_dead_segments_are_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = cleanable(dir.path(), 100);
    let reader = log.reader();
    let before = reader.read_from(Position(91), 104).unwrap();
    let dead = |header: &Header| header.stream == stream(0) && header.kind == Kind::Append;
    let (deleted, rewritten) = clean_all(&mut log, 100, dead);
    assert_eq!(deleted, 0);
    assert!(rewritten > 5, "{rewritten}");
    assert!(log.clean_point() > Position(80) && log.clean_point() <= Position(100));
    let active = log.clean_point().0;
    let left: Vec<u64> =
        (0..100).filter(|position| position % 2 == 1 || *position >= active).collect();
    assert_eq!(positions(&reader), left);
    assert_eq!(reader.read_from(Position(90), 104).unwrap(), before);
    let bodies = reader.read_stream(stream(1), Offset(3), Offset(40), usize::MAX, true).unwrap();
    assert_eq!(bodies.len(), 37);
    drop(log);
    let (mut log, recovered) = open(dir.path());
    assert_eq!(recovered.damage, None);
    assert_eq!(positions(&log.reader()), left);
    fill(&mut log, 110);
    assert_eq!(clean_all(&mut log, 200, |_| true).0, segments_sealed(&left, active));
    assert_eq!(log.start().0, active);
}

#[test]
fn a_log_filled_behind_a_checkpoint_is_whole_once_it_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    fill(&mut log, 10);
    log.reset(Position(100), Vec::new(), Position(130)).unwrap();
    let early = log.install_checkpoint(Position(129), b"leader's").unwrap_err();
    assert!(matches!(early, Error::OutOfRange { .. }), "{early}");
    log.install_checkpoint(Position(130), b"leader's").unwrap();
    for position in (100..125).step_by(2) {
        log.write(&command(position, 1)).unwrap();
    }
    flush(&mut log);
    drop(log);
    let (mut log, recovered) = open(dir.path());
    assert!(recovered.damage.is_some(), "not filled yet");
    fill(&mut log, 131);
    flush(&mut log);
    assert_eq!(log.checkpoint().unwrap().unwrap(), b"leader's");
    drop(log);
    let (_, recovered) = open(dir.path());
    assert_eq!(recovered.damage, None);
    assert_eq!(recovered.checkpoint, Some((Position(130), b"leader's".to_vec())));
}

#[test]
fn the_cache_of_newest_entries_follows_a_rewrite() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { tail_bytes_max: 1 << 20, ..small() };
    let (mut log, _) = ShardLog::open(dir.path(), config).unwrap();
    for position in 0..30 {
        let entry = batch(position, 1, (position % 2) as u8, position / 2, 1, &[1; 40]);
        log.write(&entry).unwrap();
    }
    log.write_checkpoint(Position(30), b"state").unwrap();
    // The first entry stays where it was, those behind it do not.
    let (_, rewritten) = clean_all(&mut log, 30, |header| {
        header.position.0 > 0 && header.position.0 < 9 && header.position.0 % 4 != 0
    });
    assert_eq!(rewritten, 1);
    assert_eq!(positions(&log.reader())[..4], [0, 4, 8, 9]);
}

#[test]
fn an_index_of_before_a_cut_is_not_taken_for_the_one_after() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    fill(&mut log, 30);
    let index = segments(dir.path())[0].with_extension("index");
    let old = fs::read(&index).unwrap();
    log.truncate(Position(2)).unwrap();
    assert!(!index.exists());
    // As long as the old index says, so that only the revision tells.
    log.write(&batch(2, 2, 1, 2, 1, &[2; 721])).unwrap();
    for position in 3..30 {
        log.write(&batch(position, 2, 1, position, 1, b"new")).unwrap();
    }
    log.write_checkpoint(Position(30), b"state").unwrap();
    drop(log);
    // A name whose removal did not reach the disk.
    fs::write(&index, old).unwrap();
    let (log, recovered) = open(dir.path());
    assert_eq!(recovered.damage, None);
    let header = log.reader().locate(stream(1), Offset(3)).unwrap();
    assert_eq!(header.unwrap().position, Position(3));
    assert_eq!(positions(&log.reader()), (0..30).collect::<Vec<_>>());
}

/// How many sealed segments a log of these entries has: as many as were rewritten.
fn segments_sealed(left: &[u64], active: u64) -> usize {
    let sealed = left.iter().filter(|position| **position < active).count();
    // Nine entries of 104 bytes fit behind the head of a segment of 1,024.
    (sealed * 2).div_ceil(9)
}

#[test]
fn cleaning_stops_at_the_checkpoint_and_at_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    fill(&mut log, 100);
    assert_eq!(clean_all(&mut log, 100, |_| true), (0, 0), "no checkpoint");
    log.write_checkpoint(Position(50), b"state").unwrap();
    clean_all(&mut log, 100, |_| true);
    assert!(log.start() <= Position(50) && log.start() > Position(30));
    drop(log);
    let config = Config { clean_segments_max: 2, ..small() };
    let (mut log, _) = ShardLog::open(dir.path(), config).unwrap();
    log.write_checkpoint(Position(100), b"state").unwrap();
    let cleaned = log.clean(Position(100), |_| true).unwrap();
    assert_eq!((cleaned.segments, cleaned.deleted, cleaned.complete), (2, 2, false));
    clean_all(&mut log, 100, |_| true);
    flush(&mut log);
    let start = log.start();
    assert!(start > Position(90));
    drop(log);
    let (mut log, recovered) = open(dir.path());
    assert_eq!((recovered.damage, log.start()), (None, start));
    log.truncate(Position(100)).unwrap();
    fill(&mut log, 130);
}
