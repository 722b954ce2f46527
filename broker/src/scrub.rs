//! The scrub: everything on the volume is read in the background, at a bounded rate, so that rot
//! is found while other replicas have what it took. What is to be done about it is up to the
//! replica (`shard/rot.rs`).

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_log::{LogReader, Scrubbed, SmallFiles};
use holdfast_protocol::{Position, ShardId};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::node::Node;
use crate::shard::{Handle, Input};

/// Most bytes read a second, over all shards of the broker.
const BYTES_PER_SECOND_MAX: u64 = 8 * 1024 * 1024;
/// Most bytes read at once, but for a longer entry.
const BYTES_AT_ONCE: usize = 256 * 1024;
/// The first pass begins so long after the start, or sooner where passes are more frequent: a
/// broker that comes back has better things to do.
const FIRST_AFTER: Duration = Duration::from_secs(300);

/// What scrubs have read and found.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    bytes: AtomicU64,
    passes: AtomicU64,
    found: AtomicU64,
    repaired: AtomicU64,
}

impl Scrub {
    /// Rot was found.
    pub(crate) fn count_found(&self) {
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    /// What was rotten is whole again, or being fetched again.
    pub(crate) fn count_repaired(&self) {
        self.repaired.fetch_add(1, Ordering::Relaxed);
    }

    /// In Prometheus' text format.
    pub(crate) fn render(&self, out: &mut String) {
        let counters = [
            ("holdfast_scrub_bytes_total", "Bytes of logs read to find rot", &self.bytes),
            ("holdfast_scrub_passes_total", "Times that all logs were read", &self.passes),
            ("holdfast_rot_found_total", "Files found rotten, or replicas", &self.found),
            ("holdfast_rot_repaired_total", "Of these, made again or built anew", &self.repaired),
        ];
        for (name, help, counter) in counters {
            let value = counter.load(Ordering::Relaxed);
            // Writing to a string does not fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
        }
    }
}

/// Scrubs until the broker stops.
pub(crate) async fn run(node: Arc<Node>) {
    let Some(every) = node.scrub_every() else { return };
    sleep(every.min(FIRST_AFTER)).await;
    loop {
        let began = Instant::now();
        let mut shards = node.shards();
        // Not always the same first: a broker that is restarted often comes to all of them.
        let first = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % shards.len().max(1);
        shards.rotate_left(first);
        for handle in shards {
            scrub(&node, &handle).await;
        }
        node.scrub.passes.fetch_add(1, Ordering::Relaxed);
        debug!(took_ms = began.elapsed().as_millis(), "a pass over all logs is done");
        sleep(every.saturating_sub(began.elapsed())).await;
    }
}

/// What reading a piece of a log comes to.
enum Piece {
    Read(Scrubbed),
    End(SmallFiles),
    Rot(String),
    Unreadable(holdfast_log::Error),
}

/// Reads all of one log.
async fn scrub(node: &Node, handle: &Handle) {
    let shard = handle.shard;
    let mut next = Position(0);
    loop {
        let reader = handle.view.reader.clone();
        let of = handle.view.report().incarnation;
        let piece = spawn_blocking(move || read(&reader, shard, next)).await;
        match piece {
            Ok(Piece::Read(done)) => {
                if done.index_again {
                    warn!(%shard, position = %next, "the index of a segment was not whole; it is made again");
                    node.scrub.count_found();
                    node.scrub.count_repaired();
                }
                next = done.next;
                node.scrub.bytes.fetch_add(done.bytes as u64, Ordering::Relaxed);
                sleep(pause_after(done.bytes)).await;
            }
            Ok(Piece::End(files)) => {
                if !(files.checkpoint_is_whole && files.meta_is_whole) {
                    handle.send(Input::Scrubbed(files)).await;
                }
                return;
            }
            Ok(Piece::Rot(what)) => {
                handle.send(Input::Rot(of, what)).await;
                return;
            }
            Ok(Piece::Unreadable(error)) => {
                warn!(%shard, %error, "the log can't be scrubbed");
                return;
            }
            // The broker stops.
            Err(_) => return,
        }
    }
}

/// Reads a piece. What is not as it was written is read once more before it is believed: what a
/// bus or a memory got wrong is right the second time.
fn read(reader: &LogReader, shard: ShardId, position: Position) -> Piece {
    let first = match reader.scrub(position, BYTES_AT_ONCE) {
        Ok(Some(done)) => return Piece::Read(done),
        Ok(None) => {
            return match reader.scrub_files() {
                Ok(files) => Piece::End(files),
                Err(error) => Piece::Unreadable(error),
            };
        }
        Err(error) => error,
    };
    match reader.scrub(position, BYTES_AT_ONCE) {
        Ok(again) => {
            info!(%shard, error = %first, "was read wrong once, and right the second time");
            let nothing = Scrubbed { next: position, bytes: BYTES_AT_ONCE, index_again: false };
            Piece::Read(again.unwrap_or(nothing))
        }
        Err(error) if error.is_rot() => Piece::Rot(error.to_string()),
        Err(error) => Piece::Unreadable(error),
    }
}

/// So long a rest keeps to the rate.
fn pause_after(bytes: usize) -> Duration {
    Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / BYTES_PER_SECOND_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_bounded() {
        assert_eq!(pause_after(0), Duration::ZERO);
        let per_second = usize::try_from(BYTES_PER_SECOND_MAX).unwrap();
        assert_eq!(pause_after(per_second), Duration::from_secs(1));
        assert_eq!(pause_after(per_second / 8), Duration::from_millis(125));
    }
}
