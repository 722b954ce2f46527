//! The catalog of topics, as the leader of shard 0 has it: declared, deleted and looked up there.

use std::sync::Arc;
use std::time::Duration;

use holdfast_operator_core::{ShardCondition, Status};
use holdfast_protocol::control::{
    DeclareTopicRequest, DeleteTopicRequest, DescribeRequest, Outcome,
};
use holdfast_protocol::{BrokerId, ShardId, TopicId, command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::{Client, chain, dial};
use crate::settings::Settings;

/// The longest that one change may take to be committed.
const CHANGE_MAX: Duration = Duration::from_secs(10);
/// The longest that a dial may take.
const DIAL_MAX: Duration = Duration::from_secs(1);

/// What became of a change.
pub(crate) enum Attempt {
    /// It is committed.
    Done,
    /// It can't be made.
    Refused(String),
    /// Nobody could be asked, or what became of it is unknown.
    Again(String),
}

/// A client of whoever leads shard 0.
pub(crate) struct Catalog {
    settings: Arc<Settings>,
    status: watch::Receiver<Status>,
    client: Option<(BrokerId, Client)>,
}

impl Catalog {
    pub(crate) fn new(settings: Arc<Settings>, status: watch::Receiver<Status>) -> Self {
        Self { settings, status, client: None }
    }

    /// Declares `topic`.
    pub(crate) async fn declare(&mut self, topic: &command::Topic) -> Attempt {
        let mut client = match self.leader().await {
            Ok(client) => client,
            Err(reason) => return Attempt::Again(reason),
        };
        let request = DeclareTopicRequest { topic: Some(topic.clone()) };
        let answer = match timeout(CHANGE_MAX, client.declare_topic(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return self.failed(chain(&status)),
            Err(_) => return self.failed("no answer in time".to_owned()),
        };
        self.attempt(answer.outcome(), answer.message)
    }

    /// Deletes the topic with this name, for good. Done where there is none.
    pub(crate) async fn delete(&mut self, name: &str) -> Attempt {
        let topics = match self.topics().await {
            Ok(topics) => topics,
            Err(reason) => return self.failed(reason),
        };
        let Some(topic) = topics.into_iter().find(|topic| topic.name == name) else {
            return Attempt::Done;
        };
        let mut client = match self.leader().await {
            Ok(client) => client,
            Err(reason) => return Attempt::Again(reason),
        };
        let request = DeleteTopicRequest { id: topic.id };
        let answer = match timeout(CHANGE_MAX, client.delete_topic(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return self.failed(chain(&status)),
            Err(_) => return self.failed("no answer in time".to_owned()),
        };
        self.attempt(answer.outcome(), answer.message)
    }

    /// The id of the topic with this name.
    pub(crate) async fn find(&mut self, name: &str) -> Option<TopicId> {
        let topics = self.topics().await.ok()?;
        let found = topics.into_iter().find(|topic| topic.name == name)?;
        TopicId::from_slice(&found.id)
    }

    async fn topics(&mut self) -> Result<Vec<command::Topic>, String> {
        let mut client = self.leader().await?;
        match timeout(CHANGE_MAX, client.describe(DescribeRequest {})).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().topics),
            Ok(Err(status)) => Err(chain(&status)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    fn attempt(&mut self, outcome: Outcome, message: String) -> Attempt {
        match outcome {
            Outcome::Done => Attempt::Done,
            Outcome::Conflict => Attempt::Refused(message),
            Outcome::NotLeader => self.failed("the leader of shard 0 moved".to_owned()),
            Outcome::Unknown => self.failed(message),
        }
    }

    /// The connection is not used again.
    fn failed(&mut self, reason: String) -> Attempt {
        self.client = None;
        Attempt::Again(reason)
    }

    /// A client of the broker that leads shard 0.
    async fn leader(&mut self) -> Result<Client, String> {
        let leader = leader(&self.status.borrow());
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
        let client =
            dial(&self.settings, address, DIAL_MAX).await.map_err(|error| error.to_string())?;
        self.client = Some((leader, client.clone()));
        Ok(client)
    }
}

/// Who serves shard 0, where the catalog is.
pub(crate) fn leader(status: &Status) -> Option<BrokerId> {
    let shard = status.shards.iter().find(|shard| shard.id == ShardId(0))?;
    let serves = shard.condition == ShardCondition::Serving;
    let leader = shard.record.as_ref()?.leader?;
    serves.then_some(leader.broker)
}
