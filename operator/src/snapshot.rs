//! The state of the whole, for tables, status files and conditions.

use std::collections::BTreeMap;

use holdfast_operator_core::{ShardCondition, Status};
use holdfast_protocol::{BrokerId, Epoch, LossRange, ShardId, TopicId, command};
use holdfast_transport::Role;
use tokio::time::Instant;

use crate::contact::Contact;
use crate::tls::Uses;

/// What is known of brokers, shards and topics, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Brokers, shards, failovers.
    pub status: Status,
    /// Topics by name: those wanted, and those that clients made.
    pub topics: Vec<TopicView>,
    /// Which brokers have a session, and which certificates they use.
    pub contacts: BTreeMap<BrokerId, Contact>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicView {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// Whether the operator was told to declare it.
    pub wanted: bool,
    /// Whether the catalog has it as wanted.
    pub declared: bool,
    /// Why it can't be declared, if so.
    pub problem: Option<String>,
    /// By number.
    pub partitions: Vec<PartitionView>,
    /// Bytes of one replica of all partitions, as their leaders told last.
    pub bytes: u64,
    /// By consumer group, how many messages it has still to read, as told last.
    pub lag: BTreeMap<String, u64>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionView {
    /// Its number.
    pub partition: u32,
    /// The shard that holds it.
    pub shard: ShardId,
    /// Who leads that shard.
    pub leader: Option<BrokerId>,
    /// The epoch of that shard.
    pub epoch: Epoch,
    /// The in-sync replicas of that shard.
    pub isr: Vec<BrokerId>,
    /// Its first offset, as told last.
    pub start: u64,
    /// One past its last offset, as told last.
    pub end: u64,
    /// The epoch of the newest unclean election of its shard, and which positions of the shard's log
    /// that may have lost.
    pub possible_loss: Option<(Epoch, LossRange)>,
}

impl Snapshot {
    /// What brokers tell of the certificates that they use.
    #[must_use]
    pub fn uses(&self, now: Instant) -> Uses {
        let told = self.contacts.iter();
        told.map(|(broker, contact)| (Role::Broker(*broker), contact.tells(now))).collect()
    }

    /// Whether every shard is served and every wanted topic is declared.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let serves = |s: &_| matches!(s, ShardCondition::Serving);
        let shards = &self.status.shards;
        !shards.is_empty()
            && shards.iter().all(|shard| serves(&shard.condition))
            && self.topics.iter().all(|t| t.declared || !t.wanted)
    }
}

/// What the declarer knows of a wanted topic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Declared {
    /// As it was asked for.
    pub(crate) wanted: command::Topic,
    /// As it is declared: under the id that it turned out to have.
    pub(crate) topic: command::Topic,
    pub(crate) done: bool,
    pub(crate) problem: Option<String>,
}

impl Declared {
    pub(crate) fn new(wanted: command::Topic) -> Self {
        Self { topic: wanted.clone(), wanted, done: false, problem: None }
    }
}
