//! What the driver of a shard asks of a running broker, done with tokio, threads and gRPC.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use holdfast_core::replica::{Answer, Fetch, IsrRequest, Settings};
use holdfast_core::state::CatalogState;
use holdfast_log::{CheckpointJob, FlushJob};
use holdfast_protocol::{BrokerId, Epoch, ShardId, ShardRecord};
use tokio::sync::mpsc;
use tracing::warn;

use super::effects::Effects;
use super::flusher::{Flusher, stop_process};
use super::{Event, Input};
use crate::clock;
use crate::node::Node;
use crate::peer::server::AnswerBox;

/// The broker around one shard.
pub(super) struct NodeEffects {
    node: Arc<Node>,
    shard: ShardId,
    events: mpsc::Sender<Event>,
    flusher: Flusher,
    /// Where the answers for each follower wait.
    answers: HashMap<BrokerId, AnswerBox>,
}

impl NodeEffects {
    pub(super) fn new(
        node: Arc<Node>,
        shard: ShardId,
        events: mpsc::Sender<Event>,
        flusher: Flusher,
    ) -> Self {
        Self { node, shard, events, flusher, answers: HashMap::new() }
    }

    /// Answers for this follower go there from now on.
    pub(super) fn hear(&mut self, follower: BrokerId, answers: AnswerBox) {
        self.answers.insert(follower, answers);
    }

    /// The stream whose answers wait there has ended; whether it was this follower's last.
    pub(super) fn forget(&mut self, follower: BrokerId, answers: &AnswerBox) -> bool {
        let last = self.answers.get(&follower).is_some_and(|known| Arc::ptr_eq(known, answers));
        if last {
            self.answers.remove(&follower);
        }
        last
    }
}

impl Effects for NodeEffects {
    fn broker(&self) -> BrokerId {
        self.node.broker()
    }

    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    fn wall_ms(&self) -> i64 {
        clock::wall_ms()
    }

    fn draw(&mut self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }

    fn settings(&self, shard: ShardId) -> Settings {
        let told = self.node.told().replica_lag_ms_max;
        let lag_ms_max = if told == 0 { Settings::default().lag_ms_max } else { told };
        // Every broker follows the catalog, and clients may ask any for what another has just made.
        let tells_commits = shard == ShardId::CATALOG;
        Settings {
            lag_ms_max,
            tells_commits,
            rules: crate::ablation::rules(),
            ..Settings::default()
        }
    }

    fn flush_interval_ms(&self) -> u64 {
        self.node.told().flush_interval_ms
    }

    fn send_fetch(&mut self, to: BrokerId, fetch: Fetch) {
        self.node.links.fetch(&self.node, to, self.shard, fetch);
    }

    fn hears(&self, follower: BrokerId) -> bool {
        self.answers.contains_key(&follower)
    }

    fn send_answer(&mut self, to: BrokerId, answer: Answer) {
        if let Some(answers) = self.answers.get(&to) {
            answers.put(self.shard, answer);
        }
    }

    fn fetch_checkpoint(&mut self, from: BrokerId) {
        let (node, shard, events) = (Arc::clone(&self.node), self.shard, self.events.clone());
        self.node.spawn(async move {
            let input = match crate::peer::client::read_checkpoint(&node, from, shard).await {
                Ok(image) => Input::Built(Box::new(image)),
                Err(error) => {
                    warn!(%shard, %from, %error, "no checkpoint from the leader yet");
                    Input::BuildFailed
                }
            };
            let _ = events.send(input.into()).await;
        });
    }

    fn request_isr(&mut self, request: IsrRequest) {
        self.node.isr_requests.put(self.shard, request);
    }

    fn resign(&mut self, epoch: Epoch, reason: String) {
        self.node.resignations.put(self.shard, (epoch, reason));
    }

    fn start_flush(&mut self, job: FlushJob) {
        self.flusher.flush(job);
    }

    fn start_checkpoint(&mut self, job: CheckpointJob) {
        self.flusher.checkpoint(job);
    }

    fn blocking<T>(work: impl FnOnce() -> T) -> T {
        tokio::task::block_in_place(work)
    }

    fn tell_report(&self) {
        self.node.reports_changed.notify_waiters();
    }

    fn publish_records(&self, records: &[ShardRecord]) {
        self.node.publish_shards(records);
    }

    fn publish_catalog(&self, catalog: CatalogState) {
        self.node.publish_catalog(catalog);
    }

    fn catalog_is_current(&self) {
        self.node.catalog_is_current();
    }

    fn catalog(&self) -> Arc<CatalogState> {
        self.node.catalog()
    }

    fn count_rot_found(&self) {
        self.node.scrub.count_found();
    }

    fn count_rot_repaired(&self) {
        self.node.scrub.count_repaired();
    }

    fn stop_process(&self, error: &dyn Error) -> ! {
        stop_process(self.shard, error)
    }
}
