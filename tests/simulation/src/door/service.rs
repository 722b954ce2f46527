//! The simulated broker as its door sees it: what can be read is read at once, what must be
//! decided is put into a box, which the world empties into the drivers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_broker::driver::{AppendCommand, View};
use holdfast_core::state::CatalogState;
use holdfast_protocol::topic::{Catalog, Topic};
use holdfast_protocol::{BrokerId, Epoch, Offset, ShardId, StreamId, TopicId, group};
use holdfast_service::{
    Append, AppendError, Appended, CatalogError, CatalogShard, ClusterView, Disk, GroupError,
    Pending, Read, ReadError, ReadLimit, Service, StreamOffsets,
};
use tokio::sync::{oneshot, watch};

use crate::client::{KEPT, named_topic, shard_of_topic};
use crate::member::group_of;
use crate::world::SHARDS;

/// What a door asks of the drivers.
#[derive(Debug)]
pub(crate) enum Asked {
    Append(ShardId, AppendCommand),
    Group(ShardId, group::Request, GroupReply),
    Declare(Topic, CatalogReply),
    Delete(TopicId, CatalogReply),
    Trim(ShardId, StreamId, Option<Offset>, oneshot::Sender<Result<Offset, AppendError>>),
}

/// Where the answer to a change of the catalog goes.
type CatalogReply = oneshot::Sender<Result<(), CatalogError>>;

/// Where the answer to a group's request goes.
type GroupReply = oneshot::Sender<Result<group::Answer, GroupError>>;

/// What one process shares with its door.
#[derive(Debug)]
struct Shared {
    broker: BrokerId,
    views: Vec<Arc<View>>,
    asked: Mutex<Vec<Asked>>,
    catalog: Mutex<(Arc<CatalogState>, Arc<Catalog>)>,
    cluster: Mutex<Arc<ClusterView>>,
    /// When the process began, and how many topics were declared since: ids of topics never repeat.
    begun_ms: u64,
    topics: AtomicU32,
}

/// The simulated broker behind its door.
#[derive(Clone, Debug)]
pub(crate) struct SimService(Arc<Shared>);

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimService {
    pub(crate) fn new(broker: u32, views: Vec<Arc<View>>, begun_ms: u64) -> Self {
        Self(Arc::new(Shared {
            broker: BrokerId(broker),
            views,
            asked: Mutex::default(),
            catalog: Mutex::default(),
            cluster: Mutex::default(),
            begun_ms,
            topics: AtomicU32::new(0),
        }))
    }

    /// What was asked since this was called last.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut lock(&self.0.asked))
    }

    /// The newest catalog that this broker has.
    pub(crate) fn note_catalog(&self, newest: &Arc<CatalogState>) {
        let mut known = lock(&self.0.catalog);
        if !Arc::ptr_eq(&known.0, newest) {
            *known = (Arc::clone(newest), Arc::new(newest.topics().clone()));
        }
    }

    /// What this broker was told last of the cluster.
    pub(crate) fn note_cluster(&self, newest: ClusterView) {
        let mut known = lock(&self.0.cluster);
        if **known != newest {
            *known = Arc::new(newest);
        }
    }

    fn ask(&self, asked: Asked) {
        lock(&self.0.asked).push(asked);
    }

    /// A change of the catalog is asked of its leader alone: others would forward it.
    async fn change_catalog(
        &self,
        asked: impl FnOnce(CatalogReply) -> Asked,
    ) -> Result<(), CatalogError> {
        if !self.0.views.first().is_some_and(|view| view.leads()) {
            return Err(CatalogError::NotLeader);
        }
        let (reply, answer) = oneshot::channel();
        self.ask(asked(reply));
        answer.await.unwrap_or(Err(CatalogError::LeadershipLost))
    }

    fn view(&self, stream: StreamId) -> Result<&Arc<View>, ReadError> {
        let shard = self.shard_of(stream).0 as usize;
        self.0.views.get(shard).ok_or(ReadError::NotLeader)
    }
}

impl Service for SimService {
    fn broker(&self) -> BrokerId {
        self.0.broker
    }

    fn cluster(&self) -> Arc<ClusterView> {
        Arc::clone(&lock(&self.0.cluster))
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&lock(&self.0.catalog).1)
    }

    fn shard_of(&self, stream: StreamId) -> ShardId {
        shard_of_topic(stream.topic)
    }

    fn shard_of_group(&self, group: &str) -> ShardId {
        (0..SHARDS).map(ShardId).find(|shard| group_of(*shard) == group).unwrap_or_default()
    }

    async fn submit(&self, append: Append) -> Result<Pending<Appended>, AppendError> {
        let view = self.view(append.stream).map_err(|_| AppendError::NotLeader)?;
        if !view.leads() {
            return Err(AppendError::NotLeader);
        }
        let shard = self.shard_of(append.stream);
        let (reply, outcome) = oneshot::channel();
        self.ask(Asked::Append(shard, AppendCommand { append, reply }));
        Ok(Pending::new(outcome))
    }

    async fn read(
        &self,
        stream: StreamId,
        offset: Offset,
        limit: ReadLimit,
    ) -> Result<Read, ReadError> {
        let view = self.view(stream)?;
        let offsets = view.offsets(stream)?;
        offsets.check(offset)?;
        let (most, least) = (limit.bytes_max, limit.at_least_one);
        let read = view.reader.read_stream(stream, offset, offsets.end, most, least);
        let batches = read.map_err(|error| ReadError::Storage(error.to_string()))?;
        Ok(Read { batches, offsets })
    }

    fn offsets(&self, stream: StreamId) -> Result<StreamOffsets, ReadError> {
        self.view(stream)?.offsets(stream)
    }

    fn progress(&self, stream: StreamId) -> Result<watch::Receiver<Offset>, ReadError> {
        self.view(stream)?.progress(stream)
    }

    async fn offset_for_timestamp(
        &self,
        _: StreamId,
        _: i64,
    ) -> Result<Option<(Offset, i64)>, ReadError> {
        Ok(None)
    }

    fn epoch_end(
        &self,
        stream: StreamId,
        epoch: Epoch,
    ) -> Result<Option<(Epoch, Offset)>, ReadError> {
        self.view(stream)?.epoch_end(stream, epoch)
    }

    async fn delete_records(
        &self,
        stream: StreamId,
        before: Option<Offset>,
    ) -> Result<Offset, AppendError> {
        self.view(stream).map_err(|_| AppendError::NotLeader)?;
        let (reply, answer) = oneshot::channel();
        self.ask(Asked::Trim(self.shard_of(stream), stream, before, reply));
        answer.await.unwrap_or(Err(AppendError::LeadershipLost))
    }

    /// Topics with certain names have the ids that they say, so that the world knows them.
    async fn declare_topic(&self, topic: Topic) -> Result<(), CatalogError> {
        let id = named_topic(&topic.name).unwrap_or(topic.id);
        self.change_catalog(|reply| Asked::Declare(Topic { id, ..topic }, reply)).await
    }

    async fn delete_topic(&self, id: TopicId) -> Result<(), CatalogError> {
        self.change_catalog(|reply| Asked::Delete(id, reply)).await
    }

    fn new_producer_id(&self) -> Result<i64, GroupError> {
        Err(GroupError::NotCoordinator)
    }

    fn new_topic_id(&self) -> TopicId {
        let count = self.0.topics.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 16];
        id[0] = KEPT;
        id[1..5].copy_from_slice(&self.0.broker.0.to_be_bytes());
        id[5..12].copy_from_slice(&self.0.begun_ms.to_be_bytes()[1..]);
        id[12..].copy_from_slice(&count.to_be_bytes());
        TopicId(id)
    }

    async fn group(
        &self,
        shard: ShardId,
        request: group::Request,
    ) -> Result<group::Answer, GroupError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Asked::Group(shard, request, reply));
        answer.await.unwrap_or(Err(GroupError::NotCoordinator))
    }

    fn disk(&self) -> Disk {
        Disk::default()
    }

    async fn catalog_shard(&self) -> CatalogShard {
        CatalogShard::default()
    }
}
