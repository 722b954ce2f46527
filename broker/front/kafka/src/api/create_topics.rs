//! `CreateTopics`: declares topics.
//!
//! Where replicas go is the policy's: an assignment is checked for being one, gives the number
//! of partitions, and is not followed.

use std::collections::HashMap;
use std::sync::Arc;

use holdfast_protocol::topic::{Topic, TopicConfig, is_valid_name};
use holdfast_service::{ClusterView, Service};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use crate::config::topic::{Change, change, describe};
use crate::context::{wire_id, wire_topic_id};
use crate::topics::{self, Refusal};

/// First version that tells what was made.
const RESULTS: i16 = 5;
/// First version with topic ids.
const TOPIC_IDS: i16 = 7;
/// "As the policy has it", for the number of partitions and of replicas.
const DEFAULT: i32 = -1;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let cluster = call.context().service.cluster();
    let mut names: HashMap<TopicName, usize> = HashMap::new();
    for topic in &request.topics {
        *names.entry(topic.name.clone()).or_default() += 1;
    }
    let mut answer = CreateTopicsResponse::default();
    for asked in request.topics {
        let create = Create {
            call: &call,
            cluster: &cluster,
            repeated: names.get(&asked.name).is_some_and(|count| *count > 1),
            timeout_ms: request.timeout_ms,
            validate_only: request.validate_only,
        };
        let created = create.topic(&asked).await;
        let result = CreatableTopicResult::default().with_name(asked.name);
        answer.topics.push(match created {
            Ok(topic) => made(result, &topic, &cluster, call.version()),
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(refusal.text()))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        });
    }
    answer
}

struct Create<'a, S> {
    call: &'a Call<S>,
    cluster: &'a ClusterView,
    repeated: bool,
    timeout_ms: i32,
    validate_only: bool,
}

impl<S: Service> Create<'_, S> {
    async fn topic(&self, asked: &CreatableTopic) -> Result<Topic, Refusal> {
        let service = &self.call.context().service;
        self.check_name(&asked.name)?;
        let partitions = self.partitions(asked)?;
        let config = config(&asked.configs, self.cluster)?;
        let topic = topics::new(service, &asked.name, partitions, config);
        if !self.validate_only {
            topics::within(self.timeout_ms, service.declare_topic(topic.clone())).await?;
            let peer = self.call.client.peer;
            tracing::info!(topic = topic.name, partitions, %peer, "a client declared a topic");
        }
        Ok(topic)
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        if self.repeated {
            let message = "the request names the topic more than once";
            return Err(Refusal::new(Code::InvalidRequest, message));
        }
        if !is_valid_name(name) {
            let message = "a name has 1 to 249 of a-z, A-Z, 0-9, `.`, `_`, `-`";
            return Err(Refusal::new(Code::InvalidTopicException, message));
        }
        if self.call.context().service.catalog().by_name(name).is_some() {
            let message = format!("topic '{name}' already exists");
            return Err(Refusal::new(Code::TopicAlreadyExists, message));
        }
        topics::may_add(self.cluster, &self.call.context().service.catalog())
    }

    /// How many partitions the topic is to have.
    fn partitions(&self, asked: &CreatableTopic) -> Result<u32, Refusal> {
        let replication = i32::from(asked.replication_factor);
        if !asked.assignments.is_empty() {
            if asked.num_partitions != DEFAULT || replication != DEFAULT {
                let message = "give either numbers or an assignment, not both";
                return Err(Refusal::new(Code::InvalidRequest, message));
            }
            return self.assigned(asked);
        }
        let replicas = topics::replicas(self.cluster);
        let fits = usize::try_from(replication).is_ok_and(|asked| (1..=replicas).contains(&asked));
        if replication != DEFAULT && !fits {
            let message =
                format!("the policy keeps {replicas} replicas of every topic; use 1 to {replicas}");
            return Err(Refusal::new(Code::InvalidReplicationFactor, message));
        }
        match asked.num_partitions {
            DEFAULT => Ok(self.cluster.client_topic_partitions.max(1)),
            count => partitions(count, self.cluster),
        }
    }

    /// How many partitions an assignment has.
    fn assigned(&self, asked: &CreatableTopic) -> Result<u32, Refusal> {
        let refuse = |message| Refusal::new(Code::InvalidReplicaAssignment, message);
        let replicas = topics::replicas(self.cluster);
        let mut indexes: Vec<i32> = Vec::with_capacity(asked.assignments.len());
        for assignment in &asked.assignments {
            indexes.push(assignment.partition_index);
            let mut brokers: Vec<i32> = assignment.broker_ids.iter().map(|id| id.0).collect();
            brokers.sort_unstable();
            brokers.dedup();
            if brokers.len() != assignment.broker_ids.len() || brokers.is_empty() {
                return Err(refuse("every partition needs distinct brokers"));
            }
            if brokers.len() > replicas {
                return Err(refuse("more replicas are asked for than the policy keeps"));
            }
            let known = |id: &i32| self.call.context().endpoint(self.cluster, *id).is_some();
            if !brokers.iter().all(known) {
                return Err(refuse("a broker is named that is not there"));
            }
        }
        indexes.sort_unstable();
        if indexes.iter().zip(0..).any(|(index, expected)| *index != expected) {
            return Err(refuse("the partitions have to be numbered from 0, without gaps"));
        }
        partitions(wire_id(u32::try_from(indexes.len()).unwrap_or(u32::MAX)), self.cluster)
    }
}

/// A number of partitions that a client may ask for.
pub(super) fn partitions(count: i32, cluster: &ClusterView) -> Result<u32, Refusal> {
    let most = cluster.client_topic_partitions_max.min(Topic::PARTITIONS_MAX);
    u32::try_from(count).ok().filter(|count| (1..=most).contains(count)).ok_or_else(|| {
        let message = format!("{count} partitions can't be; use 1 to {most}");
        Refusal::new(Code::InvalidPartitions, message)
    })
}

fn config(asked: &[CreatableTopicConfig], cluster: &ClusterView) -> Result<TopicConfig, Refusal> {
    let mut config = topics::defaults(cluster);
    for entry in asked {
        let refuse = |message| Refusal::new(Code::InvalidConfig, message);
        let null = || refuse(format!("null value not supported for {}", &*entry.name));
        let value = entry.value.as_deref().ok_or_else(null)?;
        change(&mut config, cluster, &entry.name, Change::Set(value))
            .map_err(|error| refuse(error.to_string()))?;
    }
    Ok(config)
}

fn made(
    mut result: CreatableTopicResult,
    topic: &Topic,
    cluster: &ClusterView,
    version: i16,
) -> CreatableTopicResult {
    if version >= TOPIC_IDS {
        result.topic_id = wire_topic_id(topic.id);
    }
    if version >= RESULTS {
        result.num_partitions = wire_id(topic.partitions);
        result.replication_factor = i16::try_from(topics::replicas(cluster)).unwrap_or(i16::MAX);
        let configs = describe(&topic.config, cluster).into_iter().map(|entry| {
            CreatableTopicConfigs::default()
                .with_name(StrBytes::from_static_str(entry.name))
                .with_value(Some(StrBytes::from_string(entry.value)))
                .with_config_source(entry.source as i8)
        });
        result.configs = Some(configs.collect());
    }
    result
}
