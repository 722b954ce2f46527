//! The leader's end: fetches in, answers out; and checkpoints for replicas that are built anew.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use holdfast_core::replica::Answer;
use holdfast_protocol::peer::peer_server::Peer;
use holdfast_protocol::{BrokerId, ShardId, peer};
use holdfast_transport::Peer as Caller;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::{ANSWER_BYTES_MAX, HELLO_TIMEOUT, wire};
use crate::node::Node;
use crate::outbox::Outbox;
use crate::shard::Event;

/// Bytes of one piece of a checkpoint.
const PIECE_BYTES: usize = 1024 * 1024;

/// Where the answers for one follower broker wait.
pub(crate) type AnswerBox = Arc<Outbox<Answer>>;

/// The peer service of this broker.
#[derive(Debug, Clone)]
pub(crate) struct PeerService(pub(crate) Arc<Node>);

type Answers = Pin<Box<dyn Stream<Item = Result<peer::ToFollower, Status>> + Send>>;
type Pieces = Pin<Box<dyn Stream<Item = Result<peer::CheckpointPiece, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for PeerService {
    type ReplicateStream = Answers;
    type ReadCheckpointStream = Pieces;

    async fn replicate(
        &self,
        request: Request<Streaming<peer::ToLeader>>,
    ) -> Result<Response<Answers>, Status> {
        let caller = Caller::of(&request)?;
        let mut fetches = request.into_inner();
        let first = timeout(HELLO_TIMEOUT, fetches.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello in time"))??;
        let Some(peer::ToLeader { message: Some(peer::to_leader::Message::Hello(hello)) }) = first
        else {
            return Err(Status::invalid_argument("the first message must be a hello"));
        };
        let broker = BrokerId(hello.broker);
        let allowed = caller.must_be_broker(broker);
        self.0.admit(caller, allowed.and_then(|()| self.0.check_cluster(&hello.cluster)))?;
        info!(%broker, "peer follows");
        let answers: AnswerBox = Arc::default();
        let (ended, dropped) = (CancellationToken::new(), CancellationToken::new());
        let outgoing = Outgoing {
            answers: Arc::clone(&answers),
            taken: VecDeque::new(),
            _dropped: dropped.clone().drop_guard(),
        };
        let outgoing = outgoing.messages().take_until(ended.clone().cancelled_owned());
        let node = Arc::clone(&self.0);
        self.0.spawn(async move {
            let _ended = ended.drop_guard();
            tokio::select! {
                ended = take_fetches(&node, broker, &mut fetches, &answers) => match ended {
                    Ok(()) => info!(%broker, "peer left"),
                    Err(error) => info!(%broker, error = %error.message(), "peer lost"),
                },
                () = dropped.cancelled() => info!(%broker, "peer gone"),
            }
            for handle in node.shards() {
                handle.send(Event::FollowerGone(broker, Arc::clone(&answers))).await;
            }
        });
        Ok(Response::new(Box::pin(outgoing)))
    }

    async fn read_checkpoint(
        &self,
        request: Request<peer::ReadCheckpointRequest>,
    ) -> Result<Response<Pieces>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let allowed = caller.must_be_a_broker();
        self.0.admit(caller, allowed.and_then(|()| self.0.check_cluster(&request.cluster)))?;
        let handle = self
            .0
            .shard(ShardId(request.shard))
            .ok_or_else(|| Status::not_found("this broker has no such shard"))?;
        let image = handle
            .checkpoint_image()
            .await
            .ok_or_else(|| Status::failed_precondition("this broker does not lead the shard"))?;
        let mut rest = image.bytes;
        let mut pieces = Vec::new();
        while pieces.is_empty() || !rest.is_empty() {
            let bytes = rest.split_to(rest.len().min(PIECE_BYTES));
            pieces.push(Ok(peer::CheckpointPiece { bytes, log_start: image.log_start.0 }));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }
}

async fn take_fetches(
    node: &Arc<Node>,
    broker: BrokerId,
    fetches: &mut Streaming<peer::ToLeader>,
    answers: &AnswerBox,
) -> Result<(), Status> {
    while let Some(message) = fetches.message().await? {
        let Some(peer::to_leader::Message::Fetches(asked)) = message.message else { continue };
        for fetch in &asked.fetches {
            let (shard, fetch) = wire::fetch_from_wire(fetch)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            match node.shard(shard) {
                Some(handle) => {
                    handle.send(Event::Fetch(broker, fetch, Arc::clone(answers))).await;
                }
                None => warn!(%broker, %shard, "a peer fetches a shard that is not here"),
            }
        }
    }
    Ok(())
}

/// The answers of one stream, on their way out.
struct Outgoing {
    answers: AnswerBox,
    /// What was taken out of the box, and did not fit into the last message.
    taken: VecDeque<(ShardId, Answer)>,
    /// Tells the other half of the stream that nobody listens any more.
    _dropped: DropGuard,
}

impl Outgoing {
    fn messages(self) -> impl Stream<Item = Result<peer::ToFollower, Status>> {
        futures::stream::unfold(self, async |mut outgoing| {
            let message = outgoing.next().await;
            Some((Ok(message), outgoing))
        })
    }

    /// The answers that wait, of as many shards as fit into one message.
    async fn next(&mut self) -> peer::ToFollower {
        if self.taken.is_empty() {
            self.taken.extend(self.answers.take().await);
        }
        let mut answers = Vec::with_capacity(self.taken.len());
        let mut bytes = 0;
        while let Some((shard, answer)) = self.taken.pop_front() {
            let more = answer.data_len();
            if bytes > 0 && bytes + more > ANSWER_BYTES_MAX {
                self.taken.push_front((shard, answer));
                break;
            }
            bytes += more;
            answers.push(wire::answer_to_wire(shard, answer));
        }
        peer::ToFollower { answers }
    }
}
