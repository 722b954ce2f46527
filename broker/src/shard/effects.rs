//! What the driver of a shard asks of the broker around it.
//!
//! The broker answers with tokio, threads and gRPC (`super::node`), the simulated cluster with
//! queues in one thread. Nothing here waits for another broker: what takes long comes back as a
//! [`super::Input`].

use std::error::Error;
use std::sync::Arc;

use holdfast_core::replica::{Answer, Fetch, IsrRequest, Settings};
use holdfast_core::state::CatalogState;
use holdfast_log::{CheckpointJob, FlushJob};
use holdfast_protocol::{BrokerId, Epoch, ShardId, ShardRecord};

/// Age after which a checkpoint is written where anything changed, ms.
const CHECKPOINT_AGE_MS: u64 = 60_000;

/// What the driver of one shard asks of the broker around it.
pub trait Effects {
    /// Which broker this is.
    fn broker(&self) -> BrokerId;

    /// Milliseconds on a clock that never goes back and begins well above 0.
    fn now_ms(&self) -> u64;

    /// Milliseconds since 1970, as the machine believes.
    fn wall_ms(&self) -> i64;

    /// A number that no one draws twice.
    fn draw(&mut self) -> u128;

    /// How the replica of `shard` is to behave.
    fn settings(&self, shard: ShardId) -> Settings;

    /// How often the log is flushed in Async mode, ms.
    fn flush_interval_ms(&self) -> u64;

    /// Age after which a checkpoint is written where anything changed, ms.
    fn checkpoint_age_ms(&self) -> u64 {
        CHECKPOINT_AGE_MS
    }

    /// Sends a fetch to a leader. It may get lost; a newer one takes the place of one that waits.
    fn send_fetch(&mut self, to: BrokerId, fetch: Fetch);

    /// Whether this follower is there to be answered.
    fn hears(&self, follower: BrokerId) -> bool;

    /// Answers a follower. It may get lost.
    fn send_answer(&mut self, to: BrokerId, answer: Answer);

    /// Fetches the leader's checkpoint; [`super::Input::Built`] or [`super::Input::BuildFailed`]
    /// comes of it.
    fn fetch_checkpoint(&mut self, from: BrokerId);

    /// Asks the operator for other in-sync replicas.
    fn request_isr(&mut self, request: IsrRequest);

    /// Tells the operator that this leader can't go on in `epoch`, and why, for people.
    fn resign(&mut self, epoch: Epoch, reason: String);

    /// Runs a flush elsewhere; [`super::Input::Durable`] comes of it. One at a time.
    fn start_flush(&mut self, job: FlushJob);

    /// Runs a checkpoint elsewhere; [`super::Input::Checkpointed`] or
    /// [`super::Input::CheckpointFailed`] comes of it. One at a time.
    fn start_checkpoint(&mut self, job: CheckpointJob);

    /// Runs what blocks for long.
    fn blocking<T>(work: impl FnOnce() -> T) -> T;

    /// The operator should know at once what the replica reports now.
    fn tell_report(&self);

    /// Makes known who leads what.
    fn publish_records(&self, records: &[ShardRecord]);

    /// Makes known the topics.
    fn publish_catalog(&self, catalog: CatalogState);

    /// The topics are as new as any were when this process began.
    fn catalog_is_current(&self);

    /// The topics, as far as this broker knows them.
    fn catalog(&self) -> Arc<CatalogState>;

    /// Rot was found.
    fn count_rot_found(&self) {}

    /// What was rotten is whole again, or being fetched again.
    fn count_rot_repaired(&self) {}

    /// Ends the process at once: what the disk holds is no longer known.
    fn stop_process(&self, error: &dyn Error) -> !;
}
