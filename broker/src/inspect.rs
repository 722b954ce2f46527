//! What administrators ask about this broker: its disk, and the replicas of the catalog.

use std::sync::Arc;

use holdfast_protocol::ShardId;
use holdfast_service::{CatalogReplica, CatalogShard, Disk, StreamSize};
use tracing::warn;

use crate::node::Node;
use crate::shard::Ask;

/// Where the replicas are kept, and how large they are.
pub(crate) fn disk(node: &Node) -> Disk {
    let path = node.data();
    let space = rustix::fs::statvfs(path)
        .inspect_err(|error| warn!(path = %path.display(), %error, "the disk's space is not known"))
        .ok();
    let of = |blocks: u64, size: u64| blocks.saturating_mul(size);
    Disk {
        path: path.display().to_string(),
        total_bytes: space.as_ref().map(|space| of(space.f_blocks, space.f_frsize)),
        usable_bytes: space.as_ref().map(|space| of(space.f_bavail, space.f_frsize)),
        streams: streams(node),
    }
}

/// The streams of the shards of which this broker is a replica. It opens the others too, but
/// there is nothing in them.
fn streams(node: &Node) -> Vec<StreamSize> {
    let own = node.broker();
    let handles = node.shards().into_iter();
    let held = handles.filter(|handle| {
        let record = handle.view.report().record;
        record.is_some_and(|record| record.replicas.contains(&own))
    });
    held.flat_map(|handle| handle.view.sizes())
        .map(|(stream, bytes)| StreamSize { stream, bytes })
        .collect()
}

/// The replicas of the catalog: where this broker leads it, how far each has come.
pub(crate) async fn catalog_shard(node: &Arc<Node>) -> CatalogShard {
    let shard = ShardId::CATALOG;
    let view = node.cluster().shard(shard).cloned().unwrap_or_default();
    let Some(handle) = node.shard(shard) else {
        return CatalogShard { leader: view.leader, epoch: view.epoch, ..CatalogShard::default() };
    };
    let followers = handle.ask(Ask::Followers).await.unwrap_or_default();
    let report = handle.view.report();
    let own = node.broker();
    let log = |broker| {
        if broker == own {
            return Some((report.incarnation, report.end));
        }
        let known = followers.iter().find(|(member, _)| member.broker == broker);
        known.map(|(member, end)| (member.incarnation, *end))
    };
    let replicas = view.replicas.iter();
    CatalogShard {
        leader: view.leader,
        epoch: view.epoch,
        committed: report.committed,
        replicas: replicas.map(|&broker| CatalogReplica { broker, log: log(broker) }).collect(),
    }
}
