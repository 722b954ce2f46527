//! The catalog of topics, on shard 0.

use std::collections::BTreeSet;

use holdfast_protocol::topic::{Catalog, Topic};
use holdfast_protocol::{TopicId, command};

use super::Change;

/// Topics, and the ids of those that are gone for ever.
#[derive(Clone, Debug, Default)]
pub struct CatalogState {
    topics: Catalog,
    deleted: BTreeSet<TopicId>,
}

impl CatalogState {
    /// The topics.
    #[must_use]
    pub fn topics(&self) -> &Catalog {
        &self.topics
    }

    /// Whether a topic with this id was deleted.
    #[must_use]
    pub fn is_deleted(&self, id: TopicId) -> bool {
        self.deleted.contains(&id)
    }

    /// Ids that are never used again.
    pub fn deleted(&self) -> impl Iterator<Item = &TopicId> {
        self.deleted.iter()
    }

    pub(super) fn insert(&mut self, topic: Topic) {
        self.topics.insert(topic);
    }

    pub(super) fn note_deleted(&mut self, id: TopicId) {
        self.deleted.insert(id);
    }

    pub(super) fn declare(&mut self, declare: &command::DeclareTopic) -> Change {
        let topic = declare.topic.clone().unwrap_or_default();
        // The leader checked it; a topic that a later version allows is left alone by this one.
        let Ok(topic) = Topic::try_from(topic) else {
            return Change::Nothing;
        };
        if self.deleted.contains(&topic.id) {
            return Change::Nothing;
        }
        self.topics.insert(topic);
        Change::Catalog
    }

    pub(super) fn delete(&mut self, delete: &command::DeleteTopic) -> Change {
        let Some(id) = TopicId::from_slice(&delete.id) else {
            return Change::Nothing;
        };
        self.topics.remove(id);
        self.deleted.insert(id);
        Change::Catalog
    }
}
