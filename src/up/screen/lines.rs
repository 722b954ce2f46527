//! The state as lines: one for whatever changed.

use crate::up::state::{Condition, Now};

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
            lines.extend(queues(about.queues));
        }
        let brokers: Vec<_> =
            (0..now.processes.len()).map(|id| (now.processes[id].pid, now.condition(id))).collect();
        for (id, state) in brokers.iter().enumerate() {
            if self.brokers.get(id) != Some(state) {
                let pid = state.0.map_or_else(String::new, |pid| format!(" (process {pid})"));
                lines.push(format!("broker {id}{pid}: {}", state.1.word()));
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

/// What to say about queues in the YAML.
pub(crate) fn queues(count: usize) -> Option<String> {
    let text = "Queues are not served by this version: those in the YAML are left out";
    (count > 0).then(|| text.to_owned())
}

/// Topics that can't be declared.
pub(crate) fn problems(now: &Now) -> Vec<String> {
    let topics = now.snapshot.topics.iter();
    let refused = topics.filter_map(|topic| Some((&topic.name, topic.problem.as_ref()?)));
    refused.map(|(name, problem)| format!("topic {name} can't be declared: {problem}")).collect()
}
