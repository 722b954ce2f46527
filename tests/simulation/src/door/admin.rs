//! The frames that an administrator writes and reads.

use bytes::Bytes;
use holdfast_protocol::topic::TopicConfig;
use holdfast_protocol::{Offset, ShardId, StreamId};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::frames::{answer, frame, index, named};
use super::{Asker, Told};
use crate::admin::{Deed, other_name};
use crate::client::{PRODUCERS, topic_name};
use crate::world::World;

/// The versions that are spoken: the last.
const CREATE: i16 = 7;
const DELETE: i16 = 6;
const TRIM: i16 = 2;
/// How long a broker may wait for commitment, ms: longer than the administrator does.
const PATIENCE_MS: i32 = 10_000;
/// "As the policy has it", for the number of replicas.
const DEFAULT: i16 = -1;

/// What an answer says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Done {
    Changed,
    /// A topic with that name was there.
    WasThere,
    /// The stream begins here now.
    Trimmed(Offset),
    Refused,
}

/// Has the catalog changed; `None` where that is not what is wanted.
pub(crate) fn change(id: i32, deed: Deed, config: &TopicConfig) -> Option<Bytes> {
    match deed {
        Deed::Declare(topic) => create(id, &topic_name(topic), config),
        Deed::Create(number) => create(id, &other_name(number), config),
        Deed::Delete(number) => {
            let topic = DeleteTopicState::default().with_name(Some(named(&other_name(number))));
            let request = DeleteTopicsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(PATIENCE_MS);
            frame(DELETE, id, &request)
        }
        Deed::Trim(_) => None,
    }
}

fn create(id: i32, name: &str, config: &TopicConfig) -> Option<Bytes> {
    let retention = config.retention_bytes.map(|bytes| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str("retention.bytes"))
            .with_value(Some(StrBytes::from_string(bytes.to_string())))
    });
    let topic = CreatableTopic::default()
        .with_name(named(name))
        .with_num_partitions(i32::try_from(PRODUCERS).ok()?)
        .with_replication_factor(DEFAULT)
        .with_configs(retention.into_iter().collect());
    let request =
        CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(PATIENCE_MS);
    frame(CREATE, id, &request)
}

/// Deletes the messages of a stream before an offset.
pub(crate) fn trim(id: i32, stream: StreamId, before: Offset) -> Option<Bytes> {
    let partition = DeleteRecordsPartition::default()
        .with_partition_index(index(stream))
        .with_offset(i64::try_from(before.0).ok()?);
    let topic = DeleteRecordsTopic::default()
        .with_name(named(&topic_name(stream.topic)))
        .with_partitions(vec![partition]);
    let request =
        DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(PATIENCE_MS);
    frame(TRIM, id, &request)
}

/// What came of it; `None` where the answer can't be read.
fn done(deed: Deed, frame: Bytes) -> Option<Done> {
    let changed = |code| match Code::try_from_code(code) {
        None => Done::Changed,
        Some(Code::TopicAlreadyExists) => Done::WasThere,
        Some(_) => Done::Refused,
    };
    match deed {
        Deed::Declare(_) | Deed::Create(_) => {
            let answer: CreateTopicsResponse = answer::<CreateTopicsRequest>(CREATE, frame)?;
            Some(changed(answer.topics.first()?.error_code))
        }
        Deed::Delete(_) => {
            let answer: DeleteTopicsResponse = answer::<DeleteTopicsRequest>(DELETE, frame)?;
            Some(changed(answer.responses.first()?.error_code))
        }
        Deed::Trim(_) => {
            let answer: DeleteRecordsResponse = answer::<DeleteRecordsRequest>(TRIM, frame)?;
            let partition = answer.topics.first()?.partitions.first()?;
            if partition.error_code != 0 {
                return Some(Done::Refused);
            }
            u64::try_from(partition.low_watermark).ok().map(|start| Done::Trimmed(Offset(start)))
        }
    }
}

impl World {
    /// The administrator asks for something by a frame, and waits for the answer.
    pub(crate) fn do_by_door(
        &mut self,
        broker: u32,
        deed: Deed,
        frame: impl FnOnce(i32) -> Option<Bytes>,
    ) {
        if self.is_paused(broker).is_some() {
            return;
        }
        self.admin.waits_since_ms = Some(self.now());
        self.faults.count("administered by a door");
        let cut = self.dice.chance(20);
        self.ask_door(broker, self.link_of_admin(), Asker::Admin(deed), cut, frame);
    }

    /// The administrator's connection is the last.
    fn link_of_admin(&self) -> usize {
        self.clients.len() + 1 + self.members.len()
    }

    /// It gives up waiting.
    pub(crate) fn reset_admin(&mut self) {
        let link = self.link_of_admin();
        for process in self.brokers.iter_mut().filter_map(|broker| broker.process.as_mut()) {
            process.door.reset(link);
            process.door.told.remove(&Told::Admin);
        }
    }

    /// It hears of what it asked for.
    pub(super) fn deed_answered(
        &mut self,
        broker: u32,
        deed: Deed,
        frame: Bytes,
    ) -> Result<(), String> {
        let done = done(deed, frame).ok_or_else(|| format!("an answer to {deed:?}"))?;
        let process = self.brokers[broker as usize].process.as_mut();
        let told = process.and_then(|process| process.door.told.remove(&Told::Admin));
        let below = match (done, told) {
            (Done::Changed | Done::Trimmed(_), None) => {
                return Err(format!("a door told of {deed:?}, and no leader did it"));
            }
            // It is in the catalog of this broker, which knows only what is committed.
            (Done::WasThere, _) => self.committed_at(broker, ShardId::CATALOG),
            (Done::Changed | Done::Trimmed(_) | Done::Refused, told) => told.unwrap_or_default(),
        };
        self.admin.waits_since_ms = None;
        self.administered_by_door(deed, done, below);
        Ok(())
    }
}
