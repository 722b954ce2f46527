//! Asks brokers now and then what their streams hold, for people. Nothing is decided from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_operator_core::{BrokerState, ShardCondition, Status};
use holdfast_protocol::control::{DescribeAnswer, DescribeRequest, GroupLag};
use holdfast_protocol::placement::shard_of_stream;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::{BrokerId, StreamId};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::catalog;
use crate::client::{Client, dial};
use crate::contact::Contacts;
use crate::settings::Settings;
use crate::snapshot::{Declared, PartitionView, Snapshot, TopicView};

/// Time between two questions to a broker.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The longest that an answer may take.
const ASK_MAX: Duration = Duration::from_secs(1);

/// What the brokers told last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    topics: Vec<Topic>,
    spans: BTreeMap<(BrokerId, StreamId), Span>,
    /// By broker: what the groups that it coordinates have read.
    groups: BTreeMap<BrokerId, Vec<GroupLag>>,
}

/// What a leader holds of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Span {
    start: u64,
    end: u64,
    bytes: u64,
}

/// Asks brokers what they hold.
pub(crate) struct Observer {
    settings: Arc<Settings>,
    status: watch::Receiver<Status>,
    told: watch::Sender<Told>,
    clients: BTreeMap<BrokerId, Client>,
}

impl Observer {
    pub(crate) fn new(
        settings: Arc<Settings>,
        status: watch::Receiver<Status>,
        told: watch::Sender<Told>,
    ) -> Self {
        Self { settings, status, told, clients: BTreeMap::new() }
    }

    /// Runs until nobody wants to know any more.
    pub(crate) async fn run(mut self) {
        let mut due = interval(ASK_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.told.is_closed() {
            due.tick().await;
            let (live, catalog) = {
                let status = self.status.borrow();
                let live = status.brokers.iter().filter(|b| b.state == BrokerState::Live);
                let live: Vec<BrokerId> = live.map(|broker| broker.id).collect();
                (live, catalog::leader(&status))
            };
            // Another broker coordinates the groups of one that is gone.
            self.told.send_if_modified(|told| {
                let before = told.groups.len();
                told.groups.retain(|broker, _| live.contains(broker));
                told.groups.len() != before
            });
            for broker in live {
                match self.ask(broker).await {
                    Some(answer) => self.note(broker, answer, catalog == Some(broker)),
                    None => {
                        self.clients.remove(&broker);
                    }
                }
            }
        }
    }

    async fn ask(&mut self, broker: BrokerId) -> Option<DescribeAnswer> {
        if !self.clients.contains_key(&broker) {
            let mut addresses = self.settings.brokers.iter();
            let address = addresses.find(|address| address.id == broker)?;
            let client = dial(&self.settings, address, ASK_MAX).await.ok()?;
            self.clients.insert(broker, client);
        }
        let client = self.clients.get_mut(&broker)?;
        let answer = timeout(ASK_MAX, client.describe(DescribeRequest {})).await;
        Some(answer.ok()?.ok()?.into_inner())
    }

    fn note(&self, broker: BrokerId, answer: DescribeAnswer, catalog: bool) {
        self.told.send_modify(|told| {
            told.spans.retain(|(from, _), _| *from != broker);
            for stream in answer.streams {
                let Some(topic) = holdfast_protocol::TopicId::from_slice(&stream.topic) else {
                    continue;
                };
                let id = StreamId { topic, partition: stream.partition };
                let span = Span { start: stream.start, end: stream.end, bytes: stream.bytes };
                told.spans.insert((broker, id), span);
            }
            told.groups.insert(broker, answer.groups);
            if catalog {
                let topics = answer.topics.into_iter();
                told.topics = topics.filter_map(|topic| topic.try_into().ok()).collect();
                told.topics.sort_by(|a, b| a.name.cmp(&b.name));
            }
        });
    }
}

/// Puts together what the planner, the declarer and the brokers say.
pub(crate) fn compose(
    status: &Status,
    declared: &[Declared],
    told: &Told,
    contacts: &Contacts,
) -> Snapshot {
    let wanted = declared.iter().filter_map(|declared| {
        let topic: Topic = declared.topic.clone().try_into().ok()?;
        Some(TopicView {
            wanted: true,
            declared: declared.done,
            problem: declared.problem.clone(),
            ..view(&topic, status, told)
        })
    });
    let mut topics: Vec<TopicView> = wanted.collect();
    for topic in &told.topics {
        if !topics.iter().any(|wanted| wanted.name == topic.name) {
            topics.push(view(topic, status, told));
        }
    }
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Snapshot { status: status.clone(), topics, contacts: contacts.clone() }
}

fn view(topic: &Topic, status: &Status, told: &Told) -> TopicView {
    let shards = u32::try_from(status.shards.len()).unwrap_or(u32::MAX);
    let mut bytes = 0;
    let streams = (0..topic.partitions).filter_map(|partition| topic.stream(partition));
    let partitions = streams.map(|stream| {
        let shard = shard_of_stream(stream, shards);
        let known = status.shards.get(shard.0 as usize);
        let record = known.and_then(|known| known.record.as_ref());
        // The record goes on naming a leader that is gone where nobody may be elected.
        let led = known.filter(|known| known.condition != ShardCondition::Leaderless);
        let leader = led.and_then(|known| known.record.as_ref()?.leader).map(|l| l.broker);
        let span = leader.and_then(|leader| told.spans.get(&(leader, stream)));
        let span = span.copied().unwrap_or_default();
        bytes += span.bytes;
        PartitionView {
            partition: stream.partition,
            shard,
            leader,
            epoch: record.map(|record| record.epoch).unwrap_or_default(),
            isr: record.map_or_else(Vec::new, |r| r.isr.iter().map(|m| m.broker).collect()),
            start: span.start,
            end: span.end,
            possible_loss: record.and_then(|record| record.possible_loss()),
        }
    });
    let partitions: Vec<PartitionView> = partitions.collect();
    TopicView {
        id: topic.id,
        name: topic.name.clone(),
        wanted: false,
        declared: true,
        problem: None,
        lag: lag(topic, &partitions, told),
        partitions,
        bytes,
    }
}

/// By group, how far it is behind the end of the partitions that it reads.
fn lag(topic: &Topic, partitions: &[PartitionView], told: &Told) -> BTreeMap<String, u64> {
    let mut lag: BTreeMap<String, u64> = BTreeMap::new();
    for group in told.groups.values().flatten().filter(|group| group.topic[..] == topic.id.0) {
        let partition = partitions.iter().find(|p| p.partition == group.partition);
        let behind = partition.map_or(0, |p| p.end.saturating_sub(group.offset.max(p.start)));
        *lag.entry(group.group.clone()).or_default() += behind;
    }
    lag
}
