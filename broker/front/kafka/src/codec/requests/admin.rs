//! Topics, their configuration, and the cluster.

use super::super::schema::Kind::{List, Optional, Struct, Text};
use super::super::schema::Record;
use super::{INT8, INT16, INT32, INT64, UUID, always, record, since, until};

pub(crate) const CREATE_TOPICS: Record =
    record(&[always(List(&Struct(&NEW_TOPIC))), always(INT32), always(INT8)]);
const NEW_TOPIC: Record = record(&[
    always(Text),
    always(INT32),
    always(INT16),
    always(List(&Struct(&NEW_ASSIGNMENT))),
    always(List(&Struct(&NEW_CONFIG))),
]);
const NEW_ASSIGNMENT: Record = record(&[always(INT32), always(List(&INT32))]);
const NEW_CONFIG: Record = record(&[always(Text), always(Text)]);

pub(crate) const DELETE_TOPICS: Record =
    record(&[since(6, List(&Struct(&OLD_TOPIC))), until(5, List(&Text)), always(INT32)]);
const OLD_TOPIC: Record = record(&[always(Text), always(UUID)]);

pub(crate) const DELETE_RECORDS: Record =
    record(&[always(List(&Struct(&RECORDS_TOPIC))), always(INT32)]);
const RECORDS_TOPIC: Record = record(&[always(Text), always(List(&Struct(&RECORDS_PARTITION)))]);
const RECORDS_PARTITION: Record = record(&[always(INT32), always(INT64)]);

pub(crate) const DESCRIBE_CONFIGS: Record =
    record(&[always(List(&Struct(&DESCRIBED_RESOURCE))), always(INT8), since(3, INT8)]);
const DESCRIBED_RESOURCE: Record = record(&[always(INT8), always(Text), always(List(&Text))]);

pub(crate) const CREATE_PARTITIONS: Record =
    record(&[always(List(&Struct(&MORE_TOPIC))), always(INT32), always(INT8)]);
const MORE_TOPIC: Record =
    record(&[always(Text), always(INT32), always(List(&Struct(&MORE_ASSIGNMENT)))]);
const MORE_ASSIGNMENT: Record = record(&[always(List(&INT32))]);

pub(crate) const INCREMENTAL_ALTER_CONFIGS: Record =
    record(&[always(List(&Struct(&ALTERED_RESOURCE))), always(INT8)]);
const ALTERED_RESOURCE: Record =
    record(&[always(INT8), always(Text), always(List(&Struct(&ALTERED_CONFIG)))]);
const ALTERED_CONFIG: Record = record(&[always(Text), always(INT8), always(Text)]);

pub(crate) const ALTER_CONFIGS: Record =
    record(&[always(List(&Struct(&REPLACED_RESOURCE))), always(INT8)]);
const REPLACED_RESOURCE: Record =
    record(&[always(INT8), always(Text), always(List(&Struct(&NEW_CONFIG)))]);

pub(crate) const DESCRIBE_LOG_DIRS: Record = record(&[always(List(&Struct(&TOPIC_PARTITIONS)))]);
const TOPIC_PARTITIONS: Record = record(&[always(Text), always(List(&INT32))]);

pub(crate) const ELECT_LEADERS: Record =
    record(&[since(1, INT8), always(List(&Struct(&TOPIC_PARTITIONS))), always(INT32)]);

pub(crate) const ALTER_REASSIGNMENTS: Record =
    record(&[always(INT32), since(1, INT8), always(List(&Struct(&REASSIGNED_TOPIC)))]);
const REASSIGNED_TOPIC: Record =
    record(&[always(Text), always(List(&Struct(&REASSIGNED_PARTITION)))]);
const REASSIGNED_PARTITION: Record = record(&[always(INT32), always(List(&INT32))]);

pub(crate) const LIST_REASSIGNMENTS: Record =
    record(&[always(INT32), always(List(&Struct(&TOPIC_PARTITIONS)))]);

pub(crate) const DESCRIBE_QUORUM: Record = record(&[always(List(&Struct(&QUORUM_TOPIC)))]);
const QUORUM_TOPIC: Record = record(&[always(Text), always(List(&Struct(&QUORUM_PARTITION)))]);
const QUORUM_PARTITION: Record = record(&[always(INT32)]);

pub(crate) const LIST_CONFIG_RESOURCES: Record = record(&[since(1, List(&INT8))]);

pub(crate) const DESCRIBE_CLUSTER: Record = record(&[always(INT8), since(1, INT8), since(2, INT8)]);

pub(crate) const DESCRIBE_TOPIC_PARTITIONS: Record = record(&[
    always(List(&Struct(&PARTITIONS_TOPIC))),
    always(INT32),
    always(Optional(&PARTITIONS_CURSOR)),
]);
const PARTITIONS_TOPIC: Record = record(&[always(Text)]);
const PARTITIONS_CURSOR: Record = record(&[always(Text), always(INT32)]);
