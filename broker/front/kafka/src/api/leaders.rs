//! Who leads a partition, as `Metadata` and `DescribeTopicPartitions` tell it.

use holdfast_protocol::BrokerId;
use holdfast_protocol::topic::Topic;
use holdfast_service::{ClusterView, Service};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::BrokerId as WireBroker;

use crate::context::{Context, wire_id};

/// The cluster as the clients of the door's listener see it.
pub(super) struct Leaders<'a, S> {
    context: &'a Context<S>,
    cluster: &'a ClusterView,
    /// The brokers that these clients can reach.
    reachable: Vec<i32>,
}

/// Who leads one partition.
pub(super) struct Led {
    pub(super) index: i32,
    /// 0, or why there is no leader.
    pub(super) error: i16,
    pub(super) leader: WireBroker,
    pub(super) epoch: i32,
    pub(super) replicas: Vec<WireBroker>,
    pub(super) isr: Vec<WireBroker>,
    pub(super) offline: Vec<WireBroker>,
}

impl<'a, S: Service> Leaders<'a, S> {
    pub(super) fn new(context: &'a Context<S>, cluster: &'a ClusterView) -> Self {
        let endpoints = context.endpoints(cluster);
        Self {
            context,
            cluster,
            reachable: endpoints.iter().map(|endpoint| endpoint.broker).collect(),
        }
    }

    /// Who leads partition `index` of `topic`. A leader that the client can't reach is none.
    pub(super) fn of(&self, topic: &Topic, index: u32) -> Led {
        let mut led = Led {
            index: wire_id(index),
            error: Code::LeaderNotAvailable.code(),
            leader: WireBroker(-1),
            epoch: -1,
            replicas: Vec::new(),
            isr: Vec::new(),
            offline: Vec::new(),
        };
        let service = &self.context.service;
        let shard =
            topic.stream(index).and_then(|stream| self.cluster.shard(service.shard_of(stream)));
        let Some(shard) = shard else {
            return led;
        };
        let reachable = |broker: &BrokerId| self.reachable.contains(&wire_id(broker.0));
        led.epoch = wire_id(shard.epoch.0);
        led.replicas = wire_brokers(shard.replicas.iter());
        led.isr = wire_brokers(shard.isr.iter());
        led.offline = wire_brokers(shard.replicas.iter().filter(|broker| !reachable(broker)));
        if let Some(leader) = shard.leader.filter(reachable) {
            led.leader = WireBroker(wire_id(leader.0));
            led.error = 0;
        }
        led
    }
}

fn wire_brokers<'a>(brokers: impl Iterator<Item = &'a BrokerId>) -> Vec<WireBroker> {
    brokers.map(|broker| WireBroker(wire_id(broker.0))).collect()
}
