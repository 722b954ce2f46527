//! What every handler has at hand: the broker behind the door, and the door's limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_protocol::topic::{Catalog, Topic};
use holdfast_protocol::{StreamId, TopicId};
use holdfast_service::{ClusterView, Service};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::options::Options;

/// How long a topic that is not known is waited for.
const HEARSAY: Duration = Duration::from_millis(50);
const HEARSAY_STEP: Duration = Duration::from_millis(2);

/// Shared by all connections of a door.
pub(crate) struct Context<S> {
    pub(crate) service: S,
    pub(crate) options: Options,
    /// Bytes of requests that may still be read.
    pub(crate) door_bytes: Arc<Semaphore>,
    /// Bytes that large requests may still take once decoded.
    pub(crate) decoded_bytes: Arc<Semaphore>,
    /// Bytes of fetched records that may still wait for clients.
    pub(crate) fetched_bytes: Arc<Semaphore>,
    /// Set when the door is to close.
    pub(crate) shutdown: CancellationToken,
}

/// What the reader and the handlers know of the connection.
pub(crate) struct Client<S> {
    pub(crate) context: Arc<Context<S>>,
    pub(crate) peer: SocketAddr,
    /// Bytes of this connection's requests that may still be read.
    pub(crate) bytes: Arc<Semaphore>,
}

/// The leader of a partition, for a client that asked elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaderHint {
    pub(crate) broker: i32,
    pub(crate) epoch: i32,
}

/// Where a broker is reached by clients of the door's listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) broker: i32,
    pub(crate) host: StrBytes,
    pub(crate) port: i32,
}

impl<S: Service> Context<S> {
    pub(crate) fn new(service: S, options: Options, shutdown: CancellationToken) -> Self {
        Self {
            service,
            door_bytes: Arc::new(Semaphore::new(options.door_bytes_max)),
            decoded_bytes: Arc::new(Semaphore::new(options.decoded_bytes_max)),
            fetched_bytes: Arc::new(Semaphore::new(options.fetched_bytes_max)),
            options,
            shutdown,
        }
    }

    /// The catalog, once it `has` what is asked for: another broker may have committed that just
    /// now, and this one hears of it in a moment. After [`HEARSAY`] it is given as it is.
    pub(crate) async fn catalog_with(&self, has: impl Fn(&Catalog) -> bool) -> Arc<Catalog> {
        let deadline = Instant::now() + HEARSAY;
        loop {
            let catalog = self.service.catalog();
            if has(&catalog) || Instant::now() >= deadline {
                return catalog;
            }
            sleep(HEARSAY_STEP).await;
        }
    }

    /// This broker's id, as on the wire.
    pub(crate) fn broker(&self) -> i32 {
        wire_id(self.service.broker().0)
    }

    /// All brokers that the door's clients can reach.
    pub(crate) fn endpoints(&self, cluster: &ClusterView) -> Vec<Endpoint> {
        cluster
            .listener(&self.options.listener_name)
            .map(|address| Endpoint {
                broker: wire_id(address.broker.0),
                host: StrBytes::from_string(address.host.clone()),
                port: i32::from(address.port),
            })
            .collect()
    }

    /// Where the door's clients reach `broker`.
    pub(crate) fn endpoint(&self, cluster: &ClusterView, broker: i32) -> Option<Endpoint> {
        let mut endpoints = self.endpoints(cluster).into_iter();
        endpoints.find(|endpoint| endpoint.broker == broker)
    }

    /// Who leads `stream`, if that is another broker than this one.
    pub(crate) fn leader_hint(
        &self,
        cluster: &ClusterView,
        stream: StreamId,
    ) -> Option<LeaderHint> {
        let shard = cluster.shard(self.service.shard_of(stream))?;
        let leader = shard.leader.filter(|leader| *leader != self.service.broker())?;
        Some(LeaderHint { broker: wire_id(leader.0), epoch: wire_id(shard.epoch.0) })
    }

    /// The endpoints of the brokers named in `hints`.
    pub(crate) fn hinted_endpoints(
        &self,
        cluster: &ClusterView,
        hints: impl Iterator<Item = LeaderHint>,
    ) -> Vec<Endpoint> {
        let mut brokers: Vec<i32> = hints.map(|hint| hint.broker).collect();
        if brokers.is_empty() {
            return Vec::new();
        }
        brokers.sort_unstable();
        brokers.dedup();
        let mut endpoints = self.endpoints(cluster);
        endpoints.retain(|endpoint| brokers.binary_search(&endpoint.broker).is_ok());
        endpoints
    }
}

/// The topic that a request names by id, from the version on that does so, or by name.
pub(crate) fn find_topic<'a>(
    catalog: &'a Catalog,
    by_id: bool,
    name: &str,
    id: Uuid,
) -> Option<&'a Arc<Topic>> {
    if by_id { catalog.by_id(TopicId(id.into_bytes())) } else { catalog.by_name(name) }
}

/// An id, epoch or count as Kafka has it, in 31 bits.
pub(crate) fn wire_id(id: u32) -> i32 {
    i32::try_from(id).unwrap_or(i32::MAX)
}

/// An offset as Kafka has it, in 63 bits.
pub(crate) fn wire_offset(offset: holdfast_protocol::Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

/// A topic's id as Kafka has it.
pub(crate) fn wire_topic_id(id: TopicId) -> Uuid {
    Uuid::from_bytes(id.0)
}

/// The stream of a partition of the topic with this name.
pub(crate) fn find_stream(catalog: &Catalog, name: &str, index: i32) -> Option<StreamId> {
    let topic = catalog.by_name(name)?;
    topic.stream(u32::try_from(index).ok()?)
}
