//! One journal for all shards of a broker, or one log file a shard? Measures both on a directory.
//!
//! `cargo run --release -p holdfast-log --example journal -- DIRECTORY [SECONDS]`
//!
//! Every shard has one writer that appends a piece and waits until it is durable (a closed loop),
//! with 1 or 8 pieces under way a shard. With files, every shard has its own flusher thread; with
//! a journal, one flusher writes whatever has gathered from all shards in one write and one flush.
//! Between the two, the shards share four files. Either way a flusher takes everything that waits
//! (group commit). Files are preallocated. The journal is shown at its best: what it would have to
//! write a second time, to let each shard be read and cleaned by itself, is left out.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)] // a measurement, not a service

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

/// Bytes that a file is preallocated with, and after which it is written from the start again.
const FILE_BYTES: u64 = 256 * 1024 * 1024;
/// Most bytes of one write.
const WRITE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One piece that waits to be durable.
struct Piece {
    begun: Instant,
    done: SyncSender<Instant>,
}

#[derive(Default)]
struct Seen {
    flushes: u64,
    latencies: Vec<Duration>,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("usage: journal DIRECTORY [SECONDS]");
    let seconds = args.next().map_or(5, |text| text.parse().unwrap());
    let dir = Path::new(&dir);
    println!("layout     shards depth  bytes  appends/s  flushes/s    MB/s   p50 ms   p99 ms");
    for bytes in [4096, 65_536] {
        for shards in [1, 12, 64] {
            for depth in [1, 8] {
                for files in [1, 4, shards] {
                    run(dir, shards, files, depth, bytes, seconds);
                    if shards == 1 {
                        // One file is one file.
                        break;
                    }
                }
            }
        }
    }
}

/// Runs `shards` writers over `files` files, and prints a line.
fn run(dir: &Path, shards: usize, files: usize, depth: usize, bytes: usize, seconds: u64) {
    let mut inboxes = Vec::new();
    let mut flushers = Vec::new();
    for number in 0..files {
        let (tx, rx) = sync_channel(shards * depth);
        let file = prepare(&dir.join(format!("journal-{number}")));
        inboxes.push(tx);
        flushers.push(thread::spawn(move || flush(&file, &rx, bytes)));
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let writers: Vec<_> = (0..shards)
        .map(|shard| {
            let inbox = inboxes[shard % files].clone();
            thread::spawn(move || write(&inbox, depth, until))
        })
        .collect();
    drop(inboxes);
    let mut seen = Seen::default();
    for writer in writers {
        seen.latencies.extend(writer.join().unwrap());
    }
    for flusher in flushers {
        seen.flushes += flusher.join().unwrap();
    }
    for number in 0..files {
        std::fs::remove_file(dir.join(format!("journal-{number}"))).unwrap();
    }
    report(seen, shards, files, depth, bytes, seconds);
}

fn report(mut seen: Seen, shards: usize, files: usize, depth: usize, bytes: usize, seconds: u64) {
    seen.latencies.sort_unstable();
    let ms = |share: f64| {
        let at = (seen.latencies.len() - 1) as f64 * share;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index
        let at = at as usize;
        seen.latencies[at].as_secs_f64() * 1e3
    };
    let rate = seen.latencies.len() as f64 / seconds as f64;
    println!(
        "{:<10} {shards:>6} {depth:>5} {bytes:>6} {rate:>10.0} {:>10.0} {:>7.1} {:>8.2} {:>8.2}",
        if files == 1 { "1 journal".to_owned() } else { format!("{files} files") },
        seen.flushes as f64 / seconds as f64,
        rate * bytes as f64 / 1e6,
        ms(0.5),
        ms(0.99),
    );
}

fn prepare(path: &Path) -> File {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES).unwrap();
    file.sync_all().unwrap();
    file
}

/// Writes and flushes what has gathered, until nobody sends any more; says how many flushes.
fn flush(file: &File, inbox: &Receiver<Piece>, bytes: usize) -> u64 {
    let buffer = vec![7; WRITE_BYTES_MAX];
    let (mut at, mut flushes) = (0, 0);
    while let Ok(first) = inbox.recv() {
        let room = WRITE_BYTES_MAX / bytes - 1;
        let pieces: Vec<Piece> =
            std::iter::once(first).chain(inbox.try_iter().take(room)).collect();
        let length = pieces.len() * bytes;
        if at + length as u64 > FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&buffer[..length], at).unwrap();
        file.sync_data().unwrap();
        at += length as u64;
        flushes += 1;
        for piece in pieces {
            // A writer that has seen enough does not wait for its last pieces.
            let _ = piece.done.send(piece.begun);
        }
    }
    flushes
}

/// Keeps `depth` pieces under way; says how long each took.
fn write(inbox: &SyncSender<Piece>, depth: usize, until: Instant) -> Vec<Duration> {
    let (done, finished) = sync_channel(depth);
    let mut latencies = Vec::new();
    let send = || inbox.send(Piece { begun: Instant::now(), done: done.clone() }).unwrap();
    for _ in 0..depth {
        send();
    }
    while Instant::now() < until {
        let begun = finished.recv().unwrap();
        latencies.push(begun.elapsed());
        send();
    }
    latencies
}
