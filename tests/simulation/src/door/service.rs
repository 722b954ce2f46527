//! The simulated broker as its door sees it: what can be read is read at once, what must be
//! decided is put into a box, which the world empties into the drivers.

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

use crate::client::shard_of_topic;
use crate::member::group_of;
use crate::world::SHARDS;

/// What a door asks of the drivers.
#[derive(Debug)]
pub(crate) enum Asked {
    Append(ShardId, AppendCommand),
    Group(ShardId, group::Request, GroupReply),
}

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
}

/// The simulated broker behind its door.
#[derive(Clone, Debug)]
pub(crate) struct SimService(Arc<Shared>);

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimService {
    pub(crate) fn new(broker: u32, views: Vec<Arc<View>>) -> Self {
        let (asked, catalog, cluster) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { broker: BrokerId(broker), views, asked, catalog, cluster }))
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
        lock(&self.0.asked).push(Asked::Append(shard, AppendCommand { append, reply }));
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

    async fn delete_records(&self, _: StreamId, _: Option<Offset>) -> Result<Offset, AppendError> {
        Err(AppendError::NotLeader)
    }

    async fn declare_topic(&self, _: Topic) -> Result<(), CatalogError> {
        Err(CatalogError::NotLeader)
    }

    async fn delete_topic(&self, _: TopicId) -> Result<(), CatalogError> {
        Err(CatalogError::NotLeader)
    }

    fn new_producer_id(&self) -> Result<i64, GroupError> {
        Err(GroupError::NotCoordinator)
    }

    fn new_topic_id(&self) -> TopicId {
        TopicId::default()
    }

    async fn group(
        &self,
        shard: ShardId,
        request: group::Request,
    ) -> Result<group::Answer, GroupError> {
        let (reply, answer) = oneshot::channel();
        lock(&self.0.asked).push(Asked::Group(shard, request, reply));
        answer.await.unwrap_or(Err(GroupError::NotCoordinator))
    }

    fn disk(&self) -> Disk {
        Disk::default()
    }

    async fn catalog_shard(&self) -> CatalogShard {
        CatalogShard::default()
    }
}
