//! The actor of one shard: a task that takes events in turn and hands them to the driver.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use holdfast_log::Config;
use holdfast_protocol::ShardId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use super::driver::Driver;
use super::flusher::Flusher;
use super::node::NodeEffects;
use super::{APPENDS_MAX, AppendCommand, EVENTS_MAX, Event, Handle, Input, OpenError, View};
use crate::node::Node;

/// How often the core is told the time.
const TICK: Duration = Duration::from_millis(20);
/// Events and batches taken in one turn, before what they bring about is carried out.
const TURN_MAX: usize = 256;

/// Opens the replica in `dir` and starts its actor.
pub(crate) fn open(node: &Arc<Node>, shard: ShardId, dir: &Path) -> Result<Handle, OpenError> {
    let (events_tx, events) = mpsc::channel(EVENTS_MAX);
    let (appends_tx, appends) = mpsc::channel(APPENDS_MAX);
    let flusher = Flusher::start(shard, events_tx.clone())
        .map_err(|error| OpenError::Thread(shard, error))?;
    let effects = NodeEffects::new(Arc::clone(node), shard, events_tx.clone(), flusher);
    let volume = (&holdfast_log::Disk::Files, dir, Config::default());
    let driver = Driver::open(effects, shard, node.boot(), volume)?;
    let view = Arc::clone(driver.view());
    let (watched, news) = (Arc::clone(&view), Arc::clone(node));
    node.tasks.spawn(async move {
        if survive(shard, &watched, Actor { driver }.run(events, appends)).await {
            news.reports_changed.notify_waiters();
        }
    });
    Ok(Handle { shard, view, events: events_tx, appends: appends_tx })
}

/// Runs an actor. Where an invariant of its core breaks, that shard alone stops here, and says so:
/// its replica reports that it can't go on, so that another is elected. True where that is news.
async fn survive(shard: ShardId, view: &View, run: impl Future<Output = ()>) -> bool {
    let Err(panic) = AssertUnwindSafe(run).catch_unwind().await else {
        return false;
    };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
    error!(%shard, reason = text, "an invariant broke: this replica stops; a person must look");
    view.put_fault(format!("an invariant broke: {text}"));
    true
}

struct Actor {
    driver: Driver<NodeEffects>,
}

impl Actor {
    /// Runs until it is told to stop, or the broker drops it.
    async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut appends: mpsc::Receiver<AppendCommand>,
    ) {
        self.driver.start();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let takes = self.driver.takes_appends();
            let stop = tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => return,
                },
                command = appends.recv(), if takes => {
                    if let Some(command) = command {
                        self.driver.append(command);
                    }
                    None
                }
                _ = tick.tick() => {
                    self.driver.tick();
                    None
                }
            };
            if let Some(done) = stop.or_else(|| self.take_more(&mut events, &mut appends)) {
                self.driver.close();
                let _ = done.send(());
                return;
            }
            self.driver.end_turn();
        }
    }

    /// Takes what else waits, so that one write and one flush serve all of it.
    fn take_more(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        appends: &mut mpsc::Receiver<AppendCommand>,
    ) -> Option<oneshot::Sender<()>> {
        for _ in 0..TURN_MAX {
            if let Ok(event) = events.try_recv() {
                let stop = self.handle(event);
                if stop.is_some() {
                    return stop;
                }
                // What the event brought about may decide what comes next.
                self.driver.settle();
            } else if self.driver.takes_appends() && self.driver.turn_has_room() {
                match appends.try_recv() {
                    Ok(command) => self.driver.append(command),
                    Err(_) => return None,
                }
            } else {
                return None;
            }
        }
        None
    }

    fn handle(&mut self, event: Event) -> Option<oneshot::Sender<()>> {
        let input = match event {
            Event::Fetch(from, fetch, answers) => {
                self.driver.effects_mut().hear(from, answers);
                Input::Fetch(from, fetch)
            }
            Event::FollowerGone(broker, answers) => {
                // A follower that was quick to come back asks on another stream by now.
                if !self.driver.effects_mut().forget(broker, &answers) {
                    return None;
                }
                Input::FollowerGone(broker)
            }
            Event::Input(input) => input,
            Event::Stop(done) => return Some(done),
        };
        self.driver.handle(input);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_actor_that_breaks_is_reported_and_leads_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = holdfast_log::ShardLog::open(dir.path(), Config::default()).unwrap();
        let view = View::new(log.reader());
        assert!(!survive(ShardId(3), &view, async {}).await);
        assert_eq!(view.report().failure, None);
        let broken = async { assert_eq!(1 + 1, 3, "numbers hold") };
        assert!(survive(ShardId(3), &view, broken).await);
        let report = view.report();
        assert!(report.failure.is_some_and(|why| why.contains("numbers hold")));
        assert_eq!((report.leads, report.confirmed), (None, None));
    }
}
