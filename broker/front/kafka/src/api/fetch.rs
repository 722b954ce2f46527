//! `Fetch`: reads batches, waiting for them if there are too few.
//!
//! There are no fetch sessions (KIP-227): the answer's session id is 0, upon which clients name
//! all their partitions every time. What is read is bounded by the client, by the door, and by
//! the memory that the door has for fetched records; one batch is given however large.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use holdfast_protocol::Offset;
use holdfast_protocol::StreamId;
use holdfast_protocol::topic::Catalog;
use holdfast_service::{ReadError, ReadLimit, Service, StreamOffsets};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::Call;
use crate::codec::{FetchAnswer, FetchedPartition, FetchedTopic};
use crate::context::{Context, find_topic, wire_offset};
use crate::options::Options;
use crate::reply::Reply;
use crate::{batch, errors, fencing};

/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// Only committed transactions are asked for.
const READ_COMMITTED: i8 = 1;
/// Longest wait that a client may ask for.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Pause before a partition is looked at again whose leadership ended.
const RECHECK_PAUSE: Duration = Duration::from_millis(5);

/// Waits for data, and answers.
pub(super) async fn answer<S: Service>(call: Arc<Call<S>>) -> Reply {
    let request: FetchRequest = match call.decode() {
        Ok(request) => request,
        Err(error) => return Reply::Close(format!("malformed request: {error}")),
    };
    if request.session_id != 0 {
        // None was ever given: the client's is of another broker, or of an earlier life.
        let answer =
            FetchAnswer { error: Code::FetchSessionIdNotFound.code(), ..FetchAnswer::default() };
        let header = &call.request.header;
        return call.sent(answer.encode(call.request.api, header).map(Reply::Answer));
    }
    let mut fetch = Fetch::new(&call, request);
    fetch.run().await;
    let (answer, memory) = fetch.finish();
    let frame = answer.encode(call.request.api, &call.request.header);
    call.sent(frame.map(|frame| Reply::Records(frame, memory)))
}

/// A fetch under way.
struct Fetch<'a, S> {
    context: &'a Context<S>,
    topics: Vec<(FetchedTopic, usize)>,
    partitions: Vec<Partition>,
    lists_aborted: bool,
    bytes: usize,
    bytes_min: usize,
    bytes_max: usize,
    deadline: Instant,
    memory: Option<OwnedSemaphorePermit>,
}

/// One partition asked for, and what was read of it.
struct Partition {
    index: i32,
    stream: Option<StreamId>,
    progress: Option<watch::Receiver<Offset>>,
    believed_epoch: i32,
    /// Where reading goes on.
    next: u64,
    bytes_left: usize,
    records: Vec<bytes::Bytes>,
    high_watermark: i64,
    start_offset: i64,
    state: State,
    /// Whether it was looked at already.
    seen: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There may be more to read.
    Open,
    /// The leader can't answer yet.
    NotReady,
    /// All that may be read at once was read.
    Full,
    /// It can't be read.
    Failed(Code),
}

impl<'a, S: Service> Fetch<'a, S> {
    fn new(call: &'a Call<S>, request: FetchRequest) -> Self {
        let context = call.context();
        let catalog = context.service.catalog();
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        let most = context.options.fetch_bytes_max;
        let (bytes_max, memory) = reserve(context, at_most(request.max_bytes, most));
        let by_id = call.version() >= TOPIC_IDS;
        let mut topics = Vec::with_capacity(request.topics.len());
        let mut partitions = Vec::new();
        for topic in request.topics {
            let streams = Streams {
                catalog: &catalog,
                by_id,
                topic: find_topic(&catalog, by_id, &topic.topic, topic.topic_id).map(|t| t.id),
            };
            let count = topic.partitions.len();
            partitions.extend(topic.partitions.iter().map(|asked| streams.partition(asked)));
            let fetched = FetchedTopic {
                name: topic.topic.0,
                id: topic.topic_id,
                partitions: Vec::with_capacity(count),
            };
            topics.push((fetched, count));
        }
        Self {
            context,
            topics,
            partitions,
            lists_aborted: request.isolation_level == READ_COMMITTED,
            bytes: 0,
            bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max),
            bytes_max,
            deadline: Instant::now() + wait.min(WAIT_MAX),
            memory,
        }
    }

    /// Reads until there is enough, something failed, or the time is over.
    async fn run(&mut self) {
        for partition in &mut self.partitions {
            partition.watch(&self.context.service);
        }
        loop {
            self.read_all().await;
            if self.is_done() || !self.wait().await {
                return;
            }
        }
    }

    async fn read_all(&mut self) {
        for index in 0..self.partitions.len() {
            if self.partitions[index].has_news() {
                let left = self.bytes_max.saturating_sub(self.bytes);
                let first = self.bytes == 0;
                let read = self.partitions[index].read(self.context, left, first);
                self.bytes += read.await;
            }
        }
    }

    fn is_done(&self) -> bool {
        let failed = |partition: &Partition| matches!(partition.state, State::Failed(_));
        self.bytes >= self.bytes_min
            || self.partitions.iter().any(failed)
            || !self.partitions.iter().any(Partition::is_open)
    }

    /// Waits for something new in any partition; false where it came to nothing in time.
    async fn wait(&mut self) -> bool {
        let open = self.partitions.iter_mut().filter(|asked| asked.is_open());
        let mut changes: FuturesUnordered<_> = open.filter_map(Partition::change).collect();
        tokio::select! {
            biased;
            changed = changes.next() => changed.is_some(),
            () = self.context.shutdown.cancelled() => false,
            () = sleep_until(self.deadline) => false,
        }
    }

    fn finish(mut self) -> (FetchAnswer, Option<OwnedSemaphorePermit>) {
        let cluster = self.context.service.cluster();
        let mut answer = FetchAnswer::default();
        let mut hints = Vec::new();
        let mut partitions = self.partitions.into_iter();
        for (mut topic, count) in self.topics {
            for partition in partitions.by_ref().take(count) {
                let stream = partition.stream;
                let mut fetched = partition.finish(self.lists_aborted);
                if fetched.error == Code::NotLeaderOrFollower.code() {
                    fetched.leader =
                        stream.and_then(|stream| self.context.leader_hint(&cluster, stream));
                    hints.extend(fetched.leader);
                }
                topic.partitions.push(fetched);
            }
            answer.topics.push(topic);
        }
        answer.endpoints = self.context.hinted_endpoints(&cluster, hints.into_iter());
        if let Some(memory) = &mut self.memory {
            let unused = memory.num_permits().saturating_sub(self.bytes);
            drop(memory.split(unused));
        }
        (answer, self.memory)
    }
}

/// Takes memory for a fetch of `bytes_max`; where there is little, for a smaller one.
fn reserve<S>(context: &Context<S>, bytes_max: usize) -> (usize, Option<OwnedSemaphorePermit>) {
    let mut bytes = bytes_max;
    while bytes > Options::FETCH_BYTES_LEAST {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&context.fetched_bytes).try_acquire_many_owned(permits) {
            return (bytes, Some(permit));
        }
        bytes /= 2;
    }
    (bytes_max.min(Options::FETCH_BYTES_LEAST), None)
}

fn at_most(asked: i32, most: usize) -> usize {
    usize::try_from(asked).unwrap_or(0).min(most)
}

/// The streams of one topic asked for.
struct Streams<'a> {
    catalog: &'a Catalog,
    by_id: bool,
    topic: Option<holdfast_protocol::TopicId>,
}

impl Streams<'_> {
    fn partition(&self, asked: &FetchPartition) -> Partition {
        let stream = self.stream(asked.partition);
        Partition {
            index: asked.partition,
            stream: stream.ok(),
            progress: None,
            believed_epoch: asked.current_leader_epoch,
            next: u64::try_from(asked.fetch_offset).unwrap_or(u64::MAX),
            bytes_left: at_most(asked.partition_max_bytes, usize::MAX),
            records: Vec::new(),
            high_watermark: -1,
            start_offset: -1,
            state: stream.err().map_or(State::Open, State::Failed),
            seen: false,
        }
    }

    fn stream(&self, index: i32) -> Result<StreamId, Code> {
        let id = self.topic.ok_or(if self.by_id {
            Code::UnknownTopicId
        } else {
            Code::UnknownTopicOrPartition
        })?;
        let topic = self.catalog.by_id(id);
        topic
            .zip(u32::try_from(index).ok())
            .and_then(|(topic, index)| topic.stream(index))
            .ok_or(Code::UnknownTopicOrPartition)
    }
}

impl Partition {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::NotReady)
    }

    /// Whether looking at it (again) may give something.
    fn has_news(&self) -> bool {
        let changed = |progress: &watch::Receiver<Offset>| progress.has_changed().unwrap_or(true);
        self.is_open() && (!self.seen || self.progress.as_ref().is_some_and(changed))
    }

    /// Waits until it has news. Leadership that ends drops the sender, which is news as well.
    fn change(&mut self) -> Option<impl Future<Output = ()>> {
        let progress = self.progress.as_mut()?;
        let seen = &mut self.seen;
        Some(async move {
            if progress.changed().await.is_err() {
                sleep(RECHECK_PAUSE).await;
            }
            *seen = false;
        })
    }

    /// Watches it, before it is read, so that nothing is missed in between.
    fn watch<S: Service>(&mut self, service: &S) {
        let watched = self.stream.map(|stream| service.progress(stream));
        match watched {
            Some(Ok(progress)) => self.progress = Some(progress),
            Some(Err(error)) => self.state = State::Failed(errors::read(&error)),
            None => {}
        }
    }

    /// Reads on, at most `left` bytes; gives how many were read.
    async fn read<S: Service>(&mut self, context: &Context<S>, left: usize, first: bool) -> usize {
        self.seen = true;
        match &mut self.progress {
            // Led anew since: the old sender will tell nothing more.
            Some(progress) if progress.has_changed().is_err() => self.watch(&context.service),
            Some(progress) => progress.mark_unchanged(),
            None => {}
        }
        let Some(stream) = self.stream.filter(|_| self.is_open()) else {
            return 0;
        };
        match self.try_read(&context.service, stream, left, first).await {
            Ok(count) => count,
            Err(code) => {
                // What was read before is given; the client meets the error when it goes on.
                if self.records.is_empty() {
                    self.state = State::Failed(code);
                } else {
                    self.state = State::Full;
                }
                0
            }
        }
    }

    async fn try_read<S: Service>(
        &mut self,
        service: &S,
        stream: StreamId,
        left: usize,
        first: bool,
    ) -> Result<usize, Code> {
        let bounds = match service.offsets(stream) {
            Ok(bounds) => bounds,
            Err(ReadError::NotReady) => {
                self.state = State::NotReady;
                return Ok(0);
            }
            Err(error) => return Err(errors::read(&error)),
        };
        fencing::check(self.believed_epoch, bounds.epoch)?;
        let limit = ReadLimit { bytes_max: self.bytes_left.min(left), at_least_one: first };
        let inside = bounds.start.0 <= self.next && self.next <= bounds.end.0;
        if inside && (self.next == bounds.end.0 || (limit.bytes_max == 0 && !first)) {
            self.bounds(bounds);
            self.state = if self.next == bounds.end.0 { State::Open } else { State::Full };
            return Ok(0);
        }
        let read = match service.read(stream, Offset(self.next), limit).await {
            Ok(read) => read,
            Err(ReadError::NotReady) => {
                self.state = State::NotReady;
                return Ok(0);
            }
            Err(error) => return Err(errors::read(&error)),
        };
        self.bounds(read.offsets);
        let count: usize = read.batches.iter().map(bytes::Bytes::len).sum();
        self.bytes_left = self.bytes_left.saturating_sub(count);
        self.state = match batch::end_offset(&read.batches) {
            Some(end) => {
                self.next = end;
                State::Open
            }
            // There is something, but it does not fit any more.
            None if self.next < read.offsets.end.0 => State::Full,
            None => State::Open,
        };
        if self.bytes_left == 0 {
            self.state = State::Full;
        }
        self.records.extend(read.batches);
        Ok(count)
    }

    fn bounds(&mut self, bounds: StreamOffsets) {
        self.high_watermark = wire_offset(bounds.end);
        self.start_offset = wire_offset(bounds.start);
    }

    fn finish(self, lists_aborted: bool) -> FetchedPartition {
        let error = match self.state {
            State::Open | State::Full => 0,
            State::NotReady => Code::NotLeaderOrFollower.code(),
            State::Failed(code) => code.code(),
        };
        FetchedPartition {
            index: self.index,
            error,
            high_watermark: if error == 0 { self.high_watermark } else { -1 },
            start_offset: if error == 0 { self.start_offset } else { -1 },
            lists_aborted,
            leader: None,
            records: self.records,
        }
    }
}
