//! The follower's end: one link to each broker that leads a shard followed here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::{Stream, StreamExt};
use holdfast_core::State;
use holdfast_core::replica::Fetch;
use holdfast_protocol::peer::peer_client::PeerClient;
use holdfast_protocol::{BrokerId, Position, ShardId, peer};
use holdfast_transport::{CONNECTION_WINDOW_BYTES, Role, STREAM_WINDOW_BYTES};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{debug, info, warn};

use super::{MESSAGE_BYTES_MAX, REQUEST_BYTES_MAX, wire};
use crate::node::Node;
use crate::outbox::Outbox;
use crate::shard::{Image, Input};

/// First and longest pause before a link is dialled again.
const REDIAL_MIN: Duration = Duration::from_millis(20);
const REDIAL_MAX: Duration = Duration::from_millis(500);
/// How long a dial may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest checkpoint that is taken, bytes.
const CHECKPOINT_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// A silent link is probed after this, and given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// The links to other brokers.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<HashMap<BrokerId, Arc<Link>>>);

/// What goes to one broker, and whether it answers.
#[derive(Debug, Default)]
struct Link {
    outbox: Outbox<Fetch>,
    /// When it was asked first since its last answer.
    asked: Mutex<Option<Instant>>,
}

impl Link {
    fn ask(&self, shard: ShardId, fetch: Fetch) {
        self.asked().get_or_insert_with(Instant::now);
        self.outbox.put(shard, fetch);
    }

    fn answered(&self) {
        *self.asked() = None;
    }

    fn asked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links {
    /// Sends a fetch to `broker`; the link is made with the first.
    pub(crate) fn fetch(&self, node: &Arc<Node>, broker: BrokerId, shard: ShardId, fetch: Fetch) {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(broker).or_insert_with(|| {
            let link = Arc::new(Link::default());
            let task = keep_link(Arc::clone(node), broker, Arc::clone(&link));
            node.spawn(task);
            link
        });
        link.ask(shard, fetch);
    }

    /// For how long `broker` has not answered; `None` where it was never asked.
    pub(crate) fn unanswered(&self, broker: BrokerId) -> Option<Duration> {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = *links.get(&broker)?.asked();
        Some(asked.map_or(Duration::ZERO, |asked| asked.elapsed()))
    }
}

/// A channel to the gRPC of `broker` at `address`, dialled now.
pub(crate) async fn dial(
    node: &Node,
    broker: BrokerId,
    address: &str,
) -> Result<Channel, tonic::transport::Error> {
    let endpoint = holdfast_transport::endpoint(address)?
        .connect_timeout(DIAL_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    holdfast_transport::connect(endpoint, node.tls(), Role::Broker(broker)).await
}

/// The peer service behind a channel.
pub(crate) fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(REQUEST_BYTES_MAX)
}

/// Keeps a link up until the broker stops.
async fn keep_link(node: Arc<Node>, broker: BrokerId, link: Arc<Link>) {
    let mut pause = REDIAL_MIN;
    let mut told = String::new();
    loop {
        let linked = hold(&node, broker, &link).await;
        match &linked {
            Ok(()) => debug!(%broker, "link to peer ended"),
            Err(error) => {
                let reason = chain(&**error);
                // A peer that is away is nothing new each time that it is found away.
                if reason != told {
                    warn!(%broker, %reason, "no link to peer");
                    told = reason;
                }
            }
        }
        pause = if linked.is_ok() { REDIAL_MIN } else { (pause * 2).min(REDIAL_MAX) };
        tokio::time::sleep(pause).await;
    }
}

/// The error and all that caused it, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}

type LinkError = Box<dyn std::error::Error + Send + Sync>;

/// One link, from its dial to its end.
async fn hold(node: &Arc<Node>, broker: BrokerId, link: &Arc<Link>) -> Result<(), LinkError> {
    let address = node.peer_address(broker).ok_or("the operator told no address yet")?;
    let mut client = client(dial(node, broker, &address).await?);
    let ended = CancellationToken::new();
    let hello = peer::Hello { broker: node.broker().0, cluster: node.cluster_id().to_owned() };
    let hello = peer::to_leader::Message::Hello(hello);
    let hello = futures::stream::once(std::future::ready(to_leader(hello)));
    // It must not take from the outbox what the next link is to send.
    let outgoing =
        hello.chain(fetches(Arc::clone(link))).take_until(ended.clone().cancelled_owned());
    let guard = ended.drop_guard();
    let mut answers = client.replicate(outgoing).await?.into_inner();
    info!(%broker, %address, "linked to peer");
    // Whatever was asked on an earlier link is asked again.
    for handle in node.shards() {
        handle.send(Input::Connected(broker)).await;
    }
    while let Some(message) = answers.message().await? {
        link.answered();
        for answer in message.answers {
            let (shard, answer) = wire::answer_from_wire(answer)?;
            if let Some(handle) = node.shard(shard) {
                handle.send(Input::Answer(broker, answer)).await;
            }
        }
    }
    drop(guard);
    Ok(())
}

/// Reads the checkpoint of a shard from its leader.
pub(crate) async fn read_checkpoint(
    node: &Arc<Node>,
    broker: BrokerId,
    shard: ShardId,
) -> Result<Image, LinkError> {
    let address = node.peer_address(broker).ok_or("the operator told no address yet")?;
    let mut client = client(dial(node, broker, &address).await?);
    let cluster = node.cluster_id().to_owned();
    let request = peer::ReadCheckpointRequest { shard: shard.0, cluster };
    let mut pieces = client.read_checkpoint(request).await?.into_inner();
    let (mut bytes, mut log_start) = (BytesMut::new(), Position(0));
    while let Some(piece) = pieces.message().await? {
        if bytes.len() + piece.bytes.len() > CHECKPOINT_BYTES_MAX {
            return Err("the checkpoint is larger than any may be".into());
        }
        bytes.extend_from_slice(&piece.bytes);
        log_start = Position(piece.log_start);
    }
    let bytes = bytes.freeze();
    let (state, history) = State::decode(&bytes)?;
    Ok(Image { state, history, bytes, log_start })
}

fn to_leader(message: peer::to_leader::Message) -> peer::ToLeader {
    peer::ToLeader { message: Some(message) }
}

/// The fetches that wait, as many as there are in one message.
fn fetches(link: Arc<Link>) -> impl Stream<Item = peer::ToLeader> {
    futures::stream::unfold(link, async |link| {
        let waiting = link.outbox.take().await;
        let fetches = waiting.iter().map(|(shard, fetch)| wire::fetch_to_wire(*shard, fetch));
        let fetches = peer::Fetches { fetches: fetches.collect() };
        Some((to_leader(peer::to_leader::Message::Fetches(fetches)), link))
    })
}
