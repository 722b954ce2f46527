//! The frames that members of consumer groups write and read.

use bytes::Bytes;
use holdfast_protocol::group::{
    Answer, CommitOffsets, Error, FetchOffsets, Fetched, FetchedCursor, Generation, Heartbeat,
    Join, Joined, JoinedMember, Leave, Left, Request, Sync, Synced,
};
use holdfast_protocol::{Offset, StreamId};
use holdfast_service::GroupError;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::frames::{answer, frame, index, named};
use crate::client::{named_topic, topic_name};

/// The versions that are spoken: the last that name topics by name.
const FIND: i16 = 4;
const JOIN: i16 = 9;
const SYNC: i16 = 5;
const HEARTBEAT: i16 = 4;
const LEAVE: i16 = 5;
const COMMIT: i16 = 9;
const FETCH: i16 = 9;

/// What a member asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question {
    Find,
    Join,
    Sync,
    Heartbeat,
    Leave,
    Commit,
    Fetch,
}

impl Question {
    /// What a request asks; `None` where members have no such request.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        match request {
            Request::Join(_) => Some(Self::Join),
            Request::Sync(_) => Some(Self::Sync),
            Request::Heartbeat(_) => Some(Self::Heartbeat),
            Request::Leave(_) => Some(Self::Leave),
            Request::CommitOffsets(_) => Some(Self::Commit),
            Request::FetchOffsets(_) => Some(Self::Fetch),
            Request::Describe(_)
            | Request::List(_)
            | Request::DeleteGroups(_)
            | Request::DropOffsets(_) => None,
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

/// Asks who coordinates a group.
pub(crate) fn find(id: i32, group: &str) -> Option<Bytes> {
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
    frame(FIND, id, &request)
}

/// Who does: `Some(None)` where nobody does at present.
pub(crate) fn found(frame: Bytes) -> Option<Option<u32>> {
    let answer: FindCoordinatorResponse = answer::<FindCoordinatorRequest>(FIND, frame)?;
    let coordinator = answer.coordinators.first()?;
    match Code::try_from_code(coordinator.error_code) {
        None => u32::try_from(coordinator.node_id.0).ok().map(Some),
        Some(Code::CoordinatorNotAvailable) => Some(None),
        Some(_) => None,
    }
}

/// A request as a frame; `None` where members have no such request.
pub(crate) fn asked(id: i32, request: &Request) -> Option<Bytes> {
    match request {
        Request::Join(join) => frame(JOIN, id, &joining(join)),
        Request::Sync(sync) => frame(SYNC, id, &syncing(sync)),
        Request::Heartbeat(heartbeat) => frame(HEARTBEAT, id, &beating(heartbeat)),
        Request::Leave(leave) => frame(LEAVE, id, &leaving(leave)),
        Request::CommitOffsets(commit) => frame(COMMIT, id, &committing(commit)?),
        Request::FetchOffsets(fetch) => frame(FETCH, id, &fetching(fetch)),
        Request::Describe(_)
        | Request::List(_)
        | Request::DeleteGroups(_)
        | Request::DropOffsets(_) => None,
    }
}

/// What came of a request; `None` where the answer can't be read, or is to something else.
pub(crate) fn answered(question: Question, frame: Bytes) -> Option<Result<Answer, GroupError>> {
    match question {
        Question::Find => None,
        Question::Join => joined(frame),
        Question::Sync => {
            let answer: SyncGroupResponse = answer::<SyncGroupRequest>(SYNC, frame)?;
            outcome(answer.error_code, || {
                Some(Answer::Sync(Synced {
                    protocol_type: owned(answer.protocol_type),
                    protocol: owned(answer.protocol_name),
                    assignment: answer.assignment,
                }))
            })
        }
        Question::Heartbeat => {
            let answer: HeartbeatResponse = answer::<HeartbeatRequest>(HEARTBEAT, frame)?;
            outcome(answer.error_code, || Some(Answer::Heartbeat))
        }
        Question::Leave => left(frame),
        Question::Commit => committed(frame),
        Question::Fetch => fetched(frame),
    }
}

fn owned(text: Option<StrBytes>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

/// The refusals that a member of a group may meet.
fn refusal(code: Code) -> Option<GroupError> {
    Some(match code {
        Code::NotCoordinator => GroupError::NotCoordinator,
        Code::CoordinatorLoadInProgress => GroupError::Loading,
        Code::CoordinatorNotAvailable => Error::CoordinatorNotAvailable.into(),
        Code::RebalanceInProgress => Error::RebalanceInProgress.into(),
        Code::IllegalGeneration => Error::IllegalGeneration.into(),
        Code::UnknownMemberId => Error::UnknownMember.into(),
        _ => return None,
    })
}

fn outcome(
    code: i16,
    answer: impl FnOnce() -> Option<Answer>,
) -> Option<Result<Answer, GroupError>> {
    match Code::try_from_code(code) {
        None => answer().map(Ok),
        Some(code) => refusal(code).map(Err),
    }
}

fn joining(join: &Join) -> JoinGroupRequest {
    let milliseconds = |ms: u32| i32::try_from(ms).unwrap_or(i32::MAX);
    let protocols = join.protocols.iter().map(|protocol| {
        JoinGroupRequestProtocol::default()
            .with_name(text(&protocol.name))
            .with_metadata(protocol.metadata.clone())
    });
    JoinGroupRequest::default()
        .with_group_id(group_id(&join.group))
        .with_member_id(text(&join.member))
        .with_session_timeout_ms(milliseconds(join.session_timeout_ms))
        .with_rebalance_timeout_ms(milliseconds(join.rebalance_timeout_ms))
        .with_protocol_type(text(&join.protocol_type))
        .with_protocols(protocols.collect())
}

fn joined(frame: Bytes) -> Option<Result<Answer, GroupError>> {
    let answer: JoinGroupResponse = answer::<JoinGroupRequest>(JOIN, frame)?;
    let member = answer.member_id.to_string();
    if Code::try_from_code(answer.error_code) == Some(Code::MemberIdRequired) {
        return Some(Err(Error::MemberIdRequired { member }.into()));
    }
    let members = answer.members.into_iter().map(|of| JoinedMember {
        member: of.member_id.to_string(),
        instance: of.group_instance_id.map(|instance| instance.to_string()),
        metadata: of.metadata,
    });
    let joined = Joined {
        generation: Generation(answer.generation_id),
        protocol_type: owned(answer.protocol_type),
        protocol: owned(answer.protocol_name),
        leader: answer.leader.to_string(),
        skip_assignment: answer.skip_assignment,
        member,
        members: members.collect(),
    };
    outcome(answer.error_code, || Some(Answer::Join(joined)))
}

fn syncing(sync: &Sync) -> SyncGroupRequest {
    let assignments = sync.assignments.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(assignment.clone())
    });
    SyncGroupRequest::default()
        .with_group_id(group_id(&sync.group))
        .with_generation_id(sync.generation.0)
        .with_member_id(text(&sync.member))
        .with_assignments(assignments.collect())
}

fn beating(heartbeat: &Heartbeat) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group_id(&heartbeat.group))
        .with_generation_id(heartbeat.generation.0)
        .with_member_id(text(&heartbeat.member))
}

fn leaving(leave: &Leave) -> LeaveGroupRequest {
    let members = leave.members.iter();
    let members = members.map(|of| MemberIdentity::default().with_member_id(text(&of.member)));
    LeaveGroupRequest::default()
        .with_group_id(group_id(&leave.group))
        .with_members(members.collect())
}

fn left(frame: Bytes) -> Option<Result<Answer, GroupError>> {
    let answer: LeaveGroupResponse = answer::<LeaveGroupRequest>(LEAVE, frame)?;
    let gone = |member: &str, code| {
        let result = match Code::try_from_code(code) {
            None => Ok(()),
            Some(Code::UnknownMemberId) => Err(Error::UnknownMember),
            Some(_) => return None,
        };
        Some(Left { member: member.to_owned(), instance: None, result })
    };
    let members = answer.members.iter().map(|of| gone(&of.member_id, of.error_code));
    outcome(answer.error_code, || members.collect::<Option<_>>().map(Answer::Leave))
}

fn committing(commit: &CommitOffsets) -> Option<OffsetCommitRequest> {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for offset in &commit.offsets {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(index(offset.stream))
            .with_committed_offset(i64::try_from(offset.offset.0).ok()?)
            .with_committed_leader_epoch(offset.leader_epoch)
            .with_committed_metadata(Some(text(&offset.metadata)));
        let name = named(&topic_name(offset.stream.topic));
        match topics.iter_mut().find(|topic| topic.name == name) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                let topic = OffsetCommitRequestTopic::default().with_name(name);
                topics.push(topic.with_partitions(vec![partition]));
            }
        }
    }
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(&commit.group))
        .with_generation_id_or_member_epoch(commit.generation.0)
        .with_member_id(text(&commit.member))
        .with_topics(topics);
    Some(request)
}

/// A topic that the broker does not know yet is left out of the results.
fn committed(frame: Bytes) -> Option<Result<Answer, GroupError>> {
    let answer: OffsetCommitResponse = answer::<OffsetCommitRequest>(COMMIT, frame)?;
    let mut results = Vec::new();
    for topic in answer.topics {
        let id = named_topic(&topic.name)?;
        for of in topic.partitions {
            let partition = u32::try_from(of.partition_index).ok()?;
            let result = match Code::try_from_code(of.error_code) {
                None => Ok(()),
                Some(Code::UnknownTopicOrPartition) => continue,
                Some(code) => match refusal(code)? {
                    GroupError::Group(error) => Err(error),
                    error @ (GroupError::NotCoordinator | GroupError::Loading) => {
                        return Some(Err(error));
                    }
                },
            };
            results.push((StreamId { topic: id, partition }, result));
        }
    }
    Some(Ok(Answer::CommitOffsets(results)))
}

fn fetching(fetch: &FetchOffsets) -> OffsetFetchRequest {
    let topics = fetch.streams.as_ref().map(|streams| {
        let one = |stream: &StreamId| {
            OffsetFetchRequestTopics::default()
                .with_name(named(&topic_name(stream.topic)))
                .with_partition_indexes(vec![index(*stream)])
        };
        streams.iter().map(one).collect()
    });
    let group = OffsetFetchRequestGroup::default().with_group_id(group_id(&fetch.group));
    OffsetFetchRequest::default().with_groups(vec![group.with_topics(topics)])
}

fn fetched(frame: Bytes) -> Option<Result<Answer, GroupError>> {
    let answer: OffsetFetchResponse = answer::<OffsetFetchRequest>(FETCH, frame)?;
    let group = answer.groups.into_iter().next()?;
    let mut found = Vec::new();
    for topic in &group.topics {
        let id = named_topic(&topic.name)?;
        for of in &topic.partitions {
            if of.error_code != 0 {
                return None;
            }
            let stream = StreamId { topic: id, partition: u32::try_from(of.partition_index).ok()? };
            // Kafka's word for none is -1.
            let cursor = u64::try_from(of.committed_offset).ok().map(|offset| FetchedCursor {
                offset: Offset(offset),
                leader_epoch: of.committed_leader_epoch,
                metadata: owned(of.metadata.clone()),
            });
            found.push(Fetched { stream, cursor });
        }
    }
    outcome(group.error_code, || Some(Answer::FetchOffsets(found)))
}
