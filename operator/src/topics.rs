//! Declares topics on the leader of shard 0, again and again until each is committed, and anew
//! whenever another topic, or a topic of another shape, is wanted.

use std::sync::Arc;
use std::time::Duration;

use holdfast_operator_core::Status;
use holdfast_protocol::command;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::catalog::{Attempt, Catalog};
use crate::settings::Settings;
use crate::snapshot::Declared;

/// Time between two rounds while some topic is not declared.
const RETRY: Duration = Duration::from_millis(100);
/// Time between two rounds while all that is left was refused.
const RETRY_REFUSED: Duration = Duration::from_secs(5);

/// Declares what is wanted, and says how far it got.
pub(crate) struct Declarer {
    catalog: Catalog,
    wanted: watch::Receiver<Vec<command::Topic>>,
    declared: watch::Sender<Vec<Declared>>,
}

impl Declarer {
    pub(crate) fn new(
        settings: Arc<Settings>,
        status: watch::Receiver<Status>,
        wanted: watch::Receiver<Vec<command::Topic>>,
        declared: watch::Sender<Vec<Declared>>,
    ) -> Self {
        Self { catalog: Catalog::new(settings, status), wanted, declared }
    }

    /// Runs until nobody can want anything any more.
    pub(crate) async fn run(mut self) {
        let mut told = String::new();
        loop {
            self.take_wanted();
            let pause = self.round(&mut told).await;
            let changed = tokio::select! {
                changed = self.wanted.changed() => changed,
                () = pause_for(pause) => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Declares what is not declared yet; returns when to look again, if ever.
    async fn round(&mut self, told: &mut String) -> Option<Duration> {
        let topics = self.declared.borrow().clone();
        let left: Vec<usize> = (0..topics.len()).filter(|i| !topics[*i].done).collect();
        let mut refused = 0;
        for index in left.iter().copied() {
            let topic = &topics[index].topic;
            match self.catalog.declare(topic).await {
                Attempt::Done => self.note(index, None),
                Attempt::Refused(reason) => {
                    refused += 1;
                    self.take_over(index, topic, reason).await;
                }
                Attempt::Again(reason) => {
                    if reason != *told {
                        info!(topic = topic.name, "not declared yet: {reason}");
                        *told = reason;
                    }
                    return Some(RETRY);
                }
            }
            if self.wanted.has_changed().unwrap_or(false) {
                break;
            }
        }
        match left.len() {
            0 => None,
            left if left == refused => Some(RETRY_REFUSED),
            _ => Some(RETRY),
        }
    }

    /// Takes what is wanted now, and keeps what is known of what was wanted before.
    fn take_wanted(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        self.declared.send_if_modified(|known| {
            let next = merge(known, &wanted);
            let changed = next != *known;
            *known = next;
            changed
        });
    }

    fn note(&self, index: usize, problem: Option<String>) {
        self.declared.send_modify(|all| {
            if let Some(topic) = all.get_mut(index) {
                topic.done = problem.is_none();
                match &problem {
                    None => info!(topic = topic.topic.name, "declared"),
                    Some(problem) if topic.problem.as_ref() != Some(problem) => {
                        warn!(topic = topic.topic.name, "can't be declared: {problem}");
                    }
                    Some(_) => {}
                }
                topic.problem = problem;
            }
        });
    }

    /// A topic of that name may be there under another id, made by a client, or declared before
    /// the id was lost: the next declaration is of that one.
    async fn take_over(&mut self, index: usize, topic: &command::Topic, reason: String) {
        let found = self.catalog.find(&topic.name).await;
        match found.filter(|id| id.0[..] != topic.id[..]) {
            Some(found) => self.declared.send_modify(|all| {
                if let Some(declared) = all.get_mut(index) {
                    info!(topic = topic.name, "is there already: taken over");
                    declared.topic.id = found.0.to_vec().into();
                }
            }),
            None => self.note(index, Some(reason)),
        }
    }
}

/// Waits; for ever without a time.
async fn pause_for(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// What is wanted, joined with what is known.
pub(crate) fn merge(known: &[Declared], wanted: &[command::Topic]) -> Vec<Declared> {
    let merged = wanted.iter().map(|wanted| {
        let before = known.iter().find(|known| known.wanted.id == wanted.id);
        match before {
            Some(before) if before.wanted == *wanted => before.clone(),
            // Another shape of the same topic, under the id that it turned out to have.
            Some(before) if before.wanted.name == wanted.name => {
                let topic = command::Topic { id: before.topic.id.clone(), ..wanted.clone() };
                Declared { wanted: wanted.clone(), topic, done: false, problem: None }
            }
            _ => Declared::new(wanted.clone()),
        }
    });
    merged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: u8, name: &str, partitions: u32) -> command::Topic {
        let id = vec![id; 16].into();
        command::Topic { id, name: name.to_owned(), partitions, ..Default::default() }
    }

    #[test]
    fn what_is_known_of_a_topic_outlives_other_wishes() {
        let mut orders = Declared::new(topic(1, "orders", 3));
        orders.done = true;
        orders.topic.id = vec![9; 16].into();
        let known = [orders.clone(), Declared::new(topic(2, "gone", 1))];
        let merged = merge(&known, &[topic(3, "new", 1), topic(1, "orders", 3)]);
        assert_eq!(merged, [Declared::new(topic(3, "new", 1)), orders]);

        let grown = merge(&known, &[topic(1, "orders", 6)]);
        assert!(!grown[0].done);
        assert_eq!(grown[0].topic, topic(9, "orders", 6));
        // A resource that was made again is another one.
        assert_eq!(merge(&known, &[topic(4, "orders", 3)])[0].topic.id[0], 4);
    }
}
