//! Topics as clients declare them.

use holdfast_protocol::topic::{Declarer, Topic, TopicConfig};
use holdfast_service::{ClusterView, Service};

use crate::context::{Context, wire_id};

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
