//! The flusher: a thread of each shard that makes its log durable while more is appended.
//!
//! Everything that arrived while the disk was busy goes out with the next flush (group commit).
//! In Async mode the actor asks at the policy's interval instead.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use holdfast_log::{CheckpointJob, FlushJob};
use holdfast_protocol::ShardId;
use tokio::sync::mpsc;
use tracing::{error, warn};

use super::{Event, Input};

/// Work for the flusher.
#[derive(Debug)]
enum Job {
    Flush(FlushJob),
    Checkpoint(CheckpointJob),
}

/// The actor's end of its flusher. At most one flush and one checkpoint are under way.
#[derive(Debug)]
pub(super) struct Flusher {
    jobs: SyncSender<Job>,
}

/// One flush and one checkpoint.
const JOBS_MAX: usize = 2;

impl Flusher {
    /// Starts the thread.
    pub(super) fn start(shard: ShardId, events: mpsc::Sender<Event>) -> std::io::Result<Self> {
        let (jobs, rx) = sync_channel(JOBS_MAX);
        thread::Builder::new()
            .name(format!("flush-{shard}"))
            .stack_size(256 * 1024)
            .spawn(move || run(shard, &rx, &events))?;
        Ok(Self { jobs })
    }

    /// Hands over a flush; the result comes back as an event.
    pub(super) fn flush(&self, job: FlushJob) {
        let _ = self.jobs.send(Job::Flush(job));
    }

    /// Hands over a checkpoint; the result comes back as an event.
    pub(super) fn checkpoint(&self, job: CheckpointJob) {
        let _ = self.jobs.send(Job::Checkpoint(job));
    }
}

fn run(shard: ShardId, jobs: &Receiver<Job>, events: &mpsc::Sender<Event>) {
    while let Ok(job) = jobs.recv() {
        let done = match job {
            Job::Flush(job) => job.run().map(Input::Durable),
            Job::Checkpoint(job) => job.run().map(Input::Checkpointed),
        };
        let input = match done {
            Ok(input) => input,
            Err(error) if error.is_fatal() => stop_process(shard, &error),
            // No flush fails in another way.
            Err(error) => {
                warn!(%shard, %error, "a checkpoint was not written");
                Input::CheckpointFailed
            }
        };
        if events.blocking_send(input.into()).is_err() {
            return;
        }
    }
}

/// Ends the process at once: after a failed flush nobody knows which pages are on the disk, and
/// the kernel has marked them clean.
pub(super) fn stop_process(shard: ShardId, error: &dyn std::error::Error) -> ! {
    error!(%shard, %error, "the disk failed; stopping at once, so that nothing is acknowledged that may be lost");
    std::process::exit(STORAGE_FAILED)
}

/// Exit code of a broker whose disk failed.
const STORAGE_FAILED: i32 = 74;
