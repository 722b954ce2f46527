//! Simulated clients: producers, with and without idempotence, and a reader.

use bytes::Bytes;
use holdfast_broker::driver::AppendCommand;
use holdfast_core::batch::{self, Stamp};
use holdfast_protocol::{Offset, ShardId, StreamId, TopicId};
use holdfast_service::{Append, AppendError, Appended, Durability};
use tokio::sync::oneshot;

use crate::world::{At, BROKERS, Event, SHARDS, World};

/// A client waits this long for an answer, ms.
const TIMEOUT_MS: u64 = 3_000;
/// A batch waits this long for a shard to take it, ms.
const WAIT_MS: u64 = 2_000;
/// Bytes that a reader asks for.
const READ_BYTES: usize = 64 * 1024;
/// Producers of each shard.
const PRODUCERS: u32 = 3;

/// One producer, to one stream of its own, with one batch on its way at a time.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: StreamId,
    pub(crate) shard: ShardId,
    /// Its producer id, where it is idempotent.
    producer: Option<i64>,
    sequence: i32,
    /// The value on its way; values grow.
    value: u64,
    pub(crate) pending: bool,
    attempt: u64,
    /// Who seemed to lead last.
    leader: u32,
}

/// What a client hears.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Stored, where that is still known.
    Stored(At),
    /// Not stored, or perhaps: to be sent again.
    Failed,
}

impl Client {
    pub(crate) fn all() -> Vec<Self> {
        let of = |shard: u32| {
            (0..PRODUCERS).map(move |number| Self {
                stream: StreamId {
                    topic: TopicId([1 + u8::try_from(shard).unwrap_or(0); 16]),
                    partition: number,
                },
                shard: ShardId(shard),
                producer: (number > 0).then(|| i64::from(shard * PRODUCERS + number)),
                sequence: 0,
                value: 0,
                pending: false,
                attempt: 0,
                leader: 0,
            })
        };
        (0..SHARDS).flat_map(of).collect()
    }

    /// Whether a value may be in its stream only once.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.producer.is_some()
    }

    fn batch(&self, padding: u64) -> Vec<u8> {
        let (first, last) = (self.sequence, self.sequence);
        let stamp = self.producer.map(|id| Stamp { id, epoch: 0, first, last });
        let mut payload = self.value.to_be_bytes().to_vec();
        payload.resize(8 + usize::try_from(padding).unwrap_or(0), 0x5a);
        batch::build(1, 1_700_000_000_000, stamp, &payload)
    }
}

/// The value in a batch.
pub(crate) fn value_of(batch: &Bytes) -> u64 {
    let payload = batch.get(batch::HEADER_LEN..batch::HEADER_LEN + 8);
    payload.and_then(|bytes| bytes.try_into().ok()).map_or(u64::MAX, u64::from_be_bytes)
}

impl World {
    /// A client sends its next batch, or the last once more.
    pub(crate) fn client_step(&mut self, number: usize) {
        let quiet = self.quiet;
        let leader = self.leader_of(self.clients[number].shard);
        let guess = u32::try_from(self.dice.below(u64::from(BROKERS))).unwrap_or(0);
        let client = &mut self.clients[number];
        if !client.pending {
            if quiet {
                return;
            }
            client.pending = true;
            client.value += 1;
        }
        client.attempt += 1;
        client.leader = leader.unwrap_or(guess);
        let (attempt, broker) = (client.attempt, client.leader);
        let delay = 1 + self.dice.below(4);
        self.after(delay, Event::Request { client: number, attempt, broker, waited_ms: 0 });
        self.after(TIMEOUT_MS, Event::Timeout { client: number, attempt });
    }

    /// Who says that it leads; clients may find an old leader.
    fn leader_of(&self, shard: ShardId) -> Option<u32> {
        let leads = |id: &u32| {
            let process = self.brokers[*id as usize].process.as_ref();
            process.is_some_and(|process| process.drivers[&shard].view().leads())
        };
        let leaders: Vec<u32> = (0..BROKERS).filter(leads).collect();
        self.dice.pick(&leaders).copied()
    }

    pub(crate) fn request_arrives(
        &mut self,
        number: usize,
        attempt: u64,
        broker: u32,
        waited_ms: u64,
    ) {
        if self.clients[number].attempt != attempt {
            return;
        }
        if let Some(left) = self.is_paused(broker) {
            self.after(left, Event::Request { client: number, attempt, broker, waited_ms });
            return;
        }
        let (shard, stream) = (self.clients[number].shard, self.clients[number].stream);
        let Some(process) = &self.brokers[broker as usize].process else {
            self.after(1, Event::Reply { client: number, attempt, reply: Reply::Failed });
            return;
        };
        if !process.drivers[&shard].takes_appends() {
            if waited_ms < WAIT_MS {
                let waited_ms = waited_ms + 20;
                self.after(20, Event::Request { client: number, attempt, broker, waited_ms });
            }
            return;
        }
        let padding = self.dice.below(1_500);
        let batch = Bytes::from(self.clients[number].batch(padding));
        let (reply, answer) = oneshot::channel();
        let append =
            Append { stream, batch, durability: Durability::Committed, batch_bytes_max: 1 << 20 };
        self.drive(broker, shard, |driver| driver.append(AppendCommand { append, reply }));
        self.await_answer(broker, number, attempt, answer);
    }

    /// A broker answers: what it says counts from now on, whether the client hears it or not.
    pub(crate) fn answered(
        &mut self,
        number: usize,
        attempt: u64,
        answer: Result<Appended, AppendError>,
    ) {
        let client = &self.clients[number];
        // An answer to an earlier request may be of another value.
        let reply = match answer {
            _ if client.attempt != attempt => return,
            Ok(appended) => Reply::Stored(Some(appended.base_offset)),
            Err(AppendError::DuplicateSequence) => Reply::Stored(None),
            Err(_) => Reply::Failed,
        };
        if let Reply::Stored(at) = &reply {
            self.checker.acknowledge(client.stream, client.value, *at);
        }
        if self.dice.chance(self.faults.lost_permille) {
            return;
        }
        let delay = 1 + self.dice.below(4);
        self.after(delay, Event::Reply { client: number, attempt, reply });
    }

    pub(crate) fn reply_arrives(&mut self, number: usize, attempt: u64, reply: Reply) {
        if self.clients[number].attempt != attempt || !self.clients[number].pending {
            return;
        }
        let delay = match reply {
            Reply::Stored(_) => {
                let client = &mut self.clients[number];
                client.pending = false;
                client.sequence = batch::sequence_plus(client.sequence, 1);
                self.dice.below(60)
            }
            Reply::Failed => 50 + self.dice.below(150),
        };
        self.after(delay, Event::Client(number));
    }

    pub(crate) fn client_timeout(&mut self, number: usize, attempt: u64) {
        let client = &self.clients[number];
        if client.attempt == attempt && client.pending {
            self.client_step(number);
        }
    }

    /// A reader reads a piece of some stream at whoever says that it leads.
    pub(crate) fn read(&mut self) -> Result<(), String> {
        let number = usize::try_from(self.dice.below(self.clients.len() as u64)).unwrap_or(0);
        let (shard, stream) = (self.clients[number].shard, self.clients[number].stream);
        if let Some(leader) = self.leader_of(shard)
            && self.is_paused(leader).is_none()
        {
            let from = self.dice.next();
            for (offset, value) in self.content(leader, shard, stream, Some(from)) {
                self.checker.read(stream, offset, value)?;
            }
        }
        self.after(40, Event::Read);
        Ok(())
    }

    /// What a broker gives readers of a stream: a piece from some offset on, or all.
    pub(crate) fn content(
        &self,
        broker: u32,
        shard: ShardId,
        stream: StreamId,
        piece: Option<u64>,
    ) -> Vec<(Offset, u64)> {
        let Some(process) = &self.brokers[broker as usize].process else { return Vec::new() };
        let view = process.drivers[&shard].view();
        let Ok(offsets) = view.offsets(stream) else { return Vec::new() };
        let from = piece.map_or(0, |piece| piece % (offsets.end.0 + 1));
        let bytes = if piece.is_some() { READ_BYTES } else { usize::MAX };
        let read = view.reader.read_stream(stream, Offset(from), offsets.end, bytes, true);
        let batches = read.unwrap_or_default();
        let offset = |batch: &Bytes| batch::base_offset(batch).unwrap_or_default();
        batches.iter().map(|batch| (offset(batch), value_of(batch))).collect()
    }
}
