//! Which topics there are, as those are told who declare and delete them.

use holdfast_protocol::topic::Catalog;
use holdfast_protocol::{Position, TopicId};

use super::Checker;

impl Checker {
    /// A broker said that the topic is declared.
    pub(crate) fn declared(&mut self, topic: TopicId, position: Position) {
        self.declared.entry(topic).or_insert(position);
    }

    /// Whether it was said.
    pub(crate) fn is_declared(&self, topic: TopicId) -> bool {
        self.declared.contains_key(&topic)
    }

    /// A broker said that a topic with this name was created.
    pub(crate) fn created(&mut self, name: String, position: Position) {
        self.created.entry(name).or_insert(position);
    }

    /// Somebody asks for a topic to be deleted.
    pub(crate) fn may_delete(&mut self, name: String) {
        self.may_go.insert(name);
    }

    /// A broker said that it is.
    pub(crate) fn deleted(&mut self, name: String, position: Position) {
        self.deleted.entry(name).or_insert(position);
    }

    /// Judges the topics, after everything has healed.
    pub(crate) fn judge_topics(&self, topics: &Catalog) -> Result<(), String> {
        if let Some(topic) = self.declared.keys().find(|topic| topics.by_id(**topic).is_none()) {
            return Err(format!("topic {topic:?} was declared and is not there"));
        }
        let mut kept = self.created.keys().filter(|name| !self.may_go.contains(*name));
        if let Some(name) = kept.find(|name| topics.by_name(name).is_none()) {
            return Err(format!("topic {name} was created and is not there"));
        }
        match self.deleted.keys().find(|name| topics.by_name(name).is_some()) {
            Some(name) => Err(format!("topic {name} was deleted and is there")),
            None => Ok(()),
        }
    }
}
