//! Declares topics on the leader of shard 0, again and again until each is committed.

use std::sync::Arc;
use std::time::Duration;

use holdfast_operator_core::{ShardCondition, Status};
use holdfast_protocol::control::{DeclareTopicRequest, DescribeRequest, Outcome};
use holdfast_protocol::{BrokerId, ShardId, command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::client::{Client, chain, dial};
use crate::settings::Settings;
use crate::snapshot::Declared;

/// Time between two rounds while some topic is not declared.
const RETRY: Duration = Duration::from_millis(100);
/// Time between two rounds while all that is left was refused.
const RETRY_REFUSED: Duration = Duration::from_secs(5);
/// The longest that one declaration may take to be committed.
const DECLARE_MAX: Duration = Duration::from_secs(10);
/// The longest that a dial may take.
const DIAL_MAX: Duration = Duration::from_secs(1);

/// Declares what is wanted, and says how far it got.
pub(crate) struct Declarer {
    settings: Arc<Settings>,
    status: watch::Receiver<Status>,
    declared: watch::Sender<Vec<Declared>>,
    client: Option<(BrokerId, Client)>,
}

/// What became of one declaration.
enum Attempt {
    Done,
    Refused(String),
    Again(String),
}

impl Declarer {
    pub(crate) fn new(
        settings: Arc<Settings>,
        status: watch::Receiver<Status>,
        declared: watch::Sender<Vec<Declared>>,
    ) -> Self {
        Self { settings, status, declared, client: None }
    }

    /// Runs until all is declared.
    pub(crate) async fn run(mut self) {
        let mut told = String::new();
        loop {
            let topics = self.declared.borrow().clone();
            let left: Vec<usize> = (0..topics.len()).filter(|i| !topics[*i].done).collect();
            if left.is_empty() {
                return;
            }
            let mut refused = 0;
            for index in left.iter().copied() {
                match self.declare(&topics[index].topic).await {
                    Attempt::Done => self.note(index, None),
                    Attempt::Refused(reason) => {
                        refused += 1;
                        self.take_over(index, reason).await;
                    }
                    Attempt::Again(reason) => {
                        if reason != told {
                            info!(topic = topics[index].topic.name, "not declared yet: {reason}");
                            told = reason;
                        }
                        self.client = None;
                        break;
                    }
                }
            }
            let pause = if refused == left.len() { RETRY_REFUSED } else { RETRY };
            sleep(pause).await;
        }
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

    async fn declare(&mut self, topic: &command::Topic) -> Attempt {
        let mut client = match self.leader().await {
            Ok(client) => client,
            Err(reason) => return Attempt::Again(reason),
        };
        let request = DeclareTopicRequest { topic: Some(topic.clone()) };
        let answer = match timeout(DECLARE_MAX, client.declare_topic(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return Attempt::Again(chain(&status)),
            Err(_) => return Attempt::Again("no answer in time".to_owned()),
        };
        match answer.outcome() {
            Outcome::Done => Attempt::Done,
            Outcome::Conflict => Attempt::Refused(answer.message),
            Outcome::NotLeader => Attempt::Again("the leader of shard 0 moved".to_owned()),
            Outcome::Unknown => Attempt::Again(answer.message),
        }
    }

    /// A topic of that name is there under another id, made by a client or declared before the
    /// record of its id was lost: the next declaration is of that one.
    async fn take_over(&mut self, index: usize, reason: String) {
        let wanted = self.declared.borrow().get(index).map(|d| d.topic.clone());
        let found = match (self.leader().await, wanted) {
            (Ok(mut client), Some(wanted)) => {
                let answer = timeout(DECLARE_MAX, client.describe(DescribeRequest {})).await;
                let topics = answer.map(|answer| answer.map(|a| a.into_inner().topics));
                let topics = topics.ok().and_then(Result::ok).unwrap_or_default();
                let same = |t: &command::Topic| t.name == wanted.name && t.id != wanted.id;
                topics.into_iter().find(same)
            }
            _ => None,
        };
        match found {
            Some(found) => self.declared.send_modify(|all| {
                if let Some(declared) = all.get_mut(index) {
                    info!(topic = found.name, "is there already: taken over");
                    declared.topic.id = found.id;
                }
            }),
            None => self.note(index, Some(reason)),
        }
    }

    /// A client of the broker that leads shard 0.
    async fn leader(&mut self) -> Result<Client, String> {
        let leader = catalog_leader(&self.status.borrow());
        let leader = leader.ok_or_else(|| "shard 0 has no leader".to_owned())?;
        if let Some((broker, client)) = &self.client
            && *broker == leader
        {
            return Ok(client.clone());
        }
        let mut addresses = self.settings.brokers.iter();
        let address = addresses
            .find(|address| address.id == leader)
            .ok_or_else(|| format!("broker {leader} has no address"))?;
        let client = dial(&address.peer, DIAL_MAX).await.map_err(|error| error.to_string())?;
        self.client = Some((leader, client.clone()));
        Ok(client)
    }
}

/// Who serves shard 0, where the catalog is.
pub(crate) fn catalog_leader(status: &Status) -> Option<BrokerId> {
    let shard = status.shards.iter().find(|shard| shard.id == ShardId(0))?;
    let serves = shard.condition == ShardCondition::Serving;
    let leader = shard.record.as_ref()?.leader?;
    serves.then_some(leader.broker)
}
