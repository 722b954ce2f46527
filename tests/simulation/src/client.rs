//! Simulated producers, with and without idempotence.

use bytes::Bytes;
use holdfast_broker::driver::AppendCommand;
use holdfast_core::batch::{self, Stamp};
use holdfast_protocol::{Offset, ShardId, StreamId, TopicId};
use holdfast_service::{Append, AppendError, Appended, Durability};
use tokio::sync::oneshot;

use crate::answer::{Awaited, Who};
use crate::event::Event;
use crate::world::{At, SHARDS, World};

/// A client waits this long for an answer, ms.
const TIMEOUT_MS: u64 = 3_000;
/// A batch waits this long for a shard to take it, ms.
const WAIT_MS: u64 = 2_000;
/// Producers of each shard.
pub(crate) const PRODUCERS: u32 = 3;
/// The topic that keeps what is not deleted, and the one that keeps the newest.
pub(crate) const KEPT: u8 = 1;
pub(crate) const SHORT: u8 = 101;

/// One producer, to one stream of its own, with one batch on its way at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) stream: StreamId,
    pub(crate) shard: ShardId,
    /// Its producer id, where it is idempotent.
    producer: Option<i64>,
    sent: Sent,
    pub(crate) pending: bool,
    /// Since when it waits for the batch to be stored, ms.
    pub(crate) since_ms: u64,
    attempt: u64,
}

/// What a producer sends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Values grow.
    value: u64,
    sequence: i32,
    epoch: i16,
}

/// What a client hears.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Stored, where that is still known.
    Stored(At),
    /// Not stored, or perhaps: to be sent again.
    Failed,
}

/// A topic of a shard.
pub(crate) fn topic_of(shard: ShardId, kind: u8) -> TopicId {
    TopicId([kind + u8::try_from(shard.0).unwrap_or(0); 16])
}

/// The shard of a topic.
pub(crate) fn shard_of_topic(topic: TopicId) -> ShardId {
    let number = u32::from(topic.0[0]);
    ShardId(number.saturating_sub(u32::from(if topic.0[0] >= SHORT { SHORT } else { KEPT })))
}

/// What people call it.
pub(crate) fn topic_name(topic: TopicId) -> String {
    format!("topic-{}", topic.0[0])
}

/// The topic that people call so.
pub(crate) fn named_topic(name: &str) -> Option<TopicId> {
    let number = name.strip_prefix("topic-")?.parse().ok()?;
    Some(TopicId([number; 16]))
}

impl Client {
    pub(crate) fn all() -> Vec<Self> {
        let of = |shard: u32| {
            (0..PRODUCERS).map(move |number| Self {
                stream: StreamId {
                    topic: topic_of(ShardId(shard), if number == 2 { SHORT } else { KEPT }),
                    partition: number,
                },
                shard: ShardId(shard),
                producer: (number > 0).then(|| i64::from(shard * PRODUCERS + number)),
                sent: Sent::default(),
                pending: false,
                since_ms: 0,
                attempt: 0,
            })
        };
        (0..SHARDS).flat_map(of).collect()
    }

    /// Whether a value may be in its stream only once.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.producer.is_some()
    }

    fn batch(&self, sent: Sent, padding: u64) -> Vec<u8> {
        let Sent { value, sequence, epoch } = sent;
        let stamp = self.producer.map(|id| Stamp { id, epoch, first: sequence, last: sequence });
        let mut payload = value.to_be_bytes().to_vec();
        payload.resize(8 + usize::try_from(padding).unwrap_or(0), 0x5a);
        batch::build(1, 1_700_000_000_000, stamp, &payload)
    }
}

/// The value in a batch.
pub(crate) fn value_of(batch: &Bytes) -> u64 {
    let payload = batch.get(batch::HEADER_LEN..batch::HEADER_LEN + 8);
    payload.and_then(|bytes| bytes.try_into().ok()).map_or(u64::MAX, u64::from_be_bytes)
}

/// The offset and the value of a batch.
pub(crate) fn placed(batch: &Bytes) -> (Offset, u64) {
    (batch::base_offset(batch).unwrap_or_default(), value_of(batch))
}

impl World {
    /// A client sends its next batch, or the last once more.
    pub(crate) fn client_step(&mut self, number: usize) {
        let (quiet, now) = (self.quiet, self.now());
        let leader = self.leader_of(self.clients[number].shard);
        let guess = self.some_machine();
        let client = &mut self.clients[number];
        if !client.pending {
            if quiet {
                return;
            }
            client.pending = true;
            client.since_ms = now;
            client.sent.value += 1;
        }
        client.attempt += 1;
        let (attempt, sent, broker) = (client.attempt, client.sent, leader.unwrap_or(guess));
        let delay = 1 + self.dice.below(4);
        let waited_ms = 0;
        self.after(delay, Event::Request { client: number, attempt, sent, broker, waited_ms });
        self.after(TIMEOUT_MS, Event::Timeout { client: number, attempt });
    }

    /// Who says that it leads; clients may find an old leader.
    pub(crate) fn leader_of(&self, shard: ShardId) -> Option<u32> {
        let leads = |id: &u32| {
            let process = self.brokers[*id as usize].process.as_ref();
            process.is_some_and(|process| process.drivers[&shard].view().leads())
        };
        let leaders: Vec<u32> = self.machines().filter(leads).collect();
        self.dice.pick(&leaders).copied()
    }

    /// A request arrives, perhaps so late that its client has sent others since.
    pub(crate) fn request_arrives(
        &mut self,
        number: usize,
        (attempt, sent): (u64, Sent),
        broker: u32,
        waited_ms: u64,
    ) {
        let again = |waited_ms| Event::Request { client: number, attempt, sent, broker, waited_ms };
        if let Some(left) = self.is_paused(broker) {
            self.after(left, again(waited_ms));
            return;
        }
        let (shard, stream) = (self.clients[number].shard, self.clients[number].stream);
        let refused = self.shape.uses_door(number) && !self.is_door_open(broker);
        let process = self.brokers[broker as usize].process.as_ref().filter(|_| !refused);
        let Some(process) = process else {
            self.after(1, Event::Reply { client: number, attempt, reply: Reply::Failed });
            return;
        };
        if !process.drivers[&shard].takes_appends() && !self.shape.uses_door(number) {
            if waited_ms < WAIT_MS {
                self.after(20, again(waited_ms + 20));
            }
            return;
        }
        let padding = self.dice.below(1_500);
        let batch = Bytes::from(self.clients[number].batch(sent, padding));
        if self.shape.uses_door(number) {
            self.produce_by_door(broker, (number, attempt, sent.value), batch);
            return;
        }
        let (reply, answer) = oneshot::channel();
        let append =
            Append { stream, batch, durability: Durability::Committed, batch_bytes_max: 1 << 20 };
        self.drive(broker, shard, |driver| driver.append(AppendCommand { append, reply }));
        let who = Who::Producer { client: number, attempt, value: sent.value };
        self.await_answer(broker, who, Awaited::Append(answer));
    }

    /// A broker answers: what it says counts from now on, whether the client hears it or not.
    pub(crate) fn produced(
        &mut self,
        broker: u32,
        (number, attempt, value): (usize, u64, u64),
        answer: Result<Appended, AppendError>,
    ) {
        let gap = matches!(answer, Err(AppendError::OutOfOrderSequence { .. }));
        let reply = match answer {
            Ok(appended) => Reply::Stored(Some(appended.base_offset)),
            Err(_) => Reply::Failed,
        };
        if let Reply::Stored(at) = &reply {
            let Client { stream, shard, .. } = self.clients[number];
            let below = match at {
                Some(offset) => self.below(broker, shard, (stream, *offset)),
                None => self.committed_at(broker, shard),
            };
            self.checker.acknowledge(stream, value, (*at, below));
        }
        let client = &mut self.clients[number];
        // One that comes late, again, is told so too: what it holds was stored long ago.
        let gap = gap && client.attempt == attempt;
        if gap && !self.losses.had(client.shard) {
            if !self.losses.untold {
                let stream = client.stream;
                let what = format!("{stream:?}: a gap before {value}, and nothing was lost");
                self.violate(what);
            }
        } else if gap {
            // As producers do that are told so: they take it that what came before is lost.
            client.sent.epoch += 1;
            client.sent.sequence = 0;
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
                client.sent.sequence = batch::sequence_plus(client.sent.sequence, 1);
                self.dice.below(60)
            }
            Reply::Failed => 50 + self.dice.below(150),
        };
        self.after(delay, Event::Client(number));
    }

    pub(crate) fn client_timeout(&mut self, number: usize, attempt: u64) {
        let client = &self.clients[number];
        if client.attempt == attempt && client.pending {
            // What it has written may arrive all the same.
            self.close_links(number);
            self.client_step(number);
        }
    }
}
