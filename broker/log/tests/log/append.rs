//! Appending, rolling, flushing, reopening.

use holdfast_log::{Config, Error, Meta, ShardLog};
use holdfast_protocol::{Epoch, Incarnation, Position};

use crate::support::{Write, batch, command, fill, flush, open, positions, segments, small};

#[test]
fn what_was_appended_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, recovered) = open(dir.path());
    assert!(recovered.fresh && !recovered.clean && recovered.damage.is_none());
    log.write_meta(&Meta {
        incarnation: Incarnation([7; 16]),
        record: b"newest".to_vec(),
        committed: Position(3),
    })
    .unwrap();
    fill(&mut log, 100);
    assert!(segments(dir.path()).len() > 3, "segments roll");
    assert_eq!(positions(&log.reader()), (0..100).collect::<Vec<_>>());
    // No flush: the process is gone, the kernel is not.
    drop(log);
    let (log, recovered) = open(dir.path());
    assert_eq!((recovered.fresh, recovered.clean, recovered.torn_bytes), (false, false, 0));
    assert_eq!(recovered.damage, None);
    assert_eq!(log.end(), Position(100));
    assert_eq!(log.durable(), Position(100), "what is offered is durable");
    assert_eq!(log.meta().incarnation, Incarnation([7; 16]));
    assert_eq!(log.meta().record, b"newest");
    assert_eq!(positions(&log.reader()), (0..100).collect::<Vec<_>>());
    log.close().unwrap();
    let (mut log, recovered) = open(dir.path());
    assert!(recovered.clean);
    fill(&mut log, 120);
    drop(log);
    let (log, recovered) = open(dir.path());
    assert!(!recovered.clean, "the mark goes with the next open");
    assert_eq!(positions(&log.reader()), (0..120).collect::<Vec<_>>());
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    log.write(&[command(0, 2), command(1, 2)].concat()).unwrap();
    let gap = log.write(&command(3, 2)).unwrap_err();
    assert!(matches!(gap, Error::NotContiguous { .. }), "{gap}");
    let again = log.write(&command(1, 2)).unwrap_err();
    assert!(matches!(again, Error::NotContiguous { .. }), "{again}");
    let backwards = log.write(&command(2, 1)).unwrap_err();
    assert!(matches!(backwards, Error::EpochBackwards { .. }));
    let mut spoiled = command(2, 2);
    spoiled[70] ^= 1;
    assert!(matches!(log.write(&spoiled).unwrap_err(), Error::Entry(_)));
    let half = log.write(&[command(2, 2), command(4, 2)].concat());
    assert!(half.is_err(), "all of an append or nothing");
    let cut = command(2, 2);
    assert!(log.write(&cut[..cut.len() - 1]).is_err());
    assert_eq!(log.end(), Position(2));
    assert_eq!(positions(&log.reader()), [0, 1]);
    log.write(&command(2, 2)).unwrap();
}

#[test]
fn a_flush_covers_what_was_there_when_its_job_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    assert!(log.flush_job().is_none(), "nothing to flush");
    fill(&mut log, 40);
    let job = log.flush_job().unwrap();
    fill(&mut log, 70);
    assert_eq!(job.position(), Position(40));
    let flushed = std::thread::spawn(|| job.run()).join().unwrap().unwrap();
    log.flushed(flushed).unwrap();
    assert_eq!(log.durable(), Position(40));
    flush(&mut log);
    assert_eq!(log.durable(), Position(70));
    assert!(log.flush_job().is_none());
}

#[test]
fn an_append_longer_than_a_segment_gets_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    fill(&mut log, 3);
    log.write(&batch(3, 1, 1, 0, 1, &[9; 20_000])).unwrap();
    fill(&mut log, 6);
    assert_eq!(segments(dir.path()).len(), 3);
    drop(log);
    let (log, _) = open(dir.path());
    assert_eq!(positions(&log.reader()), (0..6).collect::<Vec<_>>());
}

#[test]
fn the_history_of_epochs_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    assert_eq!(log.last_epoch(), Epoch(0));
    for position in 0..60 {
        let epoch = 1 + (position / 20) as u32 * 3;
        log.write(&command(position, epoch)).unwrap();
    }
    let history = [(Epoch(1), Position(0)), (Epoch(4), Position(20)), (Epoch(7), Position(40))];
    assert_eq!(log.epochs(), history);
    drop(log);
    let (log, _) = open(dir.path());
    assert_eq!(log.epochs(), history);
    assert_eq!(log.last_epoch(), Epoch(7));
}

#[test]
fn without_preallocation_all_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { preallocate_bytes: 0, ..small() };
    let (mut log, _) = ShardLog::open(dir.path(), config).unwrap();
    fill(&mut log, 50);
    drop(log);
    let (log, recovered) = open(dir.path());
    assert_eq!(recovered.torn_bytes, 0);
    assert_eq!(log.end(), Position(50));
}
