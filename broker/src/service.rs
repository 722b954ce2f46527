//! The broker as its doors see it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_kafka::records;
use holdfast_protocol::control::control_client::ControlClient;
use holdfast_protocol::topic::{Catalog, Topic};
use holdfast_protocol::{
    BrokerId, Epoch, Offset, ShardId, StreamId, TopicId, control, group, placement,
};
use holdfast_service::{
    Append, AppendError, Appended, CatalogError, CatalogShard, ClusterView, Disk, GroupError,
    Pending, Read, ReadError, ReadLimit, Service, StreamOffsets,
};
use tokio::sync::{oneshot, watch};

use crate::inspect;
use crate::node::Node;
use crate::peer::client::dial;
use crate::shard::{AppendCommand, Ask, Handle, Input};

/// The broker behind its doors.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    node: Arc<Node>,
}

impl Broker {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    fn shards(&self) -> u32 {
        self.node.told().shards
    }

    fn stream_shard(&self, stream: StreamId) -> Option<Handle> {
        self.node.shard(self.shard_of(stream))
    }
}

impl Service for Broker {
    fn broker(&self) -> BrokerId {
        self.node.broker()
    }

    fn cluster(&self) -> Arc<ClusterView> {
        self.node.cluster()
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.node.topics().borrow())
    }

    fn shard_of(&self, stream: StreamId) -> ShardId {
        placement::shard_of_stream(stream, self.shards())
    }

    fn shard_of_group(&self, group: &str) -> ShardId {
        placement::shard_of_group(group, self.shards())
    }

    async fn submit(&self, append: Append) -> Result<Pending<Appended>, AppendError> {
        let handle = self.stream_shard(append.stream).ok_or(AppendError::NotLeader)?;
        if !handle.view.leads() {
            return Err(AppendError::NotLeader);
        }
        let (reply, outcome) = oneshot::channel();
        handle.append(AppendCommand { append, reply }).await?;
        Ok(Pending::new(outcome))
    }

    async fn read(
        &self,
        stream: StreamId,
        offset: Offset,
        limit: ReadLimit,
    ) -> Result<Read, ReadError> {
        let handle = self.stream_shard(stream).ok_or(ReadError::NotLeader)?;
        let offsets = handle.view.offsets(stream)?;
        offsets.check(offset)?;
        if offset == offsets.end {
            return Ok(Read { batches: Vec::new(), offsets });
        }
        // Mostly in memory: handing it to another thread would cost more than the read.
        let batches = handle.view.reader.read_stream(
            stream,
            offset,
            offsets.end,
            limit.bytes_max,
            limit.at_least_one,
        );
        match batches {
            Ok(batches) => Ok(Read { batches, offsets }),
            Err(error) => Err(unreadable(&handle, &error).await),
        }
    }

    fn offsets(&self, stream: StreamId) -> Result<StreamOffsets, ReadError> {
        self.stream_shard(stream).ok_or(ReadError::NotLeader)?.view.offsets(stream)
    }

    fn progress(&self, stream: StreamId) -> Result<watch::Receiver<Offset>, ReadError> {
        self.stream_shard(stream).ok_or(ReadError::NotLeader)?.view.progress(stream)
    }

    async fn offset_for_timestamp(
        &self,
        stream: StreamId,
        timestamp_ms: i64,
    ) -> Result<Option<(Offset, i64)>, ReadError> {
        let handle = self.stream_shard(stream).ok_or(ReadError::NotLeader)?;
        let offsets = handle.view.offsets(stream)?;
        let found = tokio::task::block_in_place(|| {
            let reader = &handle.view.reader;
            reader.find_timestamp(stream, timestamp_ms, offsets.start, offsets.end)
        });
        let found = match found {
            Ok(found) => found,
            Err(error) => return Err(unreadable(&handle, &error).await),
        };
        let Some((_, batch)) = found else { return Ok(None) };
        let _turn = records::turn().await;
        // A batch may be compressed: it is unpacked in pieces, never whole.
        tokio::task::block_in_place(|| records::first_at_or_after(&batch, timestamp_ms))
            .map_err(|error| ReadError::Storage(error.to_string()))
    }

    fn epoch_end(
        &self,
        stream: StreamId,
        epoch: Epoch,
    ) -> Result<Option<(Epoch, Offset)>, ReadError> {
        self.stream_shard(stream).ok_or(ReadError::NotLeader)?.view.epoch_end(stream, epoch)
    }

    async fn delete_records(
        &self,
        stream: StreamId,
        before: Option<Offset>,
    ) -> Result<Offset, AppendError> {
        let handle = self.stream_shard(stream).ok_or(AppendError::NotLeader)?;
        let done = handle.ask(|reply| Ask::DeleteRecords(stream, before, reply)).await;
        done.unwrap_or(Err(AppendError::LeadershipLost))
    }

    async fn declare_topic(&self, topic: Topic) -> Result<(), CatalogError> {
        if self.leads_catalog() {
            return declare_here(&self.node, topic).await;
        }
        let mut leader = self.catalog_leader().await?;
        let request = control::DeclareTopicRequest { topic: Some((&topic).into()) };
        let answer =
            leader.declare_topic(request).await.map_err(|_| CatalogError::LeadershipLost)?;
        let answer = answer.into_inner();
        outcome(answer.outcome(), answer.message, &topic.name)?;
        self.await_catalog(|topics| topics.by_id(topic.id).is_some_and(|t| **t == topic)).await;
        Ok(())
    }

    async fn delete_topic(&self, id: TopicId) -> Result<(), CatalogError> {
        if self.leads_catalog() {
            return delete_here(&self.node, id).await;
        }
        let mut leader = self.catalog_leader().await?;
        let request = control::DeleteTopicRequest { id: id.0.to_vec().into() };
        let answer =
            leader.delete_topic(request).await.map_err(|_| CatalogError::LeadershipLost)?;
        let answer = answer.into_inner();
        outcome(answer.outcome(), answer.message, "")?;
        self.await_catalog(|topics| topics.by_id(id).is_none()).await;
        Ok(())
    }

    fn new_producer_id(&self) -> Result<i64, GroupError> {
        let led =
            self.node.shards().into_iter().find_map(|handle| {
                handle.view.report().confirmed.map(|epoch| (handle.shard, epoch))
            });
        let count = self.node.producers.fetch_add(1, Ordering::Relaxed);
        // One leader a shard and epoch, so one giver of each id: 16 bits of shard, 24 of epoch,
        // 23 of a counter.
        let counted = led.filter(|(shard, epoch)| {
            count < 1 << 23 && epoch.0 < 1 << 24 && shard.0 < Self::PRODUCER_SHARDS_MAX
        });
        let id = match counted {
            Some((shard, epoch)) => u64::from(shard.0) << 47 | u64::from(epoch.0) << 23 | count,
            // A broker that leads nothing is asked all the same, and some clients ask no other:
            // above all counted ids, by chance.
            None => 1 << 62 | random() >> 2,
        };
        i64::try_from(id).map_err(|_| GroupError::NotCoordinator)
    }

    fn new_topic_id(&self) -> TopicId {
        TopicId(*uuid::Uuid::new_v4().as_bytes())
    }

    async fn group(
        &self,
        shard: ShardId,
        request: group::Request,
    ) -> Result<group::Answer, GroupError> {
        let handle = self.node.shard(shard).ok_or(GroupError::NotCoordinator)?;
        let answer = handle.ask(|reply| Ask::Group(request, reply)).await;
        answer.unwrap_or(Err(GroupError::NotCoordinator))
    }

    fn disk(&self) -> Disk {
        inspect::disk(&self.node)
    }

    async fn catalog_shard(&self) -> CatalogShard {
        inspect::catalog_shard(&self.node).await
    }
}

/// How long a change of the catalog is waited for on a broker that did not make it.
const CATALOG_WAIT: Duration = Duration::from_secs(2);

/// What a client is told whose messages can't be read; and the replica, where that is for good.
async fn unreadable(handle: &Handle, error: &holdfast_log::Error) -> ReadError {
    if error.is_rot() {
        let of = handle.view.report().incarnation;
        handle.send(Input::Rot(of, error.to_string())).await;
    }
    ReadError::Storage(error.to_string())
}

/// 64 random bits.
fn random() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    // Each half has a few fixed bits, at different places.
    high ^ low.rotate_left(32)
}

impl Broker {
    /// Shards whose leaders count producer ids; their ids stay below those made by chance.
    const PRODUCER_SHARDS_MAX: u32 = 1 << 15;

    /// Waits until this broker's own catalog has a change that was committed elsewhere.
    async fn await_catalog(&self, mut has: impl FnMut(&Catalog) -> bool) {
        let mut topics = self.node.topics();
        let seen = topics.wait_for(|topics| has(topics));
        // A follower that is far behind is not waited for: the change is made.
        let _ = tokio::time::timeout(CATALOG_WAIT, seen).await;
    }

    fn leads_catalog(&self) -> bool {
        self.node.shard(ShardId::CATALOG).is_some_and(|handle| handle.view.leads())
    }

    async fn catalog_leader(
        &self,
    ) -> Result<ControlClient<tonic::transport::Channel>, CatalogError> {
        let leader = self.node.cluster().controller().ok_or(CatalogError::NotLeader)?;
        let address = self.node.peer_address(leader).ok_or(CatalogError::NotLeader)?;
        let channel =
            dial(&self.node, leader, &address).await.map_err(|_| CatalogError::NotLeader)?;
        Ok(ControlClient::new(channel))
    }
}

/// Declares a topic on this broker, which leads shard 0 or refuses.
pub(crate) async fn declare_here(node: &Arc<Node>, topic: Topic) -> Result<(), CatalogError> {
    let handle = node.shard(ShardId::CATALOG).ok_or(CatalogError::NotLeader)?;
    let done = handle.ask(|reply| Ask::Declare(topic, reply)).await;
    done.unwrap_or(Err(CatalogError::LeadershipLost))
}

/// Deletes a topic on this broker, which leads shard 0 or refuses.
pub(crate) async fn delete_here(node: &Arc<Node>, id: TopicId) -> Result<(), CatalogError> {
    let handle = node.shard(ShardId::CATALOG).ok_or(CatalogError::NotLeader)?;
    let done = handle.ask(|reply| Ask::DeleteTopic(id, reply)).await;
    done.unwrap_or(Err(CatalogError::LeadershipLost))
}

/// What another broker's answer means here.
fn outcome(outcome: control::Outcome, message: String, name: &str) -> Result<(), CatalogError> {
    match outcome {
        control::Outcome::Done => Ok(()),
        control::Outcome::NotLeader => Err(CatalogError::NotLeader),
        control::Outcome::Conflict if !name.is_empty() => {
            Err(CatalogError::NameTaken(name.to_owned()))
        }
        control::Outcome::Conflict => Err(CatalogError::UnknownTopic),
        control::Outcome::Unknown if message.is_empty() => Err(CatalogError::LeadershipLost),
        control::Outcome::Unknown => Err(CatalogError::Storage(message)),
    }
}
