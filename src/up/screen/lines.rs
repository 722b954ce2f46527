//! The state as lines: one for whatever changed.

use crate::up::state::{Condition, Now};

/// What brokers leave free on a disk, bytes: they answer as by a full one rather than take it.
const RESERVE_BYTES: u64 = 128 * 1024 * 1024;

/// What was said last.
#[derive(Default)]
pub(crate) struct Lines {
    brokers: Vec<(Option<u32>, Condition)>,
    problems: Vec<String>,
    began: bool,
    ready: bool,
}

impl Lines {
    /// What is to be said about `now`.
    pub(crate) fn changes(&mut self, now: &Now) -> Vec<String> {
        let mut lines = Vec::new();
        let about = &now.about;
        if !self.began {
            self.began = true;
            lines.push(format!("policy {}: {}", about.policy, about.settings));
            lines.push(format!("data, logs and status.json in {}", about.data.display()));
            lines.extend(about.ignored.iter().map(|line| format!("warning: {line}")));
        }
        let brokers: Vec<_> =
            (0..now.processes.len()).map(|id| (now.processes[id].pid, now.condition(id))).collect();
        for (id, state) in brokers.iter().enumerate() {
            if self.brokers.get(id) != Some(state) {
                let pid = state.0.map_or_else(String::new, |pid| format!(" (process {pid})"));
                let ended = now.processes[id].last_end.as_ref();
                let why = ended.filter(|_| state.1 == Condition::Down);
                let why = why.map_or_else(String::new, |why| format!(", it ended with {why}"));
                lines.push(format!("broker {id}{pid}: {}{why}", state.1.word()));
            }
        }
        self.brokers = brokers;
        let problems = problems(now);
        let news = problems.iter().filter(|problem| !self.problems.contains(problem));
        lines.extend(news.cloned());
        self.problems = problems;
        if !self.ready && now.is_ready() {
            self.ready = true;
            lines.push(format!("ready: {}", about.bootstrap));
        }
        lines
    }
}

/// What keeps the cluster from doing what it was asked, and what it may have failed to do: a full
/// disk, replicas that failed, messages that may be lost, topics that can't be declared.
pub(crate) fn problems(now: &Now) -> Vec<String> {
    let mut problems = Vec::new();
    if now.disk_free.is_some_and(|free| free < RESERVE_BYTES) {
        let (data, reserve) = (now.about.data.display(), RESERVE_BYTES >> 20);
        problems.push(format!(
            "the disk of {data} is full: brokers take no messages while less than {reserve} MiB are free"
        ));
    }
    for broker in &now.snapshot.status.brokers {
        if let Some(failure) = &broker.failure {
            problems.push(format!("broker {} can't lead: {failure}", broker.id));
        }
    }
    for shard in &now.snapshot.status.shards {
        let lost = shard.record.as_ref().and_then(|record| record.possible_loss());
        if let Some((epoch, loss)) = lost {
            problems.push(format!(
                "shard {}: messages may be lost since the unclean election of epoch {epoch}: \
                 positions {} to {}, and what was committed after that was told",
                shard.id, loss.from, loss.to
            ));
        }
    }
    let topics = now.snapshot.topics.iter();
    let refused = topics.filter_map(|topic| Some((&topic.name, topic.problem.as_ref()?)));
    problems.extend(
        refused.map(|(name, problem)| format!("topic {name} can't be declared: {problem}")),
    );
    problems
}
