//! The APIs: one handler a file. What they share is how a request is taken in and answered.

mod api_versions;
mod fetch;
mod list_offsets;
mod metadata;
mod produce;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use holdfast_service::Service;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::codec::{self, Api, Error, Frame, Header};
use crate::connection::{Client, Reply};
use crate::context::Context;

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
            return Err(Error::UnknownVersion {
                api: header.api,
                version: header.version,
            });
        }
        let (at, client_id) = header.body_at(api, &frame)?;
        let client_id = frame.slice_ref(client_id);
        let body = frame.slice(at..);
        Ok(Self {
            api,
            header,
            client_id,
            decoded_bytes: api.check(header.version, &body)?,
            body,
        })
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

    fn decode<T: Decodable>(&self) -> Result<T, Error> {
        codec::decode(&self.request.body, self.version())
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
    let call = Arc::new(Call {
        client: Arc::clone(client),
        request,
    });
    Ok(match key {
        ApiKey::Produce => return produce::begin(call).await,
        ApiKey::Fetch => fetch::answer(call).boxed(),
        ApiKey::ApiVersions => api_versions::answer(call).boxed(),
        ApiKey::ListOffsets => later(call, list_offsets::handle),
        ApiKey::Metadata => later(call, metadata::handle),
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
