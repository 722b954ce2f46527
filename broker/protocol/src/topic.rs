//! Topics as every room knows them, and the catalog of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::command;
use crate::ids::{StreamId, TopicId};

pub use crate::command::{Cleanup, Declarer};

/// What is kept of a topic, and how large its batches may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Age at which messages may go, ms; `None`: never for their age.
    pub retention_ms: Option<u64>,
    /// Bytes of one partition above which the oldest may go; `None`: no bound.
    pub retention_bytes: Option<u64>,
    /// How old messages go.
    pub cleanup: Cleanup,
    /// The largest batch, bytes.
    pub message_bytes_max: u32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            retention_ms: Some(7 * 24 * 3600 * 1000),
            retention_bytes: None,
            cleanup: Cleanup::Delete,
            message_bytes_max: Self::MESSAGE_BYTES_MAX_DEFAULT,
        }
    }
}

impl TopicConfig {
    /// What Kafka allows by default: 1 MiB and the overhead of a batch.
    pub const MESSAGE_BYTES_MAX_DEFAULT: u32 = 1024 * 1024 + 12;
    /// The most that may be configured, bytes.
    pub const MESSAGE_BYTES_MAX: u32 = 100 * 1024 * 1024;
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its identity, for ever.
    pub id: TopicId,
    /// The name that clients use.
    pub name: String,
    /// How many partitions; only grows.
    pub partitions: u32,
    /// What is kept.
    pub config: TopicConfig,
    /// Who declared it.
    pub declared_by: Declarer,
}

impl Topic {
    /// The most partitions of one topic.
    pub const PARTITIONS_MAX: u32 = 4096;

    /// The stream of a partition, if the topic has it.
    #[must_use]
    pub fn stream(&self, partition: u32) -> Option<StreamId> {
        (partition < self.partitions).then_some(StreamId { topic: self.id, partition })
    }
}

/// Whether Kafka allows `name` for a topic: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// All topics, as one committed state of shard 0.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    by_id: HashMap<TopicId, Arc<Topic>>,
    by_name: HashMap<String, Arc<Topic>>,
}

impl Catalog {
    /// The topic with this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic with this id.
    #[must_use]
    pub fn by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics, in no order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_id.values()
    }

    /// How many topics there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Puts `topic` in place of the one with its id. The caller has seen to it that no other
    /// topic has its name.
    pub fn insert(&mut self, topic: Topic) {
        self.remove(topic.id);
        let topic = Arc::new(topic);
        self.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    /// Takes a topic out.
    pub fn remove(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(&topic.name);
        Some(topic)
    }
}

/// A topic on disk or on the wire that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The id has not 16 bytes.
    #[error("the topic id has {0} bytes instead of 16")]
    Id(usize),
    /// No Kafka client could use this name.
    #[error("`{0}` can't name a topic: use 1 to 249 of a-z, A-Z, 0-9, `.`, `_`, `-`")]
    Name(String),
    /// No or too many partitions.
    #[error("{0} partitions can't be: use 1 to {max}", max = Topic::PARTITIONS_MAX)]
    Partitions(u32),
    /// A batch bound that the log could not hold.
    #[error("a largest batch of {0} bytes can't be: use 1 to {max}", max = TopicConfig::MESSAGE_BYTES_MAX)]
    MessageBytes(u32),
}

impl TryFrom<command::Topic> for Topic {
    type Error = Error;

    fn try_from(wire: command::Topic) -> Result<Self, Error> {
        let id = TopicId::from_slice(&wire.id).ok_or(Error::Id(wire.id.len()))?;
        let declared_by = wire.declared_by();
        if !is_valid_name(&wire.name) {
            return Err(Error::Name(wire.name.chars().take(256).collect()));
        }
        if wire.partitions == 0 || wire.partitions > Self::PARTITIONS_MAX {
            return Err(Error::Partitions(wire.partitions));
        }
        let config = wire.config.unwrap_or_default();
        if config.message_bytes_max == 0
            || config.message_bytes_max > TopicConfig::MESSAGE_BYTES_MAX
        {
            return Err(Error::MessageBytes(config.message_bytes_max));
        }
        Ok(Self {
            id,
            name: wire.name,
            partitions: wire.partitions,
            config: TopicConfig {
                retention_ms: config.retention_ms,
                retention_bytes: config.retention_bytes,
                cleanup: config.cleanup(),
                message_bytes_max: config.message_bytes_max,
            },
            declared_by,
        })
    }
}

impl From<&Topic> for command::Topic {
    fn from(topic: &Topic) -> Self {
        Self {
            id: topic.id.0.to_vec().into(),
            name: topic.name.clone(),
            partitions: topic.partitions,
            config: Some(command::TopicConfig {
                retention_ms: topic.config.retention_ms,
                retention_bytes: topic.config.retention_bytes,
                cleanup: topic.config.cleanup.into(),
                message_bytes_max: topic.config.message_bytes_max,
            }),
            declared_by: topic.declared_by.into(),
        }
    }
}
