//! The cluster as the door of one broker knows it: what the records say that its replicas have.

use std::collections::BTreeMap;

use holdfast_broker::driver::Driver;
use holdfast_protocol::{BrokerId, ShardId};
use holdfast_service::{ClusterView, ListenerAddress, ShardView};

use super::LISTENER;
use crate::client::PRODUCERS;
use crate::effects::SimEffects;

/// Where Kafka clients connect.
const PORT: u16 = 9092;

/// The most topics that clients may declare.
const TOPICS_MAX: u32 = 10;

/// What a broker with these replicas knows.
pub(super) fn told(
    brokers: impl Iterator<Item = u32>,
    drivers: &BTreeMap<ShardId, Driver<SimEffects>>,
) -> ClusterView {
    let address = |broker| ListenerAddress {
        broker: BrokerId(broker),
        listener: LISTENER.to_owned(),
        host: format!("broker-{broker}"),
        port: PORT,
    };
    let shard = |driver: &Driver<SimEffects>| {
        let Some(record) = driver.core().replica().record() else { return ShardView::default() };
        ShardView {
            leader: record.leader.map(|leader| leader.broker),
            epoch: record.epoch,
            version: record.version,
            isr: record.isr.iter().map(|member| member.broker).collect(),
            replicas: record.replicas.clone(),
        }
    };
    ClusterView {
        cluster_id: LISTENER.to_owned(),
        addresses: brokers.map(address).collect(),
        shards: drivers.values().map(shard).collect(),
        clients_may_declare_topics: true,
        client_topics_max: TOPICS_MAX,
        client_topic_partitions: PRODUCERS,
        client_topic_partitions_max: PRODUCERS,
        ..ClusterView::default()
    }
}
