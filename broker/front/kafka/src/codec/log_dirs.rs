//! `DescribeLogDirs` 5, which the kafka-protocol crate does not know yet: as version 4, with one
//! more field for each directory.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::DescribeLogDirsResponse;
use kafka_protocol::protocol::Encodable;

use super::apis::Api;
use super::frame::{Builder, Frame, Unencodable};
use super::header::Header;

/// The newest version of the crate. Requests have been the same since version 2.
pub(crate) const KNOWN: i16 = 4;

/// Writes the answer. Every directory is open for new replicas: none is cordoned (KIP-1066).
pub(crate) fn encode(
    api: &Api,
    header: &Header,
    body: &DescribeLogDirsResponse,
) -> Result<Frame, Unencodable> {
    if header.version <= KNOWN {
        return Frame::encode(api, header, body);
    }
    let mut builder = Builder::default();
    builder.open.put_i32(body.throttle_time_ms);
    builder.open.put_i16(body.error_code);
    builder.length(body.results.len(), true)?;
    for result in &body.results {
        let mut encoded = BytesMut::new();
        let done = result.encode(&mut encoded, KNOWN);
        done.map_err(|error| Unencodable::new(error.to_string()))?;
        // The new field stands before the count of tagged fields, which is 0.
        encoded.truncate(encoded.len().saturating_sub(1));
        builder.open.put_slice(&encoded);
        builder.open.put_slice(&[u8::from(false), 0]);
    }
    builder.open.put_u8(0);
    builder.finish(api, header)
}
