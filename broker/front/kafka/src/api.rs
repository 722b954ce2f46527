//! The APIs: one handler a file. What they share is how a request is taken in and answered.

mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
mod coordinator;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leaders;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use holdfast_service::Service;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::codec::{self, Api, Error, Frame, Header};
use crate::context::{Client, Context};
use crate::reply::Reply;

/// A request that may be decoded.
pub(crate) struct Request {
    api: &'static Api,
    header: Header,
    client_id: Bytes,
    body: Bytes,
    decoded_bytes: usize,
}

impl Request {
    /// Checks a frame.
    pub(crate) fn read(frame: Bytes) -> Result<Self, Error> {
        let header = Header::read(&frame)?;
        let api = Api::of(header.api)?;
        if api.key == ApiKey::ApiVersions && !api.serves(header.version) {
            // A client newer than this broker: it is told the versions, and asks again.
            return Ok(Self {
                api,
                header,
                client_id: Bytes::new(),
                body: Bytes::new(),
                decoded_bytes: 0,
            });
        }
        if !api.serves(header.version) {
            return Err(Error::UnknownVersion { api: header.api, version: header.version });
        }
        let (at, client_id) = header.body_at(api, &frame)?;
        let client_id = frame.slice_ref(client_id);
        let body = frame.slice(at..);
        Ok(Self { api, header, client_id, decoded_bytes: api.check(header.version, &body)?, body })
    }

    /// Which API it is of.
    pub(crate) fn key(&self) -> ApiKey {
        self.api.key
    }

    /// The memory that decoding may take, bytes.
    pub(crate) fn decoded_bytes(&self) -> usize {
        self.decoded_bytes
    }
}

/// A request as its handler sees it.
pub(crate) struct Call<S> {
    client: Arc<Client<S>>,
    request: Request,
}

impl<S: Service> Call<S> {
    fn context(&self) -> &Context<S> {
        &self.client.context
    }

    fn version(&self) -> i16 {
        self.request.header.version
    }

    /// What the client calls itself; empty for nothing.
    fn client_id(&self) -> String {
        String::from_utf8_lossy(&self.request.client_id).into_owned()
    }

    /// Where the client connects from, as Kafka shows it.
    fn client_host(&self) -> String {
        format!("/{}", self.client.peer.ip())
    }

    fn decode<T: Decodable>(&self) -> Result<T, Error> {
        self.decode_as(self.version())
    }

    /// Decodes as another version than was asked, of the same shape.
    fn decode_as<T: Decodable>(&self, version: i16) -> Result<T, Error> {
        codec::decode(&self.request.body, version)
    }

    /// The answer with `body`.
    fn answer<T: Encodable>(&self, body: &T) -> Reply {
        let frame = Frame::encode(self.request.api, &self.request.header, body);
        self.sent(frame.map(Reply::Answer))
    }

    fn sent(&self, reply: Result<Reply, codec::Unencodable>) -> Reply {
        reply.unwrap_or_else(|error| {
            let Header { api, version, .. } = self.request.header;
            tracing::error!(api, version, %error, "an answer can't be sent");
            Reply::Close("the answer could not be encoded".to_owned())
        })
    }
}

/// Begins a request: an append is handed to the broker now, everything else runs when its turn
/// to be answered comes.
pub(crate) async fn begin<S: Service>(
    client: &Arc<Client<S>>,
    request: Request,
) -> Result<BoxFuture<'static, Reply>, Error> {
    let key = request.api.key;
    let call = Arc::new(Call { client: Arc::clone(client), request });
    Ok(match key {
        ApiKey::Produce => return produce::begin(call).await,
        ApiKey::Fetch => fetch::answer(call).boxed(),
        ApiKey::ApiVersions => api_versions::answer(call).boxed(),
        ApiKey::DescribeLogDirs => describe_log_dirs::answer(call).boxed(),
        ApiKey::ListOffsets => later(call, list_offsets::handle),
        ApiKey::Metadata => later(call, metadata::handle),
        ApiKey::OffsetCommit => later(call, offset_commit::handle),
        ApiKey::OffsetFetch => later(call, offset_fetch::handle),
        ApiKey::FindCoordinator => later(call, find_coordinator::handle),
        ApiKey::JoinGroup => later(call, join_group::handle),
        ApiKey::Heartbeat => later(call, heartbeat::handle),
        ApiKey::LeaveGroup => later(call, leave_group::handle),
        ApiKey::SyncGroup => later(call, sync_group::handle),
        ApiKey::DescribeGroups => later(call, describe_groups::handle),
        ApiKey::ListGroups => later(call, list_groups::handle),
        ApiKey::CreateTopics => later(call, create_topics::handle),
        ApiKey::DeleteTopics => later(call, delete_topics::handle),
        ApiKey::DeleteRecords => later(call, delete_records::handle),
        ApiKey::InitProducerId => later(call, init_producer_id::handle),
        ApiKey::OffsetForLeaderEpoch => later(call, offset_for_leader_epoch::handle),
        ApiKey::DescribeConfigs => later(call, describe_configs::handle),
        ApiKey::AlterConfigs => later(call, alter_configs::handle),
        ApiKey::CreatePartitions => later(call, create_partitions::handle),
        ApiKey::DeleteGroups => later(call, delete_groups::handle),
        ApiKey::ElectLeaders => later(call, elect_leaders::handle),
        ApiKey::IncrementalAlterConfigs => later(call, incremental_alter_configs::handle),
        ApiKey::AlterPartitionReassignments => later(call, alter_partition_reassignments::handle),
        ApiKey::ListPartitionReassignments => later(call, list_partition_reassignments::handle),
        ApiKey::OffsetDelete => later(call, offset_delete::handle),
        ApiKey::DescribeQuorum => later(call, describe_quorum::handle),
        ApiKey::DescribeCluster => later(call, describe_cluster::handle),
        ApiKey::ListConfigResources => later(call, list_config_resources::handle),
        ApiKey::DescribeTopicPartitions => later(call, describe_topic_partitions::handle),
        unknown => return Err(Error::UnknownApi(unknown as i16)),
    })
}

/// Decodes, handles and encodes when polled.
fn later<S, Q, A, F>(
    call: Arc<Call<S>>,
    handler: fn(Arc<Call<S>>, Q) -> F,
) -> BoxFuture<'static, Reply>
where
    S: Service,
    Q: Decodable + Send + 'static,
    A: Encodable + Send + 'static,
    F: Future<Output = A> + Send + 'static,
{
    async move {
        match call.decode() {
            Ok(request) => {
                let answer = handler(Arc::clone(&call), request).await;
                call.answer(&answer)
            }
            Err(error) => Reply::Close(format!("malformed request: {error}")),
        }
    }
    .boxed()
}
