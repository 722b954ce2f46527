//! A broker in memory: what the door is tested against.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use holdfast_protocol::topic::{Catalog, Declarer, Topic, TopicConfig};
use holdfast_protocol::{
    BrokerId, Epoch, Incarnation, Offset, Position, ShardId, StreamId, TopicId, group, placement,
};
use holdfast_service::{
    Append, AppendError, Appended, CatalogError, CatalogReplica, CatalogShard, ClusterView, Disk,
    Durability, GroupError, ListenerAddress, Pending, Read, ReadError, ReadLimit, Service,
    ShardView, StreamOffsets, StreamSize,
};
use tokio::sync::{oneshot, watch};

pub(crate) const SHARDS: u32 = 4;
pub(crate) const EPOCH: u32 = 7;

#[derive(Clone)]
pub(crate) struct Memory(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) cluster: ClusterView,
    pub(crate) catalog: Catalog,
    pub(crate) streams: HashMap<StreamId, Stream>,
    /// Appends stay undecided, until they are released.
    pub(crate) holds_appends: bool,
    pub(crate) held: Vec<(oneshot::Sender<Result<Appended, AppendError>>, Appended)>,
    pub(crate) refuses_appends: Option<AppendError>,
    pub(crate) is_ready: bool,
    pub(crate) group_requests: Vec<group::Request>,
    pub(crate) group_answers: Vec<Result<group::Answer, GroupError>>,
    next_id: u64,
}

pub(crate) struct Stream {
    start: u64,
    end: u64,
    batches: Vec<(u64, Bytes)>,
    progress: watch::Sender<Offset>,
}

impl Stream {
    fn offsets(&self) -> StreamOffsets {
        StreamOffsets { start: Offset(self.start), end: Offset(self.end), epoch: Epoch(EPOCH) }
    }
}

fn count_of(batch: &[u8]) -> u64 {
    u64::from(u32::from_be_bytes(batch[23..27].try_into().unwrap())) + 1
}

fn max_timestamp_of(batch: &[u8]) -> i64 {
    i64::from_be_bytes(batch[35..43].try_into().unwrap())
}

impl Memory {
    pub(crate) fn new() -> Self {
        let address = |broker: u32, listener: &str, port| ListenerAddress {
            broker: BrokerId(broker),
            listener: listener.to_owned(),
            host: format!("{listener}-{broker}"),
            port,
        };
        let shard = ShardView {
            leader: Some(BrokerId(1)),
            epoch: Epoch(EPOCH),
            isr: vec![BrokerId(1), BrokerId(2)],
            replicas: vec![BrokerId(1), BrokerId(2), BrokerId(3)],
            ..ShardView::default()
        };
        let addresses = (1..=3)
            .flat_map(|broker| [address(broker, "plain", 9092), address(broker, "outside", 30000)])
            .collect();
        Self(Arc::new(Mutex::new(State {
            cluster: ClusterView {
                cluster_id: "memory".to_owned(),
                addresses,
                shards: vec![shard; SHARDS as usize],
                min_in_sync_replicas: 2,
                clients_may_declare_topics: true,
                topics_are_auto_created: true,
                client_topics_max: 1000,
                client_topic_retention_ms: TopicConfig::default().retention_ms,
                client_topic_partitions: 3,
                client_topic_partitions_max: 100,
            },
            catalog: Catalog::default(),
            streams: HashMap::new(),
            holds_appends: false,
            held: Vec::new(),
            refuses_appends: None,
            is_ready: true,
            group_requests: Vec::new(),
            group_answers: Vec::new(),
            next_id: 1000,
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Declares a topic as YAML would.
    pub(crate) fn with_topic(self, name: &str, partitions: u32) -> Self {
        let topic = Topic {
            id: self.new_topic_id(),
            name: name.to_owned(),
            partitions,
            config: TopicConfig::default(),
            declared_by: Declarer::Yaml,
        };
        self.state().declare(topic).unwrap();
        self
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.state().catalog.by_name(name).cloned()
    }

    /// Answers the appends that were held.
    pub(crate) fn release_appends(&self) {
        let mut state = self.state();
        state.holds_appends = false;
        for (sender, appended) in state.held.drain(..) {
            let _ = sender.send(Ok(appended));
        }
    }
}

impl State {
    fn declare(&mut self, topic: Topic) -> Result<(), CatalogError> {
        if let Some(other) = self.catalog.by_name(&topic.name)
            && other.id != topic.id
        {
            return Err(CatalogError::NameTaken(topic.name));
        }
        for partition in 0..topic.partitions {
            let stream = topic.stream(partition).unwrap();
            self.streams.entry(stream).or_insert_with(|| Stream {
                start: 0,
                end: 0,
                batches: Vec::new(),
                progress: watch::Sender::new(Offset(0)),
            });
        }
        self.catalog.insert(topic);
        Ok(())
    }

    fn stream(&mut self, id: StreamId) -> Result<&mut Stream, ReadError> {
        let shard = placement::shard_of_stream(id, SHARDS);
        if self.cluster.shard(shard).unwrap().leader != Some(BrokerId(1)) {
            return Err(ReadError::NotLeader);
        }
        if !self.is_ready {
            return Err(ReadError::NotReady);
        }
        self.streams.get_mut(&id).ok_or(ReadError::UnknownStream)
    }
}

impl Service for Memory {
    fn broker(&self) -> BrokerId {
        BrokerId(1)
    }

    fn cluster(&self) -> Arc<ClusterView> {
        Arc::new(self.state().cluster.clone())
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::new(self.state().catalog.clone())
    }

    fn shard_of(&self, stream: StreamId) -> ShardId {
        placement::shard_of_stream(stream, SHARDS)
    }

    fn shard_of_group(&self, group: &str) -> ShardId {
        placement::shard_of_group(group, SHARDS)
    }

    async fn submit(&self, append: Append) -> Result<Pending<Appended>, AppendError> {
        let mut state = self.state();
        if let Some(error) = state.refuses_appends.clone() {
            return Err(error);
        }
        let stream = state.stream(append.stream).map_err(|error| match error {
            ReadError::NotLeader => AppendError::NotLeader,
            _ => AppendError::UnknownStream,
        })?;
        let base = stream.end;
        let mut batch = BytesMut::from(&append.batch[..]);
        batch[..8].copy_from_slice(&base.to_be_bytes());
        batch[12..16].copy_from_slice(&EPOCH.to_be_bytes());
        stream.end += count_of(&batch);
        stream.batches.push((base, batch.freeze()));
        stream.progress.send_replace(Offset(stream.end));
        let appended = Appended { base_offset: Offset(base), start_offset: Offset(stream.start) };
        let (sender, receiver) = oneshot::channel();
        if state.holds_appends && append.durability != Durability::None {
            state.held.push((sender, appended));
        } else {
            let _ = sender.send(Ok(appended));
        }
        Ok(Pending::new(receiver))
    }

    async fn read(
        &self,
        stream: StreamId,
        offset: Offset,
        limit: ReadLimit,
    ) -> Result<Read, ReadError> {
        let mut state = self.state();
        let stream = state.stream(stream)?;
        if offset.0 < stream.start || offset.0 > stream.end {
            return Err(ReadError::OffsetOutOfRange {
                offset,
                start: Offset(stream.start),
                end: Offset(stream.end),
            });
        }
        let mut batches = Vec::new();
        let mut bytes = 0;
        for (base, batch) in &stream.batches {
            if base + count_of(batch) <= offset.0 {
                continue;
            }
            let fits = bytes + batch.len() <= limit.bytes_max;
            let owed = limit.at_least_one && batches.is_empty();
            if !fits && !owed {
                break;
            }
            bytes += batch.len();
            batches.push(batch.clone());
        }
        Ok(Read { batches, offsets: stream.offsets() })
    }

    fn offsets(&self, stream: StreamId) -> Result<StreamOffsets, ReadError> {
        Ok(self.state().stream(stream)?.offsets())
    }

    fn progress(&self, stream: StreamId) -> Result<watch::Receiver<Offset>, ReadError> {
        match self.state().stream(stream) {
            Ok(stream) => Ok(stream.progress.subscribe()),
            Err(ReadError::NotReady) => Ok(watch::channel(Offset(0)).1),
            Err(error) => Err(error),
        }
    }

    async fn offset_for_timestamp(
        &self,
        stream: StreamId,
        timestamp_ms: i64,
    ) -> Result<Option<(Offset, i64)>, ReadError> {
        let mut state = self.state();
        let stream = state.stream(stream)?;
        let found =
            stream.batches.iter().find(|(_, batch)| max_timestamp_of(batch) >= timestamp_ms);
        Ok(found.map(|(base, batch)| (Offset(*base), max_timestamp_of(batch))))
    }

    fn epoch_end(
        &self,
        stream: StreamId,
        epoch: Epoch,
    ) -> Result<Option<(Epoch, Offset)>, ReadError> {
        let offsets = self.offsets(stream)?;
        Ok((epoch >= offsets.epoch).then_some((offsets.epoch, offsets.end)))
    }

    async fn delete_records(
        &self,
        stream: StreamId,
        before: Option<Offset>,
    ) -> Result<Offset, AppendError> {
        let mut state = self.state();
        let stream = state.stream(stream).map_err(|_| AppendError::UnknownStream)?;
        let before = before.map_or(stream.end, |offset| offset.0);
        if before > stream.end {
            return Err(AppendError::OffsetOutOfRange(Offset(before)));
        }
        stream.start = stream.start.max(before);
        stream.progress.send_replace(Offset(stream.end));
        Ok(Offset(stream.start))
    }

    async fn declare_topic(&self, topic: Topic) -> Result<(), CatalogError> {
        self.state().declare(topic)
    }

    async fn delete_topic(&self, id: TopicId) -> Result<(), CatalogError> {
        let mut state = self.state();
        let topic = state.catalog.remove(id).ok_or(CatalogError::UnknownTopic)?;
        state.streams.retain(|stream, _| stream.topic != topic.id);
        Ok(())
    }

    fn new_producer_id(&self) -> Result<i64, GroupError> {
        let mut state = self.state();
        state.next_id += 1;
        Ok(i64::try_from(state.next_id).unwrap())
    }

    fn new_topic_id(&self) -> TopicId {
        let mut state = self.state();
        state.next_id += 1;
        let mut id = [0xab; 16];
        id[8..].copy_from_slice(&state.next_id.to_be_bytes());
        TopicId(id)
    }

    async fn group(
        &self,
        _shard: ShardId,
        request: group::Request,
    ) -> Result<group::Answer, GroupError> {
        let mut state = self.state();
        state.group_requests.push(request);
        state.group_answers.pop().unwrap_or(Err(GroupError::NotCoordinator))
    }

    fn disk(&self) -> Disk {
        let state = self.state();
        // As in a log: what was never written to is not there.
        let written = state.streams.iter().filter(|(_, held)| !held.batches.is_empty());
        let sizes = written.map(|(stream, held)| StreamSize {
            stream: *stream,
            bytes: held.batches.iter().map(|(_, batch)| batch.len() as u64).sum(),
        });
        Disk {
            path: "/data".to_owned(),
            total_bytes: Some(1000),
            usable_bytes: None,
            streams: sizes.collect(),
        }
    }

    async fn catalog_shard(&self) -> CatalogShard {
        let view = self.state().cluster.shards[0].clone();
        let log = |broker: &BrokerId| {
            (broker.0 < 3).then(|| (Incarnation([7; 16]), Position(u64::from(broker.0) * 10)))
        };
        let replicas = view.replicas.iter();
        CatalogShard {
            leader: view.leader,
            epoch: view.epoch,
            committed: Position(10),
            replicas: replicas
                .map(|broker| CatalogReplica { broker: *broker, log: log(broker) })
                .collect(),
        }
    }
}
