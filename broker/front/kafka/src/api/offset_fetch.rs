//! `OffsetFetch`: how far groups have read.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_protocol::StreamId;
use holdfast_protocol::group::{Answer, FetchOffsets, Fetched, FetchedCursor, Request};
use holdfast_protocol::topic::Catalog;
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use super::coordinator::{ask, text};
use crate::context::{find_stream, wire_id, wire_offset};

/// First version with an error for the whole group.
const GROUP_ERROR: i16 = 2;
/// First version with the epoch of the message read last.
const LEADER_EPOCH: i16 = 5;
/// First version that asks for several groups.
const SEVERAL: i16 = 8;

/// Topics and partitions, as asked; `None` asks for all.
type Asked = Option<Vec<(TopicName, Vec<i32>)>>;

/// Topics and partitions with their cursors, as answered.
type Found = Vec<(TopicName, Vec<(i32, Option<FetchedCursor>)>)>;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let mut answer = OffsetFetchResponse::default();
    if call.version() < SEVERAL {
        let topics = request.topics.map(|topics| {
            let topics = topics.into_iter();
            topics.map(|topic| (topic.name, topic.partition_indexes)).collect()
        });
        one(&call, &mut answer, &request.group_id, topics).await;
        return answer;
    }
    for group in request.groups {
        let topics = group.topics.map(|topics| {
            let topics = topics.into_iter();
            topics.map(|topic| (topic.name, topic.partition_indexes)).collect()
        });
        let mut answered = OffsetFetchResponseGroup::default();
        match fetch(&call, &group.group_id, topics).await {
            Ok(found) => answered.topics = found.into_iter().map(topic_of_several).collect(),
            Err(code) => answered.error_code = code.code(),
        }
        answer.groups.push(answered.with_group_id(group.group_id));
    }
    answer
}

/// Answers for the one group of versions 1 to 7.
async fn one<S: Service>(
    call: &Call<S>,
    answer: &mut OffsetFetchResponse,
    group: &str,
    asked: Asked,
) {
    let named = asked.clone().unwrap_or_default();
    let (found, code) = match fetch(call, group, asked).await {
        Ok(found) => (found, 0),
        Err(code) => {
            let nothing = |index| (index, None);
            let named = named.into_iter();
            let found = named
                .map(|(name, indexes)| (name, indexes.into_iter().map(nothing).collect()))
                .collect();
            (found, code.code())
        }
    };
    if call.version() >= GROUP_ERROR {
        answer.error_code = code;
    }
    let topics = found.into_iter().map(|(name, partitions)| {
        let partitions = partitions
            .into_iter()
            .map(|(index, cursor)| partition(call.version(), index, cursor).with_error_code(code));
        OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    answer.topics = topics.collect();
}

async fn fetch<S: Service>(call: &Call<S>, group: &str, asked: Asked) -> Result<Found, Code> {
    let knows_all = |catalog: &Catalog| streams(catalog, &asked).all(|stream| stream.is_some());
    let catalog = call.context().catalog_with(knows_all).await;
    let knows_all = knows_all(&catalog);
    // All that the group has, where something is asked for that may not be known yet.
    let wanted =
        (asked.is_some() && knows_all).then(|| streams(&catalog, &asked).flatten().collect());
    let request = Request::FetchOffsets(FetchOffsets { group: group.to_owned(), streams: wanted });
    let fetched = ask(call, group, request, |answer| match answer {
        Answer::FetchOffsets(fetched) => Some(fetched),
        _ => None,
    });
    let fetched = fetched.await.map_err(|refusal| refusal.code)?;
    let cursors = fetched.into_iter();
    let cursors: BTreeMap<StreamId, Option<FetchedCursor>> =
        cursors.map(|Fetched { stream, cursor }| (stream, cursor)).collect();
    if !knows_all && !cursors.keys().all(|stream| is_known(&catalog, *stream)) {
        // It may be the very one that is asked for: to say that nothing was read of it would have
        // the group begin anew, or leave out what it has not read.
        return Err(Code::CoordinatorLoadInProgress);
    }
    Ok(match asked {
        Some(asked) => named(&catalog, asked, &cursors),
        None => all(&catalog, cursors),
    })
}

/// The streams that are asked for by name; nothing for one that is not in the catalog.
fn streams<'a>(
    catalog: &'a Catalog,
    asked: &'a Asked,
) -> impl Iterator<Item = Option<StreamId>> + 'a {
    let topics = asked.iter().flatten();
    topics.flat_map(move |(name, indexes)| {
        indexes.iter().map(move |index| find_stream(catalog, name, *index))
    })
}

fn is_known(catalog: &Catalog, stream: StreamId) -> bool {
    catalog.by_id(stream.topic).is_some_and(|topic| topic.stream(stream.partition).is_some())
}

/// The cursors asked for; none where there is no such topic.
fn named(
    catalog: &Catalog,
    asked: Vec<(TopicName, Vec<i32>)>,
    cursors: &BTreeMap<StreamId, Option<FetchedCursor>>,
) -> Found {
    let topics = asked.into_iter().map(|(name, indexes)| {
        let partitions = indexes.into_iter().map(|index| {
            let stream = find_stream(catalog, &name, index);
            let cursor = stream.and_then(|stream| cursors.get(&stream)).cloned();
            (index, cursor.flatten())
        });
        let partitions = partitions.collect();
        (name, partitions)
    });
    topics.collect()
}

/// All cursors, by topic; those in topics that are gone can't be named.
fn all(catalog: &Catalog, cursors: BTreeMap<StreamId, Option<FetchedCursor>>) -> Found {
    let mut found: Found = Vec::new();
    let mut last = None;
    for (stream, cursor) in cursors {
        let Some(topic) = catalog.by_id(stream.topic) else {
            continue;
        };
        if last != Some(stream.topic) {
            found.push((TopicName(text(topic.name.clone())), Vec::new()));
            last = Some(stream.topic);
        }
        if let Some((_, partitions)) = found.last_mut() {
            partitions.push((wire_id(stream.partition), cursor));
        }
    }
    found
}

fn partition(
    version: i16,
    index: i32,
    cursor: Option<FetchedCursor>,
) -> OffsetFetchResponsePartition {
    let mut answer = OffsetFetchResponsePartition::default()
        .with_partition_index(index)
        .with_committed_offset(-1)
        .with_metadata(Some(StrBytes::new()));
    if let Some(cursor) = cursor {
        answer.committed_offset = wire_offset(cursor.offset);
        answer.metadata = Some(text(cursor.metadata));
        if version >= LEADER_EPOCH {
            answer.committed_leader_epoch = cursor.leader_epoch;
        }
    }
    answer
}

fn topic_of_several(
    (name, partitions): (TopicName, Vec<(i32, Option<FetchedCursor>)>),
) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|(index, cursor)| {
        let of_one = partition(SEVERAL, index, cursor);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(of_one.partition_index)
            .with_committed_offset(of_one.committed_offset)
            .with_committed_leader_epoch(of_one.committed_leader_epoch)
            .with_metadata(of_one.metadata)
    });
    OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
}
