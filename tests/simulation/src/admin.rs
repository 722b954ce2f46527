//! A simulated administrator: declares the topics, and deletes messages.

use holdfast_broker::driver::{Ask, Input};
use holdfast_protocol::topic::{Declarer, Topic, TopicConfig};
use holdfast_protocol::{Offset, ShardId, StreamId, TopicId};
use tokio::sync::oneshot;

use crate::answer::{Answered, Awaited, Who};
use crate::client::{KEPT, PRODUCERS, SHORT, topic_name, topic_of};
use crate::event::Event;
use crate::world::{SHARDS, World};

/// How often it does something, ms.
const PAUSE_MS: u64 = 400;

/// What it asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Declare(TopicId),
    Trim(StreamId),
}

impl World {
    /// Declares what is not known to be declared, or deletes some messages.
    pub(crate) fn administer(&mut self) {
        if self.quiet {
            return;
        }
        let pause = PAUSE_MS + self.dice.below(PAUSE_MS);
        self.after(pause, Event::Admin);
        let missing = topics(self.shape.retention_bytes)
            .into_iter()
            .find(|topic| !self.checker.is_declared(topic.id));
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
            (Deed::Declare(_) | Deed::Trim(_), _) => {}
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
