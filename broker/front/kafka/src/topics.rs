//! Topics as clients declare and change them.

use std::future::Future;
use std::time::Duration;

use holdfast_protocol::topic::{Catalog, Declarer, Topic, TopicConfig};
use holdfast_service::{CatalogError, ClusterView, Service};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::protocol::StrBytes;

use crate::context::{Context, wire_id};
use crate::errors;

/// The longest that a change may take, whatever the client allows.
const PATIENCE_MAX: Duration = Duration::from_secs(120);

/// The shortest: with a timeout of 0 or less a client that is content with less than a commit
/// would be told of a failure that is none.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// Why a topic is not made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn text(&self) -> StrBytes {
        StrBytes::from_string(self.message.clone())
    }
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        Self::new(errors::catalog(&error), error.to_string())
    }
}

/// A new topic, declared by a client.
pub(crate) fn new<S: Service>(
    service: &S,
    name: &str,
    partitions: u32,
    config: TopicConfig,
) -> Topic {
    Topic {
        id: service.new_topic_id(),
        name: name.to_owned(),
        partitions,
        config,
        declared_by: Declarer::Client,
    }
}

/// Whether the policy lets clients declare topics.
pub(crate) fn may_declare(cluster: &ClusterView) -> Result<(), Refusal> {
    if cluster.clients_may_declare_topics {
        return Ok(());
    }
    let message = "the policy does not let clients declare topics; declare it in YAML";
    Err(Refusal::new(Code::PolicyViolation, message))
}

/// Whether clients may declare one more topic.
pub(crate) fn may_add(cluster: &ClusterView, catalog: &Catalog) -> Result<(), Refusal> {
    may_declare(cluster)?;
    let made = catalog.topics().filter(|topic| topic.declared_by == Declarer::Client).count();
    let most = cluster.client_topics_max;
    if made < most as usize {
        return Ok(());
    }
    let message = format!(
        "clients have made {made} topics, and the policy allows {most}: delete some, or raise \
         spec.clientDeclared.maxTopics"
    );
    Err(Refusal::new(Code::PolicyViolation, message))
}

/// What a topic is that a client says nothing more of.
pub(crate) fn defaults(cluster: &ClusterView) -> TopicConfig {
    TopicConfig { retention_ms: cluster.client_topic_retention_ms, ..TopicConfig::default() }
}

/// Whether clients may change or delete this topic: what YAML declares, YAML changes.
pub(crate) fn may_change(cluster: &ClusterView, topic: &Topic) -> Result<(), Refusal> {
    may_declare(cluster)?;
    match topic.declared_by {
        Declarer::Client => Ok(()),
        Declarer::Yaml => Err(Refusal::new(
            Code::PolicyViolation,
            "the topic is declared in YAML; change it there",
        )),
    }
}

/// How long a change is waited for, where the client allows `timeout_ms`.
pub(crate) fn patience(timeout_ms: i32) -> Duration {
    let allowed = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    allowed.clamp(PATIENCE_MIN, PATIENCE_MAX)
}

/// Waits for a change of the catalog, for as long as the client allows.
pub(crate) async fn within(
    timeout_ms: i32,
    change: impl Future<Output = Result<(), CatalogError>>,
) -> Result<(), Refusal> {
    match tokio::time::timeout(patience(timeout_ms), change).await {
        Ok(changed) => Ok(changed?),
        Err(_) => Err(Refusal::new(
            Code::RequestTimedOut,
            "the change was not committed in time; it may yet be",
        )),
    }
}

/// How many replicas every topic has.
pub(crate) fn replicas(cluster: &ClusterView) -> usize {
    let shard = cluster.shards.first();
    shard.map_or(0, |shard| shard.replicas.len())
}

/// The broker that clients are told to send changes to. Any broker takes them; the leader of
/// the catalog saves a hop.
pub(crate) fn controller<S: Service>(context: &Context<S>, cluster: &ClusterView) -> i32 {
    let reachable = |broker: &i32| context.endpoint(cluster, *broker).is_some();
    cluster
        .controller()
        .map(|broker| wire_id(broker.0))
        .filter(reachable)
        .unwrap_or_else(|| context.broker())
}
