//! What this broker leads and knows, for people.

use std::sync::Arc;

use holdfast_protocol::control::{DescribeAnswer, StreamStatus};
use holdfast_protocol::placement;
use holdfast_protocol::topic::Topic;

use crate::node::Node;
use crate::shard::Ask;

pub(super) async fn describe(node: &Arc<Node>) -> DescribeAnswer {
    let catalog = node.catalog();
    let mut topics: Vec<&Topic> = catalog.topics().topics().map(AsRef::as_ref).collect();
    topics.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let streams = topics.iter().flat_map(|topic| streams(node, topic)).collect();
    let mut groups = Vec::new();
    for handle in node.shards() {
        groups.extend(handle.ask(Ask::Groups).await.unwrap_or_default());
    }
    DescribeAnswer { topics: topics.into_iter().map(Into::into).collect(), streams, groups }
}

/// The streams of a topic that this broker leads.
fn streams(node: &Arc<Node>, topic: &Topic) -> Vec<StreamStatus> {
    let shards = node.told().shards;
    let streams = (0..topic.partitions).filter_map(|partition| topic.stream(partition));
    streams
        .filter_map(|stream| {
            let shard = placement::shard_of_stream(stream, shards);
            let handle = node.shard(shard)?;
            let offsets = handle.view.offsets(stream).ok()?;
            Some(StreamStatus {
                topic: stream.topic.0.to_vec().into(),
                partition: stream.partition,
                shard: shard.0,
                start: offsets.start.0,
                end: offsets.end.0,
                bytes: handle.view.bytes(stream),
            })
        })
        .collect()
}
