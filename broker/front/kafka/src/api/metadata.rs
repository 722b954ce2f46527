//! `Metadata`: brokers, topics, and who leads their partitions.

use std::sync::Arc;

use holdfast_protocol::TopicId;
use holdfast_protocol::topic::{Catalog, Topic, is_valid_name};
use holdfast_service::{CatalogError, ClusterView, Service};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId as WireBroker, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::Call;
use super::leaders::Leaders;
use crate::context::{Endpoint, wire_topic_id};
use crate::{authorized, errors, topics};

/// First version in which a client says whether topics may be made.
const MAY_CREATE: i16 = 4;
/// First version with the epochs of leaders.
const EPOCHS: i16 = 7;
/// Versions that tell what the client may do.
const TOPIC_OPERATIONS: i16 = 8;
/// First version with topic ids.
const TOPIC_IDS: i16 = 10;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: MetadataRequest,
) -> MetadataResponse {
    let context = call.context();
    let cluster = context.service.cluster();
    let endpoints = context.endpoints(&cluster);
    let view = View {
        call: &call,
        cluster: &cluster,
        leaders: Leaders::new(context, &cluster),
        tells_operations: request.include_topic_authorized_operations,
    };
    let may_create = call.version() < MAY_CREATE || request.allow_auto_topic_creation;
    let mut answer = MetadataResponse::default()
        .with_cluster_id(Some(StrBytes::from_string(cluster.cluster_id.clone())))
        .with_controller_id(WireBroker(topics::controller(context, &cluster)))
        .with_brokers(endpoints.into_iter().map(broker).collect());
    answer.topics = view.topics(request.topics, may_create).await;
    if request.include_cluster_authorized_operations {
        answer.cluster_authorized_operations = authorized::CLUSTER;
    }
    answer
}

fn broker(endpoint: Endpoint) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(WireBroker(endpoint.broker))
        .with_host(endpoint.host)
        .with_port(endpoint.port)
}

fn knows(catalog: &Catalog, asked: &MetadataRequestTopic) -> bool {
    match &asked.name {
        Some(name) => catalog.by_name(name).is_some(),
        None => catalog.by_id(TopicId(asked.topic_id.into_bytes())).is_some(),
    }
}

struct View<'a, S> {
    call: &'a Call<S>,
    cluster: &'a ClusterView,
    leaders: Leaders<'a, S>,
    tells_operations: bool,
}

impl<S: Service> View<'_, S> {
    async fn topics(
        &self,
        asked: Option<Vec<MetadataRequestTopic>>,
        may_create: bool,
    ) -> Vec<MetadataResponseTopic> {
        let creates = may_create && self.cluster.topics_are_auto_created;
        let named = asked.as_deref().unwrap_or_default();
        // What is made anyway need not be waited for.
        let known = |catalog: &Catalog| creates || named.iter().all(|topic| knows(catalog, topic));
        let catalog = self.call.context().catalog_with(known).await;
        match asked {
            // Version 0 can't say null: an empty list asks for all.
            Some(asked) if !asked.is_empty() || self.call.version() > 0 => {
                let mut topics = Vec::with_capacity(asked.len());
                for topic in asked {
                    topics.push(self.asked(&catalog, topic, creates).await);
                }
                topics
            }
            None | Some(_) => {
                let mut topics: Vec<_> = catalog.topics().collect();
                topics.sort_by(|a, b| a.name.cmp(&b.name));
                topics.into_iter().map(|topic| self.found(topic)).collect()
            }
        }
    }

    async fn asked(
        &self,
        catalog: &Catalog,
        asked: MetadataRequestTopic,
        creates: bool,
    ) -> MetadataResponseTopic {
        let Some(name) = asked.name else {
            return match catalog.by_id(TopicId(asked.topic_id.into_bytes())) {
                Some(topic) => self.found(topic),
                None => missing(None, asked.topic_id, Code::UnknownTopicId),
            };
        };
        if let Some(topic) = catalog.by_name(&name) {
            return self.found(topic);
        }
        let code = if !is_valid_name(&name) {
            Code::InvalidTopicException
        } else if creates {
            match self.create(&name).await {
                Ok(topic) => return self.found(&topic),
                Err(code) => code,
            }
        } else {
            Code::UnknownTopicOrPartition
        };
        missing(Some(name), Uuid::nil(), code)
    }

    /// Makes a topic that a client asks for.
    async fn create(&self, name: &str) -> Result<Arc<Topic>, Code> {
        let service = &self.call.context().service;
        topics::may_add(self.cluster, &service.catalog()).map_err(|refusal| refusal.code)?;
        let partitions = self.cluster.client_topic_partitions.max(1);
        let topic = topics::new(service, name, partitions, topics::defaults(self.cluster));
        let id = topic.id;
        match service.declare_topic(topic).await {
            Ok(()) => {
                tracing::info!(topic = name, partitions, peer = %self.call.client.peer,
                    "a client's use declared a topic");
                service.catalog().by_id(id).cloned().ok_or(Code::LeaderNotAvailable)
            }
            // Another client was quicker.
            Err(CatalogError::NameTaken(_)) => {
                let known = |catalog: &Catalog| catalog.by_name(name).is_some();
                let catalog = self.call.context().catalog_with(known).await;
                catalog.by_name(name).cloned().ok_or(Code::LeaderNotAvailable)
            }
            Err(CatalogError::TooManyTopics(_)) => Err(Code::PolicyViolation),
            Err(error) => {
                tracing::warn!(topic = name, %error, code = ?errors::catalog(&error),
                    "a topic that a client uses can't be declared");
                Err(Code::LeaderNotAvailable)
            }
        }
    }

    fn found(&self, topic: &Topic) -> MetadataResponseTopic {
        let partitions = (0..topic.partitions).map(|index| self.partition(topic, index));
        let mut answer = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
            .with_partitions(partitions.collect());
        if self.call.version() >= TOPIC_IDS {
            answer.topic_id = wire_topic_id(topic.id);
        }
        if self.call.version() >= TOPIC_OPERATIONS && self.tells_operations {
            answer.topic_authorized_operations = authorized::TOPIC;
        }
        answer
    }

    fn partition(&self, topic: &Topic, index: u32) -> MetadataResponsePartition {
        let led = self.leaders.of(topic, index);
        let mut answer = MetadataResponsePartition::default()
            .with_error_code(led.error)
            .with_partition_index(led.index)
            .with_leader_id(led.leader)
            .with_replica_nodes(led.replicas)
            .with_isr_nodes(led.isr)
            .with_offline_replicas(led.offline);
        if self.call.version() >= EPOCHS {
            answer.leader_epoch = led.epoch;
        }
        answer
    }
}

fn missing(name: Option<TopicName>, id: Uuid, code: Code) -> MetadataResponseTopic {
    // Only version 12 and later, which ask by id alone, may leave the name out.
    MetadataResponseTopic::default().with_error_code(code.code()).with_name(name).with_topic_id(id)
}
