//! The state as a table that fits the terminal.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_operator::TopicView;
use holdfast_operator_core::{Event, ShardCondition, ShardStatus};
use holdfast_protocol::BrokerId;

use super::lines::problems;
use crate::up::state::Now;

/// Moves of leadership that are shown.
const MOVES_MAX: usize = 5;
/// Rows that topics have before old moves of leadership do.
const TOPIC_ROWS_MIN: usize = 5;
/// Columns between two shards in one line.
const GAP: &str = "   ";

/// The newest moves of leadership and other news, with the time of day (UTC).
#[derive(Default)]
pub(crate) struct Moves(VecDeque<String>);

impl Moves {
    /// Notes an event, if it is of those that are shown.
    pub(crate) fn note(&mut self, event: &Event) {
        let shown = match event {
            Event::FailoverCompleted(_)
            | Event::BrokerLost { .. }
            | Event::BrokerStopped { .. }
            | Event::Leaderless { .. }
            | Event::Resigned { .. }
            | Event::PossibleLoss { .. }
            | Event::VolumeRolledBack { .. }
            | Event::Frozen { .. } => true,
            Event::LeaderElected { .. }
            | Event::BrokerBack { .. }
            | Event::ReplicasMoving { .. }
            | Event::ReplicasMoved { .. }
            | Event::IsrShrunk { .. }
            | Event::IsrExpanded { .. }
            | Event::Adopted { .. } => false,
        };
        if shown {
            if self.0.len() == MOVES_MAX {
                self.0.pop_front();
            }
            self.0.push_back(format!("{}  {event}", time_of_day()));
        }
    }
}

fn time_of_day() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{:02}:{:02}:{:02}Z", now / 3600 % 24, now / 60 % 60, now % 60)
}

/// The table, at most `columns` wide and `rows` high.
pub(crate) fn render(now: &Now, moves: &Moves, columns: usize, rows: usize) -> String {
    let top = [head(now), brokers(now), shards(now, columns)].concat();
    // Where rows are few, old moves give way to topics, whose short form has two lines more.
    let wanted = top.len() + (now.snapshot.topics.len() + 2).min(TOPIC_ROWS_MIN);
    let room = rows.saturating_sub(wanted + foot(now, &[]).len() + 2);
    let skip = moves.0.len().saturating_sub(room.max(1));
    let latest: Vec<String> = moves.0.iter().skip(skip).cloned().collect();
    let bottom = foot(now, &latest);
    let left = rows.saturating_sub(top.len() + bottom.len());
    let mut lines = top;
    lines.extend(topics(now, left));
    lines.extend(bottom);
    lines.truncate(rows);
    let cut = |line: String| line.chars().take(columns).collect::<String>();
    let lines: Vec<String> = lines.into_iter().map(cut).collect();
    lines.join("\n")
}

fn head(now: &Now) -> Vec<String> {
    let about = &now.about;
    let state = if now.is_ready() {
        "ready"
    } else if now.snapshot.is_ready() {
        "every shard is served, not every broker is ready"
    } else {
        "not ready"
    };
    let mut lines = vec![
        format!("holdfast: policy {}: {state}", about.policy),
        about.settings.clone(),
        format!("connect Kafka clients to {}", about.bootstrap),
        String::new(),
    ];
    lines.extend(about.ignored.iter().map(|line| format!("warning: {line}")));
    lines
}

fn brokers(now: &Now) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<7} {:<16} {:<9} {:>8} {:>6} {:>9}  SAFE TO RESTART",
        "BROKER", "ADDRESS", "STATE", "PROCESS", "LEADS", "RESTARTS"
    )];
    for (id, process) in now.processes.iter().enumerate() {
        let status = now.snapshot.status.brokers.get(id);
        let safe = status.is_some_and(|status| status.safe_to_restart);
        let failure = status.and_then(|status| status.failure.as_deref());
        lines.push(format!(
            "{id:<7} {:<16} {:<9} {:>8} {:>6} {:>9}  {}{}",
            now.about.kafka.get(id).map_or("", String::as_str),
            now.condition(id).word(),
            process.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            status.map_or(0, |status| status.leads),
            process.restarts,
            if safe { "yes" } else { "no" },
            failure.map_or_else(String::new, |failure| format!(", {failure}")),
        ));
    }
    lines.push(String::new());
    lines
}

fn ids(brokers: impl Iterator<Item = BrokerId>) -> String {
    brokers.map(|broker| broker.to_string()).collect::<Vec<_>>().join(",")
}

/// The columns of a shard; two of them side by side fit a terminal of 80 columns.
fn cell(id: &str, leader: &str, epoch: &str, isr: &str, committed: &str) -> String {
    format!("{id:<5} {leader:<7} {epoch:>5}  {isr:<7} {committed:>9}")
}

fn shard(status: &ShardStatus) -> String {
    let record = status.record.as_ref();
    let named = record.and_then(|record| record.leader);
    let named = named.map_or_else(|| "none".to_owned(), |leader| leader.broker.to_string());
    let leader = match status.condition {
        ShardCondition::Serving => named,
        ShardCondition::Electing => format!("({named})"),
        ShardCondition::Leaderless => "none".to_owned(),
        ShardCondition::Unassigned => "-".to_owned(),
        ShardCondition::Frozen => "frozen".to_owned(),
    };
    let epoch = record.map_or(0, |record| record.epoch.0).to_string();
    let isr = record.map_or_else(String::new, |r| ids(r.isr.iter().map(|member| member.broker)));
    cell(&status.id.to_string(), &leader, &epoch, &isr, &status.committed.to_string())
}

/// Shards, in as many columns as there is room for.
fn shards(now: &Now, columns: usize) -> Vec<String> {
    let title = cell("SHARD", "LEADER", "EPOCH", "ISR", "COMMITTED");
    let cells: Vec<String> = now.snapshot.status.shards.iter().map(shard).collect();
    let width = cells.iter().map(String::len).max().unwrap_or(0).max(title.len());
    let across = ((columns + GAP.len()) / (width + GAP.len())).max(1);
    let down = cells.len().div_ceil(across);
    let row = |cells: Vec<String>| cells.join(GAP).trim_end().to_owned();
    let pad = |text: &String| format!("{text:<width$}");
    let titles = cells.len().min(across);
    let mut lines = vec![row(vec![pad(&title); titles])];
    for first in 0..down {
        lines.push(row(cells.iter().skip(first).step_by(down.max(1)).map(pad).collect()));
    }
    lines.push(String::new());
    lines
}

/// Topics, with their partitions as far as there is room.
fn topics(now: &Now, rows: usize) -> Vec<String> {
    let topics = &now.snapshot.topics;
    let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    if partitions + 2 <= rows {
        let mut lines = vec![format!(
            "{:<24} {:>9} {:>6} {:>7}  {:<9} {:>10} {:>10}",
            "TOPIC", "PARTITION", "SHARD", "LEADER", "ISR", "START", "END"
        )];
        lines.extend(topics.iter().flat_map(in_full));
        lines.push(String::new());
        return lines;
    }
    let mut lines = vec![format!("{:<24} {:>10} {:>12}", "TOPIC", "PARTITIONS", "MESSAGES")];
    lines.extend(topics.iter().map(in_short).take(rows.saturating_sub(2)));
    lines.push(String::new());
    lines
}

fn in_full(topic: &TopicView) -> Vec<String> {
    let line = |partition: &holdfast_operator::PartitionView| {
        format!(
            "{:<24} {:>9} {:>6} {:>7}  {:<9} {:>10} {:>10}",
            topic.name,
            partition.partition,
            partition.shard,
            partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            ids(partition.isr.iter().copied()),
            partition.start,
            partition.end
        )
    };
    topic.partitions.iter().map(line).collect()
}

fn in_short(topic: &TopicView) -> String {
    let count = |p: &holdfast_operator::PartitionView| p.end.saturating_sub(p.start);
    let messages: u64 = topic.partitions.iter().map(count).sum();
    format!("{:<24} {:>10} {messages:>12}", topic.name, topic.partitions.len())
}

fn foot(now: &Now, moves: &[String]) -> Vec<String> {
    let mut lines = problems(now);
    if !moves.is_empty() {
        lines.push("LATELY".to_owned());
        lines.extend(moves.iter().cloned());
        lines.push(String::new());
    }
    let data = now.about.data.display();
    lines.push(format!("data, logs and status.json in {data}; Ctrl-C stops everything in order"));
    lines
}
