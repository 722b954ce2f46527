//! The operator's side of a broker: its session, declarations of topics, and what people ask.

mod describe;
mod session;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use holdfast_protocol::control::control_server::Control;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::{TopicId, control};
use holdfast_service::CatalogError;
use holdfast_transport::Peer;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::node::Node;
use crate::service;

/// The largest message of a session or a call, bytes: the records of all shards, or a catalog.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The control service of this broker. Sessions and descriptions are for the operator alone;
/// a change of the catalog may also be passed on by another broker, where a client asked for it.
#[derive(Debug, Clone)]
pub(crate) struct ControlService(pub(crate) Arc<Node>);

type Told = Pin<Box<dyn Stream<Item = Result<control::FromBroker, Status>> + Send>>;

#[tonic::async_trait]
impl Control for ControlService {
    type SessionStream = Told;

    async fn session(
        &self,
        request: Request<Streaming<control::ToBroker>>,
    ) -> Result<Response<Told>, Status> {
        let caller = Peer::of(&request)?;
        self.0.admit(caller, caller.must_be_operator())?;
        let rx = session::begin(Arc::clone(&self.0), caller, request.into_inner()).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(rx))))
    }

    async fn declare_topic(
        &self,
        request: Request<control::DeclareTopicRequest>,
    ) -> Result<Response<control::DeclareTopicAnswer>, Status> {
        let wire = request.into_inner().topic.unwrap_or_default();
        let topic =
            Topic::try_from(wire).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (outcome, message) = outcome(service::declare_here(&self.0, topic).await);
        Ok(Response::new(control::DeclareTopicAnswer { outcome: outcome.into(), message }))
    }

    async fn delete_topic(
        &self,
        request: Request<control::DeleteTopicRequest>,
    ) -> Result<Response<control::DeleteTopicAnswer>, Status> {
        let id = TopicId::from_slice(&request.into_inner().id)
            .ok_or_else(|| Status::invalid_argument("a topic id has 16 bytes"))?;
        let (outcome, message) = outcome(service::delete_here(&self.0, id).await);
        Ok(Response::new(control::DeleteTopicAnswer { outcome: outcome.into(), message }))
    }

    async fn describe(
        &self,
        request: Request<control::DescribeRequest>,
    ) -> Result<Response<control::DescribeAnswer>, Status> {
        let caller = Peer::of(&request)?;
        self.0.admit(caller, caller.must_be_operator())?;
        Ok(Response::new(describe::describe(&self.0).await))
    }
}

/// What became of a change of the catalog, in the protocol's words.
fn outcome(result: Result<(), CatalogError>) -> (control::Outcome, String) {
    use control::Outcome;
    let Err(error) = result else { return (Outcome::Done, String::new()) };
    let outcome = match &error {
        CatalogError::NotLeader => Outcome::NotLeader,
        CatalogError::NameTaken(_)
        | CatalogError::UnknownTopic
        | CatalogError::FewerPartitions { .. }
        | CatalogError::TooManyTopics(_) => Outcome::Conflict,
        CatalogError::NotEnoughReplicas
        | CatalogError::Storage(_)
        | CatalogError::LeadershipLost => Outcome::Unknown,
    };
    (outcome, error.to_string())
}
