//! Consumer groups and their offsets.

use super::super::schema::Kind::{Blob, List, Struct, Text};
use super::super::schema::Record;
use super::{INT8, INT32, INT64, always, record, since, until};

pub(crate) const OFFSET_COMMIT: Record = record(&[
    always(Text),
    always(INT32),
    always(Text),
    since(7, Text),
    until(4, INT64),
    always(List(&Struct(&COMMIT_TOPIC))),
]);
const COMMIT_TOPIC: Record = record(&[always(Text), always(List(&Struct(&COMMIT_PARTITION)))]);
const COMMIT_PARTITION: Record =
    record(&[always(INT32), always(INT64), since(6, INT32), always(Text)]);

pub(crate) const OFFSET_FETCH: Record = record(&[
    until(7, Text),
    until(7, List(&Struct(&OFFSETS_TOPIC))),
    since(8, List(&Struct(&OFFSETS_GROUP))),
    since(7, INT8),
]);
const OFFSETS_TOPIC: Record = record(&[always(Text), always(List(&INT32))]);
const OFFSETS_GROUP: Record =
    record(&[always(Text), since(9, Text), since(9, INT32), always(List(&Struct(&OFFSETS_TOPIC)))]);

pub(crate) const FIND_COORDINATOR: Record =
    record(&[until(3, Text), since(1, INT8), since(4, List(&Text))]);

pub(crate) const JOIN_GROUP: Record = record(&[
    always(Text),
    always(INT32),
    since(1, INT32),
    always(Text),
    since(5, Text),
    always(Text),
    always(List(&Struct(&JOIN_PROTOCOL))),
    since(8, Text),
]);
const JOIN_PROTOCOL: Record = record(&[always(Text), always(Blob)]);

pub(crate) const HEARTBEAT: Record =
    record(&[always(Text), always(INT32), always(Text), since(3, Text)]);

pub(crate) const LEAVE_GROUP: Record =
    record(&[always(Text), until(2, Text), since(3, List(&Struct(&LEAVE_MEMBER)))]);
const LEAVE_MEMBER: Record = record(&[always(Text), always(Text), since(5, Text)]);

pub(crate) const SYNC_GROUP: Record = record(&[
    always(Text),
    always(INT32),
    always(Text),
    since(3, Text),
    since(5, Text),
    since(5, Text),
    always(List(&Struct(&SYNC_ASSIGNMENT))),
]);
const SYNC_ASSIGNMENT: Record = record(&[always(Text), always(Blob)]);

pub(crate) const DESCRIBE_GROUPS: Record = record(&[always(List(&Text)), since(3, INT8)]);

pub(crate) const LIST_GROUPS: Record = record(&[since(4, List(&Text)), since(5, List(&Text))]);

pub(crate) const DELETE_GROUPS: Record = record(&[always(List(&Text))]);

pub(crate) const OFFSET_DELETE: Record =
    record(&[always(Text), always(List(&Struct(&DELETE_TOPIC)))]);
const DELETE_TOPIC: Record = record(&[always(Text), always(List(&Struct(&DELETE_PARTITION)))]);
const DELETE_PARTITION: Record = record(&[always(INT32)]);
