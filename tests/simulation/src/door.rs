//! The shipped Kafka door before a simulated broker: real frames, over pipes in memory, by a runtime
//! of its own for each process, whose clock stands still but when the world's goes on.
//!
//! Whoever writes to the door, or answers it, rings it; a millisecond later it does all that there
//! is to do, in one thread. A process that ends takes its door, and all connections, with it.

pub(crate) mod admin;
mod asks;
mod cluster;
pub(crate) mod frames;
mod groups;
mod service;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use holdfast_broker::driver::{AppendCommand, Ask, Input, View};
use holdfast_kafka::Options;
use holdfast_protocol::group::Request;
use holdfast_protocol::{Position, ShardId, StreamId};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::Deed;
use crate::answer::{Awaited, Relay, Who};
use crate::event::Event;
use crate::world::World;
use groups::Question;
use service::{Asked, SimService};

/// What the door's listener is called.
const LISTENER: &str = "simulated";
/// What a connection carries before somebody reads it, bytes.
const PIPE_BYTES: usize = 64 * 1024;
/// After this the door is rung again for what the shard does not take yet, ms.
const AGAIN_MS: u64 = 20;

/// Who waits for an answer on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    Producer { client: usize, attempt: u64, value: u64 },
    Reader(StreamId),
    Member(Tag, Question),
    Admin(Deed),
    Waiter(usize),
}

/// Which request of a member: its number, and its attempt.
pub(crate) type Tag = (usize, u64);

/// Who is told that something stands in the log; the administrator asks for one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Commit(Tag),
    Admin,
}

/// The client's end of a connection.
struct Link {
    pipe: DuplexStream,
    /// Not written yet, and not whole yet.
    out: BytesMut,
    input: BytesMut,
    waits: BTreeMap<i32, Asker>,
    next: i32,
    /// Who serves it.
    task: AbortHandle,
}

/// The door of one process.
pub(crate) struct Door {
    runtime: Runtime,
    door: holdfast_kafka::Door<SimService>,
    service: SimService,
    /// When the process began: by its runtime's clock, and by the world's, ms.
    begun: (Instant, u64),
    /// By who made them.
    links: BTreeMap<usize, Link>,
    tasks: Vec<JoinHandle<()>>,
    /// What the shards do not take yet.
    later: Vec<Asked>,
    /// Below which position what drivers have told stands.
    told: BTreeMap<Told, Position>,
    rung: bool,
}

impl Door {
    /// # Errors
    /// Where there can't be a runtime.
    pub(crate) fn new(broker: u32, views: Vec<Arc<View>>, now_ms: u64) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let service = SimService::new(broker, views, now_ms);
        let options = Options::new(LISTENER);
        let stop = CancellationToken::new();
        let door = holdfast_kafka::Door::new(service.clone(), options, stop);
        let begun = runtime.block_on(async { (Instant::now(), now_ms) });
        let (links, tasks, later) = (BTreeMap::new(), Vec::new(), Vec::new());
        let told = BTreeMap::new();
        Ok(Self { runtime, door, service, begun, links, tasks, later, told, rung: false })
    }

    fn link(&mut self, of: usize) -> &mut Link {
        let (door, runtime, tasks) = (&self.door, &self.runtime, &mut self.tasks);
        self.links.entry(of).or_insert_with(|| {
            let (pipe, far) = tokio::io::duplex(PIPE_BYTES);
            let port = u16::try_from(of).unwrap_or(0);
            let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            let served = runtime.spawn(door.serve(tokio::io::split(far), peer));
            let task = served.abort_handle();
            tasks.push(served);
            let (out, input) = (BytesMut::new(), BytesMut::new());
            Link { pipe, out, input, waits: BTreeMap::new(), next: 0, task }
        })
    }

    /// Whether somebody waits whose answer nobody else rings for.
    fn waits(&self) -> bool {
        let unrung = |asker: &Asker| !matches!(asker, Asker::Member(..) | Asker::Waiter(_));
        self.links.values().any(|link| link.waits.values().any(unrung)) || !self.later.is_empty()
    }

    /// Whether this connection is there still.
    pub(crate) fn has_link(&self, of: usize) -> bool {
        self.links.contains_key(&of)
    }

    /// A connection is reset: what the door has not read of it, it never reads.
    fn reset(&mut self, of: usize) {
        if let Some(link) = self.links.remove(&of) {
            link.task.abort();
        }
    }

    /// Lets the door do all that there is to do until `now_ms`; gives the frames that it wrote.
    fn run(&mut self, now_ms: u64) -> Result<Vec<(Asker, Bytes)>, String> {
        let (begun, begun_ms) = self.begun;
        let until = begun + Duration::from_millis(now_ms.saturating_sub(begun_ms));
        // What comes only now must not be taken as of when the clock stood still.
        let before = until.checked_sub(Duration::from_millis(1)).unwrap_or(until);
        self.runtime.block_on(async { tokio::time::sleep_until(before).await });
        for link in self.links.values_mut() {
            link.write();
        }
        self.runtime.block_on(async { tokio::time::sleep_until(until).await });
        self.later.extend(self.service.take_asked());
        let mut answers = Vec::new();
        let mut closed = Vec::new();
        for (of, link) in &mut self.links {
            if !link.read(&mut answers)? {
                closed.push(*of);
            }
        }
        for of in closed {
            self.links.remove(&of);
        }
        let (over, tasks) =
            std::mem::take(&mut self.tasks).into_iter().partition(|task| task.is_finished());
        self.tasks = tasks;
        let over: Vec<JoinHandle<()>> = over;
        for task in over {
            match self.runtime.block_on(task) {
                Err(error) if !error.is_cancelled() => {
                    return Err(format!("a connection broke: {error}"));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(answers)
    }
}

/// Which member's commit this is, as it says itself.
fn tag_of(request: &Request) -> Option<Tag> {
    let Request::CommitOffsets(commit) = request else { return None };
    let (member, attempt) = commit.offsets.first()?.metadata.split_once('/')?;
    Some((member.parse().ok()?, attempt.parse().ok()?))
}

impl Link {
    fn write(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while !self.out.is_empty() {
            let written = Pin::new(&mut self.pipe).poll_write(&mut context, &self.out);
            let Poll::Ready(Ok(count)) = written else { return };
            self.out.advance(count);
        }
    }

    /// Takes the frames that are whole; false where the door closed the connection.
    fn read(&mut self, answers: &mut Vec<(Asker, Bytes)>) -> Result<bool, String> {
        let mut context = Context::from_waker(Waker::noop());
        let mut piece = [0; 4096];
        let mut open = true;
        loop {
            let mut buffer = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.pipe).poll_read(&mut context, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.input.extend_from_slice(buffer.filled());
                }
                Poll::Ready(_) => {
                    open = false;
                    break;
                }
            }
        }
        while let Some(head) = self.input.get(..4).and_then(|head| head.try_into().ok()) {
            let length = u32::from_be_bytes(head) as usize;
            if self.input.len() < 4 + length {
                break;
            }
            self.input.advance(4);
            let frame = self.input.split_to(length).freeze();
            let asker = frames::correlation(&frame).and_then(|id| self.waits.remove(&id));
            answers.push((asker.ok_or("an answer that nobody waits for")?, frame));
        }
        Ok(open)
    }
}

impl World {
    /// Whether a broker takes connections: it runs, and knows the topics.
    pub(crate) fn is_door_open(&self, broker: u32) -> bool {
        let process = self.brokers[broker as usize].process.as_ref();
        process.is_some_and(|process| process.catalog.borrow().is_current)
    }

    /// There is something to do for the door, perhaps.
    pub(crate) fn ring(&mut self, broker: u32) {
        let machine = &mut self.brokers[broker as usize];
        let run = machine.run;
        let Some(process) = &mut machine.process else { return };
        if !process.door.rung {
            process.door.rung = true;
            self.after(1, Event::Door(broker, run));
        }
    }

    /// Rings it where somebody waits for it.
    pub(crate) fn ring_if_awaited(&mut self, broker: u32) {
        let process = self.brokers[broker as usize].process.as_ref();
        if process.is_some_and(|process| process.door.waits()) || self.has_news(broker) {
            self.ring(broker);
        }
    }

    /// The door does what there is to do.
    pub(crate) fn door(&mut self, broker: u32, run: u64) -> Result<(), String> {
        if !self.runs(broker, run) {
            return Ok(());
        }
        if let Some(left) = self.is_paused(broker) {
            self.after(left, Event::Door(broker, run));
            return Ok(());
        }
        let (now, machines) = (self.now(), self.machines());
        let Some(process) = &mut self.brokers[broker as usize].process else { return Ok(()) };
        process.door.rung = false;
        process.door.service.note_catalog(&process.catalog.borrow().topics);
        process.door.service.note_cluster(cluster::told(machines, &process.drivers));
        let answers = process.door.run(now)?;
        let asked = std::mem::take(&mut process.door.later);
        for (asker, frame) in answers {
            self.door_answered(broker, asker, frame)?;
        }
        for asked in asked {
            self.ask_for_door(broker, asked);
        }
        Ok(())
    }

    /// The driver of a shard is asked what the door was asked.
    fn ask_for_door(&mut self, broker: u32, asked: Asked) {
        match asked {
            Asked::Append(shard, append) => self.append_for_door(broker, shard, append),
            Asked::Group(shard, request, door) => {
                let told = tag_of(&request).map(Told::Commit);
                self.relay(broker, (shard, told), door, |reply| Ask::Group(request, reply));
            }
            Asked::Declare(topic, door) => {
                let to = (ShardId::CATALOG, Some(Told::Admin));
                self.relay(broker, to, door, |reply| Ask::Declare(topic, reply));
            }
            Asked::Delete(id, door) => {
                let to = (ShardId::CATALOG, Some(Told::Admin));
                self.relay(broker, to, door, |reply| Ask::DeleteTopic(id, reply));
            }
            Asked::Trim(shard, stream, before, door) => {
                let to = (shard, Some(Told::Admin));
                self.relay(broker, to, door, |reply| Ask::DeleteRecords(stream, before, reply));
            }
        }
    }

    /// Asks a driver, and lets its answer be handed on to the door.
    fn relay<T: std::fmt::Debug + 'static>(
        &mut self,
        broker: u32,
        (shard, told): (ShardId, Option<Told>),
        door: oneshot::Sender<T>,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) {
        let (reply, answer) = oneshot::channel();
        let input = Input::Ask(ask(reply));
        self.drive(broker, shard, |driver| driver.handle(input));
        let relay = Relay { answer, door: Some(door) };
        self.await_answer(broker, Who::Door { shard, told }, Awaited::ForDoor(Box::new(relay)));
    }

    /// A driver has answered the door.
    pub(crate) fn answered_door(&mut self, broker: u32, shard: ShardId, told: Option<Told>) {
        let below = self.committed_at(broker, shard);
        let process = self.brokers[broker as usize].process.as_mut();
        if let Some((process, told)) = process.zip(told) {
            process.door.told.insert(told, below);
        }
        self.ring(broker);
    }

    fn append_for_door(&mut self, broker: u32, shard: ShardId, append: AppendCommand) {
        let Some(process) = &mut self.brokers[broker as usize].process else { return };
        let takes = process.drivers.get(&shard).is_some_and(|driver| driver.takes_appends());
        if takes {
            self.drive(broker, shard, |driver| driver.append(append));
            return;
        }
        process.door.later.push(Asked::Append(shard, append));
        if !process.door.rung {
            process.door.rung = true;
            let run = self.brokers[broker as usize].run;
            self.after(AGAIN_MS, Event::Door(broker, run));
        }
    }
}
