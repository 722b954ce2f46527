//! A simulated administrator: declares the topics, and deletes messages. In some runs it goes through
//! the Kafka door; there it also creates other topics and deletes them.

use holdfast_broker::driver::{Ask, Input};
use holdfast_protocol::topic::{Declarer, Topic, TopicConfig};
use holdfast_protocol::{Offset, Position, ShardId, StreamId, TopicId};
use tokio::sync::oneshot;

use crate::answer::{Answered, Awaited, Who};
use crate::client::{KEPT, PRODUCERS, SHORT, topic_name, topic_of};
use crate::door::admin::{self, Done};
use crate::event::Event;
use crate::world::{SHARDS, World};

/// How often it does something, ms.
const PAUSE_MS: u64 = 400;

/// It waits this long for an answer by frames, ms.
const TIMEOUT_MS: u64 = 4_000;

/// What it asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Declare(TopicId),
    Trim(StreamId),
    /// Other topics, by their numbers.
    Create(u32),
    Delete(u32),
}

/// What it knows, where it goes through the door.
#[derive(Debug, Default)]
pub(crate) struct Admin {
    /// Since when it waits for an answer, ms.
    pub(crate) waits_since_ms: Option<u64>,
    /// Other topics that it asked for.
    others: Vec<u32>,
    next: u32,
}

/// What the other topics are called.
pub(crate) fn other_name(number: u32) -> String {
    format!("other-{number}")
}

impl World {
    /// Declares what is not known to be declared, or deletes some messages.
    pub(crate) fn administer(&mut self) {
        let missing = topics(self.shape.retention_bytes)
            .into_iter()
            .find(|topic| !self.checker.is_declared(topic.id));
        // Without a topic those who go through doors could never end.
        if self.quiet && missing.is_none() {
            return;
        }
        let pause = PAUSE_MS + self.dice.below(PAUSE_MS);
        self.after(pause, Event::Admin);
        if self.shape.administers_by_door() {
            self.administer_by_door(missing);
            return;
        }
        match missing {
            Some(topic) => self.declare(topic),
            None if self.dice.chance(150) => self.delete_some(),
            None => {}
        }
    }

    fn declare(&mut self, topic: Topic) {
        let Some(leader) = self.leader_of(ShardId::CATALOG) else { return };
        if self.is_paused(leader).is_some() {
            return;
        }
        let (reply, answer) = oneshot::channel();
        let id = topic.id;
        let ask = Input::Ask(Ask::Declare(topic, reply));
        self.drive(leader, ShardId::CATALOG, |driver| driver.handle(ask));
        self.await_answer(leader, Who::Admin(Deed::Declare(id)), Awaited::Declare(answer));
    }

    /// The same by frames, and one thing at a time.
    fn administer_by_door(&mut self, missing: Option<Topic>) {
        if let Some(since) = self.admin.waits_since_ms {
            if self.now() < since + TIMEOUT_MS {
                return;
            }
            self.admin.waits_since_ms = None;
            self.reset_admin();
        }
        match missing {
            Some(topic) => self.change_catalog(Deed::Declare(topic.id), topic.config),
            None if self.dice.chance(150) => self.delete_some(),
            None if self.dice.chance(100) => {
                let number = self.admin.next;
                self.admin.next += 1;
                self.admin.others.push(number);
                self.change_catalog(Deed::Create(number), TopicConfig::default());
            }
            None if self.dice.chance(100) => {
                if let Some(number) = self.dice.pick(&self.admin.others).copied() {
                    self.checker.may_delete(other_name(number));
                    self.change_catalog(Deed::Delete(number), TopicConfig::default());
                }
            }
            None => {}
        }
    }

    /// Asks who leads the catalog, and now and then another.
    fn change_catalog(&mut self, deed: Deed, config: TopicConfig) {
        let guess = self.some_machine();
        let leader = self.leader_of(ShardId::CATALOG);
        let broker = if self.dice.chance(100) { guess } else { leader.unwrap_or(guess) };
        self.do_by_door(broker, deed, |id| admin::change(id, deed, &config));
    }

    /// Deletes messages of a stream that keeps the others.
    fn delete_some(&mut self) {
        let number = usize::try_from(self.dice.below(self.clients.len() as u64)).unwrap_or(0);
        let (shard, stream) = (self.clients[number].shard, self.clients[number].stream);
        let Some(leader) = self.leader_of(shard) else { return };
        if stream.topic == topic_of(shard, SHORT) || self.is_paused(leader).is_some() {
            return;
        }
        let Some(process) = &self.broker(leader).process else { return };
        let Ok(offsets) = process.drivers[&shard].view().offsets(stream) else { return };
        let before = Offset(self.dice.between(offsets.start.0, offsets.end.0));
        self.checker.may_trim(stream, before);
        self.faults.count("messages deleted");
        if self.shape.administers_by_door() {
            let deed = Deed::Trim(stream);
            self.do_by_door(leader, deed, |id| admin::trim(id, stream, before));
            return;
        }
        let (reply, answer) = oneshot::channel();
        let ask = Input::Ask(Ask::DeleteRecords(stream, Some(before), reply));
        self.drive(leader, shard, |driver| driver.handle(ask));
        self.await_answer(leader, Who::Admin(Deed::Trim(stream)), Awaited::Trim(answer));
    }

    /// A broker answers it.
    pub(crate) fn administered(&mut self, id: u32, deed: Deed, answered: &Answered) {
        match (deed, answered) {
            (Deed::Declare(topic), Answered::Declare(Ok(()))) => {
                let below = self.committed_at(id, ShardId::CATALOG);
                self.checker.declared(topic, below);
            }
            (Deed::Trim(stream), Answered::Trim(Ok(start))) => {
                if let Some(shard) = self.shard_of(stream) {
                    self.checker.trimmed(stream, *start, self.committed_at(id, shard));
                }
            }
            // It asks again.
            (Deed::Declare(_) | Deed::Trim(_) | Deed::Create(_) | Deed::Delete(_), _) => {}
        }
    }

    /// A broker answers it by a frame: what it says was done stands below this position.
    pub(crate) fn administered_by_door(&mut self, deed: Deed, done: Done, below: Position) {
        match (deed, done) {
            (Deed::Declare(topic), Done::Changed | Done::WasThere) => {
                self.checker.declared(topic, below);
            }
            (Deed::Trim(stream), Done::Trimmed(start)) => {
                self.checker.trimmed(stream, start, below);
            }
            (Deed::Create(number), Done::Changed) => {
                self.faults.count("topic created by a door");
                self.checker.created(other_name(number), below);
            }
            (Deed::Delete(number), Done::Changed) => {
                self.faults.count("topic deleted by a door");
                self.admin.others.retain(|other| *other != number);
                self.checker.deleted(other_name(number), below);
            }
            (
                Deed::Declare(_) | Deed::Trim(_) | Deed::Create(_) | Deed::Delete(_),
                Done::Changed | Done::WasThere | Done::Trimmed(_) | Done::Refused,
            ) => {}
        }
    }
}

/// Two topics in each shard: one keeps all that is not deleted, the other the newest.
fn topics(retention_bytes: u64) -> Vec<Topic> {
    let of = |shard: u32| {
        [(KEPT, None), (SHORT, Some(retention_bytes))].map(|(kind, retention_bytes)| Topic {
            id: topic_of(ShardId(shard), kind),
            name: topic_name(topic_of(ShardId(shard), kind)),
            partitions: PRODUCERS,
            config: TopicConfig { retention_ms: None, retention_bytes, ..TopicConfig::default() },
            declared_by: Declarer::Yaml,
        })
    };
    (0..SHARDS).flat_map(of).collect()
}
