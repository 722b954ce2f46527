//! Torn tails are cut, rot is reported, and what can be made again is made again.

use std::fs;

use holdfast_log::{Error, ShardLog};
use holdfast_protocol::{Epoch, Offset, Position};

use crate::support::{
    Write, batch, command, entries, fill, flip, flush, open, overwrite, place, positions, segments,
    small, stream,
};

/// Positions below which are covered by a checkpoint.
const CHECKPOINT: u64 = 50;

/// A log of 100 entries, with a checkpoint at 50.
fn hundred(dir: &std::path::Path) -> ShardLog {
    let (mut log, _) = open(dir);
    fill(&mut log, CHECKPOINT);
    log.write_checkpoint(Position(CHECKPOINT), b"state").unwrap();
    fill(&mut log, 100);
    log
}

#[test]
fn a_flipped_bit_above_the_checkpoint_is_a_torn_tail() {
    for position in [50, 51, 60, 75, 99] {
        let dir = tempfile::tempdir().unwrap();
        drop(hundred(dir.path()));
        let (path, at, length) = place(dir.path(), position);
        flip(&path, at + length - 1);
        let (mut log, recovered) = open(dir.path());
        assert_eq!(recovered.damage, None, "at {position}");
        assert!(recovered.torn_bytes >= length, "at {position}");
        assert_eq!(recovered.checkpoint, Some((Position(50), b"state".to_vec())));
        assert_eq!(log.end(), Position(position));
        assert_eq!(positions(&log.reader()), (0..position).collect::<Vec<_>>());
        // Nothing that was cut comes back: the new entries are other ones.
        log.write(&command(position, 9)).unwrap();
        drop(log);
        let (log, recovered) = open(dir.path());
        assert_eq!(recovered.torn_bytes, 0);
        assert_eq!(log.end(), Position(position + 1));
        assert_eq!(log.last_epoch(), Epoch(9));
    }
}

#[test]
fn a_file_that_ends_before_the_checkpoint_between_two_entries_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = hundred(dir.path());
    log.write_checkpoint(Position(100), b"state").unwrap();
    drop(log);
    let (path, at, _) = place(dir.path(), 99);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(at).unwrap();
    let (_, recovered) = open(dir.path());
    assert_eq!(recovered.damage.unwrap().position, Position(99));
}

#[test]
fn a_few_bytes_of_room_behind_a_sealed_segment_are_no_damage() {
    for room in [1, 3, 4, 63, 64, 65] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = hundred(dir.path());
        log.write_checkpoint(Position(100), b"state").unwrap();
        drop(log);
        // The power went before it was known that the segment is shorter than its room, and
        // before its index was written.
        let path = &segments(dir.path())[1];
        let length = fs::metadata(path).unwrap().len();
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length + room).unwrap();
        fs::remove_file(path.with_extension("index")).unwrap();
        let (log, recovered) = open(dir.path());
        assert_eq!(recovered.damage, None, "{room} bytes");
        assert_eq!(positions(&log.reader()), (0..100).collect::<Vec<_>>());
    }
}

#[test]
fn an_unfinished_append_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    drop(hundred(dir.path()));
    let (path, at, length) = place(dir.path(), 99);
    let next = command(100, 1);
    for cut in [1, 3, 4, 63, 64, next.len() - 1] {
        overwrite(&path, at + length, &[0; 200]);
        overwrite(&path, at + length, &next[..cut]);
        let (log, recovered) = open(dir.path());
        let written = next[..cut].iter().rposition(|byte| *byte != 0).unwrap() + 1;
        assert_eq!(recovered.torn_bytes, written as u64, "cut at {cut}");
        assert_eq!(recovered.damage, None);
        assert_eq!(log.end(), Position(100));
    }
}

#[test]
fn pages_that_reached_the_disk_out_of_order_are_no_entries() {
    let dir = tempfile::tempdir().unwrap();
    drop(hundred(dir.path()));
    // The first bytes of an entry are still zero, what follows it is there.
    let (path, at, length) = place(dir.path(), 80);
    overwrite(&path, at, &vec![0; length as usize]);
    let (log, recovered) = open(dir.path());
    assert!(recovered.torn_bytes > 0);
    assert_eq!(log.end(), Position(80));
    drop(log);
    let (log, recovered) = open(dir.path());
    assert_eq!((recovered.torn_bytes, log.end()), (0, Position(80)));
}

#[test]
fn a_stale_entry_behind_the_end_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    drop(hundred(dir.path()));
    let (path, at, length) = place(dir.path(), 99);
    // Whole and verified, but of an older life of these bytes.
    overwrite(&path, at + length, &command(98, 1));
    let (log, recovered) = open(dir.path());
    assert!(recovered.torn_bytes > 0);
    assert_eq!(log.end(), Position(100));
}

#[test]
fn rot_below_the_checkpoint_is_reported_and_the_rest_kept() {
    for position in [0, 20, 49] {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path());
        // All in one segment, so that recovery scans it.
        fill(&mut log, 4);
        let length = log.end().0;
        let position = position.min(length - 2);
        log.write_checkpoint(Position(length - 1), b"state").unwrap();
        drop(log);
        let (path, at, _) = place(dir.path(), position);
        flip(&path, at + 70);
        let (log, recovered) = open(dir.path());
        let damage = recovered.damage.expect("reported");
        assert_eq!(damage.position, Position(position));
        assert_eq!(damage.path, path);
        assert!(damage.to_string().contains(&path.display().to_string()));
        let rest: Vec<u64> = (0..length).filter(|other| *other != position).collect();
        assert_eq!(positions(&log.reader()), rest);
        drop(log);
        let (_, recovered) = open(dir.path());
        assert!(recovered.damage.is_some(), "until the log is reset");
    }
}

#[test]
fn rot_in_a_trusted_segment_is_noticed_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    drop(hundred(dir.path()));
    let (path, at, _) = place(dir.path(), 5);
    flip(&path, at + 66);
    let (log, recovered) = open(dir.path());
    assert_eq!(recovered.damage, None, "not looked at");
    let error = log.reader().read_from(Position(5), 1).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()));
}

#[test]
fn what_was_durable_and_is_missing_is_damage() {
    // The meta file, the checkpoint, a segment, the end of one.
    let spoil: [fn(&std::path::Path); 5] = [
        |dir| fs::remove_file(dir.join("meta")).unwrap(),
        |dir| fs::remove_file(dir.join("checkpoint")).unwrap(),
        |dir| flip(&dir.join("checkpoint"), 30),
        |dir| fs::remove_file(&segments(dir)[1]).unwrap(),
        |dir| {
            let path = &segments(dir)[1];
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(200).unwrap();
        },
    ];
    for (case, spoil) in spoil.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        drop(hundred(dir.path()));
        spoil(dir.path());
        let (log, recovered) = open(dir.path());
        assert!(recovered.damage.is_some(), "case {case}");
        assert!(!recovered.fresh, "case {case}");
        assert_eq!(log.end(), Position(100), "case {case}");
    }
    let dir = tempfile::tempdir().unwrap();
    drop(hundred(dir.path()));
    for path in segments(dir.path()) {
        fs::remove_file(path).unwrap();
    }
    let (log, recovered) = open(dir.path());
    assert_eq!(recovered.damage.unwrap().position, Position(0));
    assert_eq!(log.end(), Position(0));
}

#[test]
fn a_closed_log_has_no_torn_tail_only_rot() {
    let dir = tempfile::tempdir().unwrap();
    hundred(dir.path()).close().unwrap();
    let (path, at, length) = place(dir.path(), 99);
    flip(&path, at + length - 1);
    let (_, recovered) = open(dir.path());
    assert_eq!(recovered.damage.unwrap().position, Position(99));
    assert!(!recovered.clean);
}

#[test]
fn later_segments_behind_a_tear_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    drop(hundred(dir.path()));
    let (path, at, _) = place(dir.path(), 55);
    flip(&path, at + 20);
    let later = segments(dir.path()).iter().filter(|other| **other > path).count();
    let (log, _) = open(dir.path());
    assert_eq!(log.end(), Position(55));
    let mut kept = 0;
    for item in fs::read_dir(dir.path().join("aside")).unwrap() {
        kept += segments(&item.unwrap().path()).len();
    }
    assert_eq!(kept, later);
}

#[test]
fn indexes_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    for position in 0..60 {
        let entry = batch(position, 1, (position % 3) as u8, position / 3 * 2, 2, b"body");
        log.write(&entry).unwrap();
    }
    log.write_checkpoint(Position(60), b"").unwrap();
    log.close().unwrap();
    let indexes: Vec<_> = segments(dir.path())
        .iter()
        .map(|path| path.with_extension("index"))
        .filter(|path| path.exists())
        .collect();
    assert!(indexes.len() > 3);
    fs::remove_file(&indexes[0]).unwrap();
    flip(&indexes[1], 40);
    // The second frame: noticed only when the segment is read.
    let length = fs::metadata(&indexes[2]).unwrap().len();
    flip(&indexes[2], length - 5);
    let (log, recovered) = open(dir.path());
    assert!(recovered.clean && recovered.damage.is_none());
    let reader = log.reader();
    for position in 0..60 {
        let (of, offset) = ((position % 3) as u8, position / 3 * 2);
        let header = reader.locate(stream(of), Offset(offset + 1)).unwrap().unwrap();
        assert_eq!(header.position, Position(position));
    }
    assert_eq!(entries(&reader).len(), 60);
    assert!(indexes.iter().all(|path| path.exists()), "and written");
}

#[test]
fn a_newer_version_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(hundred(dir.path()));
    // The version in a segment's head, with the checksum made to match.
    let path = segments(dir.path()).pop().unwrap();
    let mut head = fs::read(&path).unwrap()[..60].to_vec();
    head[8] = 2;
    head.extend(crc32c::crc32c(&head).to_le_bytes());
    overwrite(&path, 0, &head);
    let error = ShardLog::open(dir.path(), small()).unwrap_err();
    assert!(matches!(error, Error::Version { .. }), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()));
}

#[test]
fn a_kind_from_the_future_is_refused_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    drop(hundred(dir.path()));
    let (path, at, length) = place(dir.path(), 99);
    let mut entry = command(100, 1);
    entry[9] = 200;
    let crc = crc32c::crc32c(&entry[8..]);
    entry[4..8].copy_from_slice(&crc.to_le_bytes());
    overwrite(&path, at + length, &entry);
    let error = ShardLog::open(dir.path(), small()).unwrap_err();
    assert!(matches!(error, Error::UnknownEntry { .. }), "{error}");
}

#[test]
fn a_checkpoint_is_replaced_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = hundred(dir.path());
    let job = log.checkpoint_job(Position(90), b"newer".to_vec()).unwrap();
    assert_eq!(log.checkpoint_position(), Some(Position(50)));
    // Until it is known whether it took hold, the log is not cut below it.
    assert!(log.truncate(Position(89)).is_err());
    let done = job.run().unwrap();
    drop(log);
    // The process ended before the result was noted: the file counts.
    let (mut log, recovered) = open(dir.path());
    assert_eq!(recovered.checkpoint, Some((Position(90), b"newer".to_vec())));
    assert_eq!(log.checkpoint_position(), Some(Position(90)));
    log.checkpointed(done).unwrap();
    assert!(log.write_checkpoint(Position(80), b"").is_err(), "only forward");
    assert!(log.write_checkpoint(Position(101), b"").is_err());
    fs::write(dir.path().join("checkpoint.tmp"), b"half").unwrap();
    flush(&mut log);
    drop(log);
    let (_, recovered) = open(dir.path());
    assert_eq!(recovered.checkpoint.unwrap().1, b"newer");
    assert!(!dir.path().join("checkpoint.tmp").exists());
}

#[test]
fn a_checkpoint_that_comes_late_does_not_take_the_place_of_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = hundred(dir.path());
    // Another thread is about to write it when the log is told to end, which keeps its own.
    let late = log.checkpoint_job(Position(90), b"late".to_vec()).unwrap();
    log.write_checkpoint(Position(100), b"last").unwrap();
    log.close().unwrap();
    assert!(matches!(late.run(), Err(Error::OutOfRange { .. })));
    let (_, recovered) = open(dir.path());
    assert!(recovered.damage.is_none(), "{:?}", recovered.damage);
    assert_eq!(recovered.checkpoint, Some((Position(100), b"last".to_vec())));
}

#[test]
fn a_checkpoint_of_the_log_before_is_not_put_in_place_after_a_reset() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = hundred(dir.path());
    let late = log.checkpoint_job(Position(90), b"late".to_vec()).unwrap();
    log.reset(Position(20), vec![(Epoch(1), Position(0))], Position(20)).unwrap();
    log.install_checkpoint(Position(20), b"built").unwrap();
    assert!(matches!(late.run(), Err(Error::OutOfRange { .. })));
    assert_eq!(log.checkpoint().unwrap(), Some(b"built".to_vec()));
}

#[test]
fn an_index_of_before_a_tear_is_not_taken_for_the_one_after() {
    let dir = tempfile::tempdir().unwrap();
    drop(hundred(dir.path()));
    let (path, at, _) = place(dir.path(), 55);
    let index = path.with_extension("index");
    let old = fs::read(&index).unwrap();
    flip(&path, at + 20);
    let (mut log, _) = open(dir.path());
    assert_eq!(log.end(), Position(55));
    for position in 55..90 {
        log.write(&batch(position, 2, 1, position, 1, b"new")).unwrap();
    }
    log.write_checkpoint(Position(90), b"state").unwrap();
    drop(log);
    // A name whose removal did not reach the disk.
    fs::write(&index, old).unwrap();
    let (log, recovered) = open(dir.path());
    assert_eq!(recovered.damage, None);
    let header = log.reader().locate(stream(1), Offset(56)).unwrap();
    assert_eq!(header.unwrap().position, Position(56));
    assert_eq!(positions(&log.reader()), (0..90).collect::<Vec<_>>());
}
