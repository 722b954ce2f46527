//! `ApiVersions`: what is served here. The first thing that every client asks.

use std::sync::Arc;

use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;

use super::Call;
use crate::codec::{APIS, Api, Frame};
use crate::reply::Reply;

/// Answers in the version asked; a client that is too new in version 0, which every client
/// can read (KIP-511).
pub(super) async fn answer<S: Service>(call: Arc<Call<S>>) -> Reply {
    let (api, header) = (call.request.api, &call.request.header);
    let served = api.serves(header.version);
    let mut body = ApiVersionsResponse::default();
    body.api_keys = APIS.iter().map(version_range).collect();
    let version = if served {
        header.version
    } else {
        body.error_code = Code::UnsupportedVersion.code();
        0
    };
    call.sent(Frame::encode_as(api, header, &body, version).map(Reply::Answer))
}

fn version_range(api: &Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(api.version_min)
        .with_max_version(api.version_max)
}
