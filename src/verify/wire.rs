//! One request and its answer, on a connection of its own.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one request may take, connecting included.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Sends a request and waits for its answer.
///
/// # Errors
/// Where nobody is at the address, it takes too long, or what comes is no answer.
pub(crate) async fn ask<R: Request>(
    address: &str,
    version: i16,
    request: &R,
) -> anyhow::Result<R::Response> {
    timeout(EXCHANGE_TIMEOUT, exchange(address, version, request))
        .await
        .with_context(|| format!("{address} does not answer"))?
        .with_context(|| format!("asking {address}"))
}

async fn exchange<R: Request>(
    address: &str,
    version: i16,
    request: &R,
) -> anyhow::Result<R::Response> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&framed(version, request)?).await?;
    let length = usize::try_from(stream.read_u32().await?)?;
    ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes is too long");
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    let mut bytes = Bytes::from(bytes);
    ResponseHeader::decode(&mut bytes, R::Response::header_version(version))?;
    let answer = R::Response::decode(&mut bytes, version)?;
    ensure!(!bytes.has_remaining(), "the answer has bytes too many");
    Ok(answer)
}

fn framed<R: Request>(version: i16, request: &R) -> anyhow::Result<Bytes> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("holdfast-verify")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version))?;
    request.encode(&mut body, version)?;
    let mut frame = BytesMut::with_capacity(4 + body.len());
    frame.put_u32(u32::try_from(body.len())?);
    frame.put(body);
    Ok(frame.freeze())
}
