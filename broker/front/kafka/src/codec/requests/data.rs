//! Producing, fetching, and what leads there.

use super::super::schema::Kind::{Blob, List, Struct, Text};
use super::super::schema::{Record, Tagged};
use super::{INT8, INT16, INT32, INT64, UUID, always, between, record, since, until};

pub(crate) const PRODUCE: Record =
    record(&[always(Text), always(INT16), always(INT32), always(List(&Struct(&PRODUCE_TOPIC)))]);
const PRODUCE_TOPIC: Record =
    record(&[until(12, Text), since(13, UUID), always(List(&Struct(&PRODUCE_PARTITION)))]);
const PRODUCE_PARTITION: Record = record(&[always(INT32), always(Blob)]);

pub(crate) const FETCH: Record = Record {
    fields: &[
        until(14, INT32),
        always(INT32),
        always(INT32),
        always(INT32),
        always(INT8),
        since(7, INT32),
        since(7, INT32),
        always(List(&Struct(&FETCH_TOPIC))),
        since(7, List(&Struct(&FETCH_FORGOTTEN))),
        since(11, Text),
    ],
    tagged: &[
        Tagged { tag: 0, first: 12, kind: Text },
        Tagged { tag: 1, first: 15, kind: Struct(&FETCH_REPLICA) },
    ],
};
const FETCH_TOPIC: Record =
    record(&[until(12, Text), since(13, UUID), always(List(&Struct(&FETCH_PARTITION)))]);
const FETCH_PARTITION: Record = Record {
    fields: &[
        always(INT32),
        since(9, INT32),
        always(INT64),
        since(12, INT32),
        since(5, INT64),
        always(INT32),
    ],
    tagged: &[Tagged { tag: 0, first: 17, kind: UUID }, Tagged { tag: 1, first: 18, kind: INT64 }],
};
const FETCH_FORGOTTEN: Record =
    record(&[between(7, 12, Text), since(13, UUID), since(7, List(&INT32))]);
const FETCH_REPLICA: Record = record(&[since(15, INT32), since(15, INT64)]);

pub(crate) const LIST_OFFSETS: Record = record(&[
    always(INT32),
    since(2, INT8),
    always(List(&Struct(&LIST_OFFSETS_TOPIC))),
    since(10, INT32),
]);
const LIST_OFFSETS_TOPIC: Record =
    record(&[always(Text), always(List(&Struct(&LIST_OFFSETS_PARTITION)))]);
const LIST_OFFSETS_PARTITION: Record = record(&[always(INT32), since(4, INT32), always(INT64)]);

pub(crate) const METADATA: Record = record(&[
    always(List(&Struct(&METADATA_TOPIC))),
    since(4, INT8),
    between(8, 10, INT8),
    since(8, INT8),
]);
const METADATA_TOPIC: Record = record(&[since(10, UUID), always(Text)]);

pub(crate) const API_VERSIONS: Record = record(&[since(3, Text), since(3, Text)]);

pub(crate) const INIT_PRODUCER_ID: Record =
    record(&[always(Text), always(INT32), since(3, INT64), since(3, INT16)]);

pub(crate) const OFFSET_FOR_LEADER_EPOCH: Record =
    record(&[since(3, INT32), always(List(&Struct(&EPOCH_TOPIC)))]);
const EPOCH_TOPIC: Record = record(&[always(Text), always(List(&Struct(&EPOCH_PARTITION)))]);
const EPOCH_PARTITION: Record = record(&[always(INT32), always(INT32), always(INT32)]);
