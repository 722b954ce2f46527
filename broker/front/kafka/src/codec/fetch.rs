//! The answer to a fetch, written by hand so that the records in it are never copied.

use bytes::{BufMut, Bytes};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::apis::Api;
use super::frame::{Builder, Frame, Unencodable};
use super::header::Header;
use crate::context::{Endpoint, LeaderHint};

/// The answer to a fetch.
#[derive(Debug, Default)]
pub(crate) struct FetchAnswer {
    pub(crate) error: i16,
    pub(crate) topics: Vec<FetchedTopic>,
    /// Where the leaders are that the partitions name (KIP-951).
    pub(crate) endpoints: Vec<Endpoint>,
}

/// A topic in it, named as it was asked for.
#[derive(Debug)]
pub(crate) struct FetchedTopic {
    pub(crate) name: StrBytes,
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<FetchedPartition>,
}

/// A partition in it.
#[derive(Debug)]
pub(crate) struct FetchedPartition {
    pub(crate) index: i32,
    pub(crate) error: i16,
    pub(crate) high_watermark: i64,
    pub(crate) start_offset: i64,
    /// Whether to list aborted transactions (of which there are none) rather than give null.
    pub(crate) lists_aborted: bool,
    pub(crate) leader: Option<LeaderHint>,
    pub(crate) records: Vec<Bytes>,
}

/// First version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 12;
/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// First version with the endpoints of leaders.
const ENDPOINTS: i16 = 16;

impl FetchAnswer {
    /// Writes the answer.
    pub(crate) fn encode(self, api: &Api, header: &Header) -> Result<Frame, Unencodable> {
        let version = header.version;
        let compact = version >= FLEXIBLE;
        let mut builder = Builder::default();
        builder.open.put_i32(0); // throttle time, ms
        if version >= 7 {
            builder.open.put_i16(self.error);
            builder.open.put_i32(0); // no session: every fetch names all its partitions
        }
        builder.length(self.topics.len(), compact)?;
        for topic in self.topics {
            topic.encode(&mut builder, version)?;
        }
        if compact {
            encode_endpoints(&mut builder, &self.endpoints, version)?;
        }
        builder.finish(api, header)
    }
}

impl FetchedTopic {
    fn encode(self, builder: &mut Builder, version: i16) -> Result<(), Unencodable> {
        let compact = version >= FLEXIBLE;
        if version >= TOPIC_IDS {
            builder.open.put_slice(self.id.as_bytes());
        } else {
            builder.text(&self.name, compact)?;
        }
        builder.length(self.partitions.len(), compact)?;
        for partition in self.partitions {
            partition.encode(builder, version)?;
        }
        if compact {
            builder.varint(0);
        }
        Ok(())
    }
}

impl FetchedPartition {
    fn encode(self, builder: &mut Builder, version: i16) -> Result<(), Unencodable> {
        let compact = version >= FLEXIBLE;
        builder.open.put_i32(self.index);
        builder.open.put_i16(self.error);
        builder.open.put_i64(self.high_watermark);
        // Without transactions everything committed is stable.
        builder.open.put_i64(self.high_watermark);
        if version >= 5 {
            builder.open.put_i64(self.start_offset);
        }
        match (self.lists_aborted, compact) {
            (true, _) => builder.length(0, compact)?,
            (false, true) => builder.varint(0),
            (false, false) => builder.open.put_i32(-1),
        }
        if version >= 11 {
            builder.open.put_i32(-1); // no preferred replica: leaders answer all fetches
        }
        builder.length(self.records.iter().map(Bytes::len).sum(), compact)?;
        for records in self.records {
            builder.give(records);
        }
        if compact {
            encode_leader(builder, self.leader);
        }
        Ok(())
    }
}

/// Tagged field 1 of a partition: the leader and its epoch.
fn encode_leader(builder: &mut Builder, leader: Option<LeaderHint>) {
    let Some(leader) = leader else {
        return builder.varint(0);
    };
    for number in [1, 1, 9] {
        builder.varint(number); // one field; its tag; its length
    }
    builder.open.put_i32(leader.broker);
    builder.open.put_i32(leader.epoch);
    builder.varint(0);
}

/// Tagged field 0 of the answer: the endpoints of leaders.
fn encode_endpoints(
    builder: &mut Builder,
    endpoints: &[Endpoint],
    version: i16,
) -> Result<(), Unencodable> {
    if version < ENDPOINTS || endpoints.is_empty() {
        builder.varint(0);
        return Ok(());
    }
    let mut field = Builder::default();
    field.length(endpoints.len(), true)?;
    for endpoint in endpoints {
        field.open.put_i32(endpoint.broker);
        field.text(&endpoint.host, true)?;
        field.open.put_i32(endpoint.port);
        field.varint(0); // no rack
        field.varint(0); // no tagged fields
    }
    let length = u32::try_from(field.open.len()).expect("a few addresses are short");
    for number in [1, 0, length] {
        builder.varint(number); // one field; its tag; its length
    }
    builder.open.put_slice(&field.open);
    Ok(())
}
