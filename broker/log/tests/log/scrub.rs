//! A scrub reads every byte that matters from the disk, and finds each bit that is not as written.

use std::fs;

use holdfast_log::{LogReader, ShardLog};
use holdfast_protocol::Position;

use crate::support::{command, entries, fill, flip, open, overwrite, place, positions, segments};

/// Less than a segment, more than an entry.
const BYTES_MAX: usize = 300;

/// A whole pass: how many bytes were read, or the first rot.
fn pass(reader: &LogReader) -> Result<usize, holdfast_log::Error> {
    let (mut next, mut bytes) = (Position(0), 0);
    while let Some(done) = reader.scrub(next, BYTES_MAX)? {
        assert!(done.next > next);
        next = done.next;
        bytes += done.bytes;
    }
    Ok(bytes)
}

fn filled(dir: &std::path::Path) -> ShardLog {
    let (mut log, _) = open(dir);
    fill(&mut log, 100);
    log.write_checkpoint(Position(50), b"state").unwrap();
    log
}

#[test]
fn a_pass_reads_all_entries_and_every_flipped_bit_of_them_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path());
    let reader = log.reader();
    let all: usize = entries(&reader).iter().map(|entry| entry.bytes.len()).sum();
    assert_eq!(pass(&reader).unwrap(), all);
    // The newest are in memory too, where readers take them from: the disk is read all the same.
    for position in [0, 49, 50, 98, 99] {
        let (path, at, length) = place(dir.path(), position);
        for byte in [at, at + 20, at + length - 1] {
            flip(&path, byte);
            let error = pass(&reader).unwrap_err();
            assert!(error.is_rot(), "position {position}, byte {byte}: {error}");
            assert!(error.to_string().contains(&path.display().to_string()));
            flip(&path, byte);
        }
    }
    for path in segments(dir.path()) {
        flip(&path, 30);
        assert!(pass(&reader).unwrap_err().is_rot());
        flip(&path, 30);
    }
    assert_eq!(pass(&reader).unwrap(), all);
}

#[test]
fn a_write_that_never_got_to_the_disk_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path());
    let (path, at, _) = place(dir.path(), 99);
    // Whole, of the same length and position, but what was there before.
    overwrite(&path, at, &command(99, 0));
    assert!(pass(&log.reader()).unwrap_err().is_rot());
}

#[test]
fn an_index_that_is_not_whole_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path());
    let reader = log.reader();
    pass(&reader).unwrap();
    for path in segments(dir.path()) {
        let index = path.with_extension("index");
        // The active segment has none. Some of the others are in memory, and some are not.
        let Ok(written) = fs::read(&index) else { continue };
        for byte in [40, written.len() as u64 - 1] {
            flip(&index, byte);
            pass(&reader).unwrap();
            assert_eq!(fs::read(&index).unwrap(), written, "byte {byte}");
        }
        fs::remove_file(&index).unwrap();
        pass(&reader).unwrap();
        assert_eq!(fs::read(&index).unwrap(), written);
    }
    assert_eq!(positions(&reader), (0..100).collect::<Vec<_>>());
}

#[test]
fn the_small_files_are_told_apart_and_can_be_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path());
    let reader = log.reader();
    let whole = reader.scrub_files().unwrap();
    assert!(whole.checkpoint_is_whole && whole.meta_is_whole);
    flip(&dir.path().join("checkpoint"), 30);
    let found = reader.scrub_files().unwrap();
    assert!(!found.checkpoint_is_whole && found.meta_is_whole);
    log.write_checkpoint(Position(50), b"state").unwrap();
    flip(&dir.path().join("meta"), 30);
    let found = reader.scrub_files().unwrap();
    assert!(found.checkpoint_is_whole && !found.meta_is_whole);
    let meta = log.meta().clone();
    log.write_meta(&meta).unwrap();
    assert_eq!(reader.scrub_files().unwrap(), whole);
}

#[test]
fn a_pass_goes_on_through_cuts_and_cleaning() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path());
    let reader = log.reader();
    let begun = reader.scrub(Position(0), BYTES_MAX).unwrap().unwrap();
    log.clean(Position(50), |header| header.position.0 % 3 != 0).unwrap();
    log.truncate(Position(80)).unwrap();
    let mut next = begun.next;
    while let Some(done) = reader.scrub(next, BYTES_MAX).unwrap() {
        next = done.next;
    }
    assert_eq!(next, Position(80));
}
