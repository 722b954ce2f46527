//! A full disk: an append fails and leaves nothing, a later one goes on.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use holdfast_log::{Config, Error, ShardLog};
use holdfast_protocol::Position;

use crate::support::{Write, batch, command, fill, flush, open, positions, small};

#[test]
fn an_append_beyond_the_bound_leaves_the_log_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { bytes_max: Some(4000), ..small() };
    let (mut log, _) = ShardLog::open(dir.path(), config).unwrap();
    let error = loop {
        let next = log.end().0;
        if let Err(error) = log.write(&command(next, 1)) {
            break error;
        }
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert!(!error.is_fatal());
    let end = log.end();
    assert!(end > Position(20));
    flush(&mut log);
    // Room is made: appending goes on.
    log.write_checkpoint(end, b"state").unwrap();
    assert!(log.clean(end, |_| true).unwrap().deleted > 0);
    fill(&mut log, end.0 + 3);
    drop(log);
    let (log, recovered) = open(dir.path());
    assert_eq!((recovered.damage, recovered.torn_bytes), (None, 0));
    assert_eq!(log.end(), end.plus(3));
}

/// Set for the child that runs with a bound on the length of files.
const CHILD: &str = "HOLDFAST_LOG_TEST_FULL";

/// The kernel refuses to write beyond a length, in the middle of an append: the nearest thing to a
/// full disk that needs no disk. Runs this test again in a process that has such a bound.
#[test]
fn a_write_that_fails_half_way_leaves_nothing_behind() {
    if std::env::var_os(CHILD).is_some() {
        for preallocate_bytes in [0, 4096] {
            fail_half_way(preallocate_bytes);
        }
        return;
    }
    let test = std::env::current_exe().unwrap();
    // The signal that goes with it would end the process; the shell hands on that it is ignored.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact \
                  full::a_write_that_fails_half_way_leaves_nothing_behind --nocapture";
    let output =
        Command::new("sh").args(["-c", script]).arg(test).env(CHILD, "1").output().unwrap();
    assert!(
        output.status.success() && output.status.signal().is_none(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn fail_half_way(preallocate_bytes: u64) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes_max: 1 << 20, preallocate_bytes, ..Config::default() };
    let (mut log, _) = ShardLog::open(dir.path(), config.clone()).unwrap();
    // The bound is 32 or 64 KiB, as the shell counts; this goes beyond either within one append.
    fill(&mut log, 10);
    let long: Vec<u8> =
        (10..110).flat_map(|position| batch(position, 1, 1, position, 1, &[5; 1000])).collect();
    let error = log.write(&long).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert_eq!(log.end(), Position(10));
    assert_eq!(positions(&log.reader()), (0..10).collect::<Vec<_>>());
    fill(&mut log, 20);
    drop(log);
    let (log, recovered) = ShardLog::open(dir.path(), config).unwrap();
    assert_eq!((recovered.torn_bytes, recovered.damage), (0, None));
    assert_eq!(positions(&log.reader()), (0..20).collect::<Vec<_>>());
}

/// On a real filesystem that is full: set the variable to a directory on one of a few MiB, which
/// this test may fill. Without it there is nothing to run on.
#[test]
fn a_full_filesystem_is_survived() {
    let Some(root) = std::env::var_os("HOLDFAST_LOG_TEST_SMALL_FILESYSTEM") else {
        return;
    };
    for reserve_bytes in [0, 300_000] {
        let dir = tempfile::tempdir_in(&root).unwrap();
        let config = Config {
            segment_bytes_max: 200_000,
            preallocate_bytes: 65_536,
            reserve_bytes,
            ..Config::default()
        };
        let (mut log, _) = ShardLog::open(dir.path(), config.clone()).unwrap();
        let mut length = 5000;
        // Ever smaller, until not even a small one fits.
        while length > 10 {
            let next = log.end().0;
            match log.write(&batch(next, 1, 1, next, 1, &vec![3; length])) {
                Ok(()) => {}
                Err(Error::DiskFull { .. }) => length /= 2,
                Err(error) => panic!("{error}"),
            }
            assert_eq!(log.reader().end(), log.end());
        }
        let end = log.end();
        assert_eq!(positions(&log.reader()), (0..end.0).collect::<Vec<_>>());
        flush(&mut log);
        drop(log);
        if reserve_bytes == 0 {
            continue;
        }
        // With a reserve there is room to recover, to checkpoint and to clean.
        let (mut log, recovered) = ShardLog::open(dir.path(), config).unwrap();
        assert_eq!((recovered.damage, recovered.torn_bytes), (None, 0));
        assert_eq!(log.end(), end);
        log.write_checkpoint(end, b"state").unwrap();
        assert!(log.clean(end, |_| true).unwrap().deleted > 0);
        fill(&mut log, end.0 + 100);
    }
}
