//! Consumer groups: what reaches the coordinator, and what comes back.

use bytes::Bytes;
use holdfast_protocol::group::*;
use holdfast_protocol::{BrokerId, Offset, StreamId, TopicId};
use holdfast_service::GroupError;
use kafka_protocol::ResponseError as Code;

use crate::client::{Client, Door};
use crate::memory::{Memory, SHARDS};
use crate::samples;

async fn opened() -> (Memory, Door, Client) {
    let memory = Memory::new().with_topic("orders", 2);
    let door = Door::open(&memory).await;
    let client = door.client().await;
    (memory, door, client)
}

fn asked(memory: &Memory) -> Request {
    memory.state().group_requests.pop().expect("the coordinator was asked")
}

fn stream(memory: &Memory, partition: u32) -> StreamId {
    memory.topic("orders").unwrap().stream(partition).unwrap()
}

#[tokio::test]
async fn members_join_sync_and_leave() {
    let (memory, _door, mut client) = opened().await;
    for version in 0..=9 {
        let member =
            JoinedMember { member: "m".into(), instance: None, metadata: Bytes::from("words") };
        memory.state().group_answers = vec![Ok(Answer::Join(Joined {
            generation: Generation(4),
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            leader: "m".into(),
            skip_assignment: true,
            member: "m".into(),
            members: vec![member],
        }))];
        let answer = client.call(version, &samples::join_group(version)).await;
        assert_eq!((answer.error_code, answer.generation_id), (0, 4));
        assert_eq!(answer.members[0].metadata, "words");
        assert_eq!(answer.skip_assignment, version >= 9);
        let Request::Join(join) = asked(&memory) else { panic!("not a join") };
        assert_eq!((&*join.client_id, &*join.client_host), ("tests", "/127.0.0.1"));
        assert_eq!(join.rebalance_timeout_ms, if version >= 1 { 20_000 } else { 10_000 });
        assert_eq!(join.require_known_member_id, version >= 4);
    }
    let required = Error::MemberIdRequired { member: "given".into() };
    memory.state().group_answers = vec![Err(GroupError::Group(required))];
    let answer = client.call(6, &samples::join_group(6)).await;
    assert_eq!(answer.error_code, Code::MemberIdRequired.code());
    assert_eq!(&*answer.member_id, "given");
    for version in 0..=5 {
        memory.state().group_answers = vec![Ok(Answer::Sync(Synced {
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            assignment: Bytes::from("yours"),
        }))];
        let answer = client.call(version, &samples::sync_group(version)).await;
        assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"yours"[..]));
        let left =
            Left { member: "member".into(), instance: None, result: Err(Error::UnknownMember) };
        memory.state().group_answers = vec![Ok(Answer::Leave(vec![left]))];
        let answer = client.call(version, &samples::leave_group(version)).await;
        let unknown = Code::UnknownMemberId.code();
        if version < 3 {
            assert_eq!(answer.error_code, unknown);
        } else {
            assert_eq!((answer.error_code, answer.members[0].error_code), (0, unknown));
        }
    }
    memory.state().group_answers =
        vec![Err(GroupError::Group(Error::RebalanceInProgress)), Ok(Answer::Heartbeat)];
    assert_eq!(client.call(4, &samples::heartbeat(4)).await.error_code, 0);
    let answer = client.call(4, &samples::heartbeat(4)).await;
    assert_eq!(answer.error_code, Code::RebalanceInProgress.code());
}

#[tokio::test]
async fn offsets_are_committed_fetched_and_dropped() {
    let (memory, _door, mut client) = opened().await;
    let (first, second) = (stream(&memory, 0), stream(&memory, 1));
    for version in 2..=9 {
        memory.state().group_answers = vec![Ok(Answer::CommitOffsets(vec![(first, Ok(()))]))];
        let answer = client.call(version, &samples::offset_commit(version)).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        let Request::CommitOffsets(commit) = asked(&memory) else { panic!("not a commit") };
        let cursor = &commit.offsets[0];
        assert_eq!((cursor.stream, cursor.offset, &*cursor.metadata), (first, Offset(3), "words"));
    }
    let mut unknown = samples::offset_commit(9);
    unknown.topics[0].partitions[0].partition_index = 9;
    memory.state().group_answers = vec![Ok(Answer::CommitOffsets(vec![]))];
    let answer = client.call(9, &unknown).await;
    let code = answer.topics[0].partitions[0].error_code;
    assert_eq!(code, Code::UnknownTopicOrPartition.code());
    let cursor = FetchedCursor { offset: Offset(5), leader_epoch: 7, metadata: "m".into() };
    let fetched = vec![
        Fetched { stream: first, cursor: Some(cursor) },
        Fetched { stream: second, cursor: None },
    ];
    for version in 1..=9 {
        memory.state().group_answers = vec![Ok(Answer::FetchOffsets(fetched.clone()))];
        let answer = client.call(version, &samples::offset_fetch(version)).await;
        let offsets: Vec<i64> = if version < 8 {
            answer.topics[0].partitions.iter().map(|p| p.committed_offset).collect()
        } else {
            let topic = &answer.groups[0].topics[0];
            topic.partitions.iter().map(|p| p.committed_offset).collect()
        };
        assert_eq!(offsets, [5, -1], "version {version}");
        memory.state().group_answers = vec![Err(GroupError::Loading)];
        let answer = client.call(version, &samples::offset_fetch(version)).await;
        let code = match version {
            1 => answer.topics[0].partitions[0].error_code,
            2..=7 => answer.error_code,
            _ => answer.groups[0].error_code,
        };
        assert_eq!(code, Code::CoordinatorLoadInProgress.code());
    }
    let mut all = samples::offset_fetch(9);
    all.groups[0].topics = None;
    memory.state().group_answers = vec![Ok(Answer::FetchOffsets(fetched))];
    let answer = client.call(9, &all).await;
    assert_eq!(&**answer.groups[0].topics[0].name, "orders");
    memory.state().group_answers =
        vec![Ok(Answer::DropOffsets(vec![(first, Err(Error::GroupSubscribedToTopic))]))];
    let answer = client.call(0, &samples::offset_delete(0)).await;
    let code = answer.topics[0].partitions[0].error_code;
    assert_eq!(code, Code::GroupSubscribedToTopic.code());
}

#[tokio::test]
async fn what_this_broker_may_not_know_yet_is_not_told_to_be_unread() {
    let (memory, _door, mut client) = opened().await;
    let read = |stream| {
        let cursor = FetchedCursor { offset: Offset(5), leader_epoch: 7, metadata: "m".into() };
        Fetched { stream, cursor: Some(cursor) }
    };
    let known = stream(&memory, 0);
    let another_topic = StreamId { topic: TopicId([9; 16]), ..known };
    let another_partition = StreamId { partition: 7, ..known };
    let mut request = samples::offset_fetch(9);
    let topics = request.groups[0].topics.as_mut().unwrap();
    topics[0].partition_indexes = vec![0, 7];
    for (kept, code) in [
        (vec![], 0),
        (vec![known], 0),
        (vec![known, another_topic], Code::CoordinatorLoadInProgress.code()),
        (vec![known, another_partition], Code::CoordinatorLoadInProgress.code()),
    ] {
        let offset = if kept.is_empty() { -1 } else { 5 };
        let kept = kept.into_iter().map(read).collect();
        memory.state().group_answers = vec![Ok(Answer::FetchOffsets(kept))];
        let answer = client.call(9, &request).await;
        let Request::FetchOffsets(fetch) = asked(&memory) else { panic!("not a fetch") };
        assert_eq!(fetch.streams, None, "all that the group has");
        assert_eq!(answer.groups[0].error_code, code);
        if code == 0 {
            let partitions = answer.groups[0].topics[0].partitions.iter();
            let offsets: Vec<i64> = partitions.map(|p| p.committed_offset).collect();
            assert_eq!(offsets, [offset, -1]);
        }
    }
}

#[tokio::test]
async fn groups_are_described_listed_and_deleted() {
    let (memory, _door, mut client) = opened().await;
    for version in 0..=6 {
        let missing = Described { group: "readers".into(), result: Err(Error::GroupIdNotFound) };
        memory.state().group_answers = vec![Ok(Answer::Describe(vec![missing]))];
        let answer = client.call(version, &samples::describe_groups(version)).await;
        let group = &answer.groups[0];
        assert_eq!(&*group.group_state, "Dead");
        let expected = if version < 6 { 0 } else { Code::GroupIdNotFound.code() };
        assert_eq!(group.error_code, expected);
        let description = Description {
            state: State::Stable,
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            members: vec![],
        };
        let there = Described { group: "readers".into(), result: Ok(description) };
        memory.state().group_answers = vec![Ok(Answer::Describe(vec![there]))];
        let answer = client.call(version, &samples::describe_groups(version)).await;
        assert_eq!(&*answer.groups[0].group_state, "Stable");
    }
    for shard in &mut memory.state().cluster.shards[1..] {
        shard.leader = Some(BrokerId(2));
    }
    for version in 0..=5 {
        memory.state().group_requests.clear();
        let listed = Listed {
            group: "readers".into(),
            protocol_type: "consumer".into(),
            state: State::Stable,
        };
        memory.state().group_answers = vec![Ok(Answer::List(vec![listed]))];
        let answer = client.call(version, &samples::list_groups(version)).await;
        assert_eq!(answer.groups.len(), 1);
        let Request::List(list) = asked(&memory) else { panic!("not a list") };
        assert_eq!(list.states, (version >= 4).then(|| vec![State::Stable]));
        // The broker itself knows what it leads: the view of the cluster may be a moment behind.
        assert_eq!(memory.state().group_requests.len() + 1, SHARDS as usize);
    }
    memory.state().group_answers =
        vec![Ok(Answer::DeleteGroups(vec![("readers".into(), Err(Error::NonEmptyGroup))]))];
    let answer = client.call(2, &samples::delete_groups(2)).await;
    assert_eq!(answer.results[0].error_code, Code::NonEmptyGroup.code());
}

#[tokio::test]
async fn coordinators_are_found_and_transactions_fail_clean() {
    let (memory, _door, mut client) = opened().await;
    for version in 0..=6 {
        let answer = client.call(version, &samples::find_coordinator(version)).await;
        if version < 4 {
            assert_eq!((answer.error_code, answer.node_id.0, answer.port), (0, 1, 9092));
        } else {
            assert_eq!(answer.coordinators.len(), 2);
            assert_eq!(&*answer.coordinators[0].host, "plain-1");
        }
        if version >= 1 {
            let transactional = samples::find_coordinator(version).with_key_type(1);
            let answer = client.call(version, &transactional).await;
            let code = answer.coordinators.first().map_or(answer.error_code, |c| c.error_code);
            assert_eq!(code, Code::TransactionalIdAuthorizationFailed.code());
        }
    }
    for shard in 0..SHARDS as usize {
        memory.state().cluster.shards[shard].leader = None;
    }
    let answer = client.call(3, &samples::find_coordinator(3)).await;
    assert_eq!(answer.error_code, Code::CoordinatorNotAvailable.code());
}
