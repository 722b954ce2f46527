//! One step at a time, drawn by weight: work mostly, and faults.

use holdfast_protocol::entry::Kind;
use holdfast_protocol::{BrokerId, FlushMode, Member, Position, StreamId, TopicId, command};

use super::node::{Image, Wait};
use super::{Message, World};
use crate::shard::Refusal;

#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver,
    Lose,
    Repeat,
    Produce,
    Command,
    Flush,
    Observe,
    Tick,
    Elect,
    Fence,
    Vacate,
    Crash,
    Start,
    Cut,
    Checkpoint,
    Clean,
    Bootstrap,
}

impl World {
    pub(super) fn step(&mut self) {
        let Self { weather, .. } = *self;
        let step = self.random.weighted(&[
            (110, Step::Deliver),
            (30, Step::Produce),
            (4, Step::Command),
            (30, Step::Flush),
            (15, Step::Observe),
            (20, Step::Tick),
            (12, Step::Start),
            (12, Step::Bootstrap),
            (6, Step::Checkpoint),
            (weather.lose, Step::Lose),
            (weather.repeat, Step::Repeat),
            (weather.elect, Step::Elect),
            (weather.fence, Step::Fence),
            (u64::from(weather.fence > 1), Step::Vacate),
            (weather.crash, Step::Crash),
            (weather.cut, Step::Cut),
            (weather.clean, Step::Clean),
        ]);
        let n = self.random.index(self.nodes.len());
        match step {
            Step::Deliver => self.deliver_any(false),
            Step::Repeat => self.deliver_any(true),
            Step::Lose => {
                let at = self.random.index(self.messages.len());
                self.messages.remove(at);
            }
            Step::Produce => self.produce(),
            Step::Command => self.command(),
            Step::Flush => self.flush(n),
            Step::Observe => self.observe(n),
            Step::Tick => self.tick(n),
            Step::Elect => self.elect_any(),
            Step::Fence => {
                self.note(|| format!("fence {n}"));
                self.operator.fence(BrokerId(u32::try_from(n).unwrap()));
            }
            Step::Vacate => {
                self.note(|| "vacate".to_owned());
                self.operator.vacate();
            }
            Step::Crash => self.crash(n),
            Step::Start => self.start(n),
            Step::Cut => self.nodes[n].is_cut ^= true,
            Step::Checkpoint => self.checkpoint(n),
            Step::Clean => self.clean(n),
            Step::Bootstrap => self.bootstrap(n),
        }
    }

    /// Delivers one message, mostly an old one; perhaps it stays, and comes again.
    fn deliver_any(&mut self, stays: bool) {
        if self.messages.is_empty() {
            return;
        }
        let reach = if self.random.percent(80) { 3 } else { self.messages.len() };
        let at = self.random.index(reach.min(self.messages.len()));
        let cut = |id: BrokerId| self.messages[at].touches(id);
        if self.nodes.iter().any(|node| node.is_cut && cut(node.id)) {
            // It waits behind the others.
            let message = self.messages.remove(at);
            self.messages.extend(message);
            return;
        }
        let message = if stays { self.messages.get(at).cloned() } else { self.messages.remove(at) };
        if let Some(message) = message {
            self.deliver(message);
        }
    }

    pub(super) fn deliver(&mut self, message: Message) {
        self.note(|| super::brief(&message));
        match message {
            Message::Fetch { from, to, fetch } => {
                self.with(to.0 as usize, |shard, now| shard.handle_fetch(from, fetch, now));
            }
            Message::Answer { from, to, answer } => {
                self.with(to.0 as usize, |shard, now| shard.handle_answer(from, answer, now));
            }
            Message::IsrRefused { to, expected } => {
                self.with(to.0 as usize, |shard, now| shard.handle_isr_refused(expected, now));
            }
            Message::Isr { from, request } => {
                let expected = request.expected;
                let refuses = self.random.percent(self.weather.refuse);
                if refuses || !self.operator.handle_request(from, request) {
                    self.send(Message::IsrRefused { to: from, expected });
                }
            }
        }
    }

    fn show(&mut self, n: usize, record: holdfast_protocol::ShardRecord) {
        self.with(n, |shard, now| {
            shard.handle_record(record, now);
        });
    }

    /// A broker sees the record: the newest one, or any older one, late.
    fn observe(&mut self, n: usize) {
        let past = self.operator.past();
        let stale = self.random.percent(15);
        let at = if stale { self.random.index(past.len()) } else { past.len() - 1 };
        let record = past[at].clone();
        self.note(|| format!("{n} observes {}", super::trace::record(&record)));
        self.show(n, record);
    }

    pub(super) fn tick(&mut self, n: usize) {
        self.now_ms += self.random.below(40);
        self.note(|| format!("tick {n}"));
        self.with(n, |shard, now| shard.handle_tick(now));
    }

    pub(super) fn flush(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.shard.is_none() {
            return;
        }
        if !node.disk.is_flushing() {
            node.disk.begin_flush();
            return;
        }
        if let Some(durable) = node.disk.finish_flush() {
            self.note(|| format!("{n} is durable up to {durable}"));
            self.with(n, |shard, now| {
                shard.handle_durable(durable, now);
                shard.finish(now);
            });
        }
    }

    /// A client begins a batch, and sends what it can to a broker that says it leads.
    fn produce(&mut self) {
        let client = self.random.index(self.clients.len());
        let (mark, count) = (self.draw(), 1 + self.random.index(3));
        self.clients[client].begin(mark, u32::try_from(count).unwrap());
        self.send_batches(client);
    }

    pub(super) fn send_batches(&mut self, client: usize) {
        let nodes = &self.nodes;
        self.clients[client]
            .give_up(|broker, epoch| nodes[broker.0 as usize].leads() == Some(epoch));
        let n = self.random.index(self.nodes.len());
        let Some(epoch) = self.nodes[n].confirmed() else { return };
        let leader = (self.nodes[n].id, epoch);
        while let Some(index) = self.clients[client].unsent(leader) {
            if !self.send_batch(client, index, n) {
                break;
            }
            self.clients[client].pending[index].sent = Some(leader);
        }
        if self.random.percent(70) {
            self.with(n, |shard, now| shard.finish(now));
        }
    }

    fn send_batch(&mut self, client: usize, index: usize, n: usize) -> bool {
        let (stream, mark) =
            (self.clients[client].stream, self.clients[client].pending[index].mark);
        let bytes = self.clients[client].bytes(index);
        let Some(shard) = &mut self.nodes[n].shard else { return false };
        let Ok(epoch) = shard.accepts() else { return false };
        let placed = shard.append(stream, &bytes);
        self.note(|| format!("client {client} sends {mark} to {n}: {placed:?}"));
        match placed {
            Ok(placed) => {
                let at = (stream, placed.offset);
                self.nodes[n].waits.push(Wait { client, mark, epoch, until: placed.until, at });
                true
            }
            Err(Refusal::Gap { .. }) if self.setup.unclean => {
                self.clients[client].begin_anew();
                false
            }
            Err(refusal) => {
                self.judge(Err(format!("batch {mark} of client {client} is refused: {refusal}")));
                false
            }
        }
    }

    /// A command that is no batch: cursors, trims, topics.
    fn command(&mut self) {
        let Some(n) = self.nodes.iter().position(|node| node.confirmed().is_some()) else {
            return;
        };
        let draw = self.random.below(1000);
        let stream =
            StreamId { topic: TopicId([1; 16]), partition: u32::from(draw.is_multiple_of(2)) };
        let which = self.random.index(4);
        self.with(n, |shard, now| {
            let end = shard.state().stream(stream).map_or(0, |stream| stream.end.0);
            let _ = match which {
                0 => shard.command_on(
                    stream,
                    Kind::TrimStream,
                    &command::TrimStream { start: end.saturating_sub(draw % 8), bytes: draw },
                ),
                1 => shard.command(Kind::CommitOffsets, &commit(draw)),
                2 => shard.command(Kind::DeclareTopic, &declare(draw % 5)),
                _ => {
                    let id = vec![9 + u8::try_from(draw % 5).unwrap(); 16].into();
                    shard.command(Kind::DeleteTopic, &command::DeleteTopic { id })
                }
            };
            shard.finish(now);
        });
    }

    fn elect_any(&mut self) {
        let isr = &self.operator.record().isr;
        let at = self.random.index(isr.len());
        let leader = isr[at];
        if self.setup.unclean && self.random.percent(30) && !self.can_elect() {
            self.elect_unclean();
            return;
        }
        self.note(|| format!("elect {}", super::trace::member(&leader)));
        self.operator.elect(leader);
    }

    /// Whether a member of the in-sync replicas still has the log that is meant.
    pub(super) fn can_elect(&self) -> bool {
        let holds = |member: &Member| {
            self.nodes[member.broker.0 as usize].disk.incarnation == member.incarnation
        };
        self.operator.record().isr.iter().any(holds)
    }

    /// The most complete of all, once all run and can say what they hold.
    pub(super) fn elect_unclean(&mut self) {
        let shards = self.nodes.iter().map(|node| node.shard.as_ref());
        let Some(shards) = shards.collect::<Option<Vec<_>>>() else { return };
        let whole = shards.iter().map(|s| s.replica()).filter(|r| !r.is_bootstrapping());
        let best = whole.max_by_key(|r| (r.last_epoch(), r.end()));
        let Some(leader) = best.map(crate::Replica::member) else { return };
        self.note(|| format!("elect unclean {}", super::trace::member(&leader)));
        self.operator.elect_unclean(leader);
    }

    /// The process stops; perhaps the power goes, or the volume with it.
    fn crash(&mut self, n: usize) {
        let Some(shard) = &mut self.nodes[n].shard else { return };
        // What it took but did not hand to the log is gone either way.
        let _ = shard.buffered();
        self.nodes[n].stop();
        let wiped = self.random.percent(self.weather.wipe);
        let power = self.random.percent(50);
        let drawn = super::incarnation(self.draw());
        let disk = &mut self.nodes[n].disk;
        if wiped {
            *disk = super::disk::Disk::new(drawn);
        } else if power {
            let unflushed = disk.end.0 - disk.durable.0;
            let keep = Position(disk.durable.0 + self.random.below(unflushed + 1));
            disk.lose_unflushed(keep);
            // Nobody can tell in Async whether something was lost.
            if self.setup.flush == FlushMode::Async {
                disk.incarnation = drawn;
            }
        }
        self.note(|| format!("crash {n} wiped={wiped} power={power}"));
    }

    pub(super) fn start(&mut self, n: usize) {
        if self.nodes[n].shard.is_none() {
            self.note(|| format!("start {n}"));
            self.nodes[n].start();
            self.settle(n);
        }
    }

    fn checkpoint(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some(shard) = &node.shard else { return };
        node.disk.keep_checkpoint(shard);
        let durable = node.disk.durable;
        self.note(|| format!("checkpoint {n}"));
        self.with(n, |shard, now| shard.handle_durable(durable, now));
    }

    fn clean(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some(shard) = &node.shard else { return };
        if shard.replica().is_bootstrapping() {
            return;
        }
        let below = Position(self.random.below(node.disk.checkpoint_position().0 + 1));
        node.disk.clean(below, shard.state());
        self.note(|| format!("clean {n} below {below}"));
        self.with(n, |shard, _| shard.handle_cleaned(below));
    }

    /// A replica that is to be built anew asks for a checkpoint, or gets it.
    pub(super) fn bootstrap(&mut self, n: usize) {
        if self.nodes[n].is_cut {
            return;
        }
        if let Some(image) = self.nodes[n].image.take() {
            self.build(n, image);
            return;
        }
        let Some(leader) = self.nodes[n].bootstrap.take() else { return };
        let leader = &self.nodes[leader.0 as usize];
        // What it knows to be committed is committed, even before its own epoch is confirmed; to
        // wait for that would be for ever where this replica is needed to confirm it.
        let Some(shard) = leader.shard.as_ref().filter(|_| leader.leads().is_some()) else {
            return;
        };
        let bytes = shard.state().encode(shard.replica().history());
        let start = leader.disk.start;
        self.nodes[n].image = Some(Image { start, bytes });
    }

    fn build(&mut self, n: usize, image: Image) {
        let node = &mut self.nodes[n];
        let wanted = node.shard.as_ref().is_some_and(|shard| shard.replica().wants_bootstrap());
        self.note(|| format!("build {n} from {}: wanted={wanted}", image.start));
        if !wanted {
            return;
        }
        let drawn = super::incarnation(self.draw());
        let node = &mut self.nodes[n];
        // What was here is set aside: under the old name it could be taken for more than it is.
        node.disk.reset(drawn, image.start, image.bytes.clone());
        node.compared_anew();
        let decoded = crate::State::decode(&image.bytes).unwrap();
        self.with(n, |shard, now| shard.handle_bootstrap(drawn, image.start, decoded, now));
    }
}

fn commit(draw: u64) -> command::CommitOffsets {
    let cursor = command::Cursor { topic: vec![1; 16].into(), offset: draw, ..Default::default() };
    command::CommitOffsets { group: format!("group-{}", draw % 3), cursors: vec![cursor] }
}

fn declare(number: u64) -> command::DeclareTopic {
    command::DeclareTopic {
        topic: Some(command::Topic {
            id: vec![9 + u8::try_from(number).unwrap(); 16].into(),
            name: format!("topic-{number}"),
            partitions: 3,
            config: Some(command::TopicConfig { message_bytes_max: 1000, ..Default::default() }),
            declared_by: 0,
        }),
    }
}
