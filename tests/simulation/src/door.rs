//! The shipped Kafka door before a simulated broker: real frames, over pipes in memory, by a runtime
//! of its own for each process, whose clock stands still but when the world's goes on.
//!
//! Whoever writes to the door, or answers it, rings it; a millisecond later it does all that there
//! is to do, in one thread. A process that ends takes its door, and all connections, with it.

mod frames;
mod service;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use holdfast_broker::driver::View;
use holdfast_kafka::Options;
use holdfast_protocol::{Offset, StreamId};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{placed, topic_name};
use crate::event::Event;
use crate::world::World;
use service::{Asked, SimService};

/// What a connection carries before somebody reads it, bytes.
const PIPE_BYTES: usize = 64 * 1024;
/// After this the door is rung again for what the shard does not take yet, ms.
const AGAIN_MS: u64 = 20;

/// Who waits for an answer on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    Producer { client: usize, attempt: u64, value: u64 },
    Reader(StreamId),
}

/// The client's end of a connection.
struct Link {
    pipe: DuplexStream,
    /// Not written yet, and not whole yet.
    out: BytesMut,
    input: BytesMut,
    waits: BTreeMap<i32, Asker>,
    next: i32,
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
    rung: bool,
}

impl Door {
    /// # Errors
    /// Where there can't be a runtime.
    pub(crate) fn new(broker: u32, views: Vec<Arc<View>>, now_ms: u64) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let service = SimService::new(broker, views);
        let options = Options::new("simulated");
        let stop = CancellationToken::new();
        let door = holdfast_kafka::Door::new(service.clone(), options, stop);
        let begun = runtime.block_on(async { (Instant::now(), now_ms) });
        let (links, tasks, later) = (BTreeMap::new(), Vec::new(), Vec::new());
        Ok(Self { runtime, door, service, begun, links, tasks, later, rung: false })
    }

    fn link(&mut self, of: usize) -> &mut Link {
        let (door, runtime, tasks) = (&self.door, &self.runtime, &mut self.tasks);
        self.links.entry(of).or_insert_with(|| {
            let (pipe, far) = tokio::io::duplex(PIPE_BYTES);
            let port = u16::try_from(of).unwrap_or(0);
            let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            tasks.push(runtime.spawn(door.serve(tokio::io::split(far), peer)));
            let (out, input) = (BytesMut::new(), BytesMut::new());
            Link { pipe, out, input, waits: BTreeMap::new(), next: 0 }
        })
    }

    fn waits(&self) -> bool {
        self.links.values().any(|link| !link.waits.is_empty()) || !self.later.is_empty()
    }

    /// Lets the door do all that there is to do until `now_ms`; gives the frames that it wrote.
    fn run(&mut self, now_ms: u64) -> Result<Vec<(Asker, Bytes)>, String> {
        for link in self.links.values_mut() {
            link.write();
        }
        let (begun, begun_ms) = self.begun;
        let until = begun + Duration::from_millis(now_ms.saturating_sub(begun_ms));
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
            self.runtime.block_on(task).map_err(|error| format!("a connection broke: {error}"))?;
        }
        Ok(answers)
    }
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
    /// A producer's batch goes through the door of a broker.
    pub(crate) fn produce_by_door(
        &mut self,
        broker: u32,
        (client, attempt, value): (usize, u64, u64),
        batch: Bytes,
    ) {
        let stream = self.clients[client].stream;
        let asker = Asker::Producer { client, attempt, value };
        let cut = self.dice.chance(10);
        let name = topic_name(stream.topic);
        self.ask_door(broker, client, asker, cut, |id| frames::produce(id, &name, stream, batch));
    }

    /// A reader asks for a piece of a stream, somewhere up to where it has known it to end.
    pub(crate) fn read_by_door(&mut self, broker: u32, stream: StreamId) {
        let known = self.checker.known_end(stream);
        let from = Offset(self.dice.below(known.0 + 1));
        let (name, reader) = (topic_name(stream.topic), self.clients.len());
        self.ask_door(broker, reader, Asker::Reader(stream), false, |id| {
            frames::fetch(id, &name, stream, from)
        });
    }

    /// Writes a request to the door, or a part of it only, when the connection is lost.
    fn ask_door(
        &mut self,
        broker: u32,
        of: usize,
        asker: Asker,
        cut: bool,
        frame: impl FnOnce(i32) -> Option<Bytes>,
    ) {
        let most = self.dice.next();
        let Some(process) = &mut self.brokers[broker as usize].process else { return };
        let link = process.door.link(of);
        link.next += 1;
        let id = link.next;
        let Some(mut frame) = frame(id) else {
            self.violate("a request can't be encoded".to_owned());
            return;
        };
        if cut {
            frame.truncate(usize::try_from(most).unwrap_or(0) % frame.len());
            link.out.extend_from_slice(&frame);
            link.write();
            process.door.links.remove(&of);
            self.faults.count("connection lost in a frame");
        } else {
            link.waits.insert(id, asker);
            link.out.extend_from_slice(&frame);
        }
        self.ring(broker);
    }

    /// A client gives up waiting, and closes its connections.
    pub(crate) fn close_links(&mut self, of: usize) {
        for broker in &mut self.brokers {
            if let Some(process) = &mut broker.process {
                process.door.links.remove(&of);
            }
        }
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
        if process.is_some_and(|process| process.door.waits()) {
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
        let now = self.now();
        let Some(process) = &mut self.brokers[broker as usize].process else { return Ok(()) };
        process.door.rung = false;
        process.door.service.note_catalog(&process.catalog.borrow());
        let answers = process.door.run(now)?;
        let asked = std::mem::take(&mut process.door.later);
        for (asker, frame) in answers {
            self.door_answered(broker, asker, frame)?;
        }
        for asked in asked {
            self.append_for_door(broker, asked);
        }
        Ok(())
    }

    fn append_for_door(&mut self, broker: u32, Asked { shard, append }: Asked) {
        let Some(process) = &mut self.brokers[broker as usize].process else { return };
        let takes = process.drivers.get(&shard).is_some_and(|driver| driver.takes_appends());
        if takes {
            self.drive(broker, shard, |driver| driver.append(append));
            return;
        }
        process.door.later.push(Asked { shard, append });
        if !process.door.rung {
            process.door.rung = true;
            let run = self.brokers[broker as usize].run;
            self.after(AGAIN_MS, Event::Door(broker, run));
        }
    }

    fn door_answered(&mut self, broker: u32, asker: Asker, frame: Bytes) -> Result<(), String> {
        match asker {
            Asker::Producer { client, attempt, value } => {
                let answer = frames::produced(frame).ok_or("an answer to a produce request")?;
                self.produced(broker, (client, attempt, value), answer);
            }
            Asker::Reader(stream) => {
                let piece = frames::fetched(frame).ok_or("an answer to a fetch request")?;
                let Some(piece) = piece else { return Ok(()) };
                self.faults.count("pieces read by a door");
                self.checker.judge_start(stream, piece.start)?;
                for (offset, value) in piece.batches.iter().map(placed) {
                    self.checker.read(stream, offset, value)?;
                }
            }
        }
        Ok(())
    }
}
