//! Looking into a batch: only where one message has to be found by its timestamp.

use bytes::Bytes;
use holdfast_protocol::Offset;
use kafka_protocol::records::RecordBatchDecoder;

/// The first message of a batch whose timestamp is at or after `timestamp_ms`, with its timestamp.
pub(crate) fn first_at_or_after(batch: &Bytes, timestamp_ms: i64) -> Option<(Offset, i64)> {
    let set = RecordBatchDecoder::decode(&mut batch.clone()).ok()?;
    let mut records = set.records.iter();
    let found = records.find(|record| record.timestamp >= timestamp_ms)?;
    Some((Offset(u64::try_from(found.offset).ok()?), found.timestamp))
}
