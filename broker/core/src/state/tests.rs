//! Tests of the state machine: what each command does, and that a checkpoint keeps all of it.

use bytes::Bytes;
use holdfast_protocol::{Epoch, Header, Kind, Offset, Position, StreamId, TopicId, command};
use proptest::prelude::*;
use prost::Message;

use super::{Change, CheckpointError, Command, Sequence, State};
use crate::batch::Stamp;
use crate::replica::History;

const STREAM: StreamId = StreamId { topic: TopicId([1; 16]), partition: 3 };

/// Applies a command as the next of the log.
fn apply(state: &mut State, kind: Kind, stream: StreamId, body: &impl Message) -> Change {
    let header = Header {
        length: 100,
        crc: 0,
        kind,
        epoch: Epoch(1),
        position: state.position(),
        stream,
        count: 0,
        offset: Offset(0),
        timestamp_ms: -1,
    };
    let body = Bytes::from(body.encode_to_vec());
    state.apply(&Command { header, stamp: None, body }).unwrap()
}

/// Appends a batch of `count` messages in `epoch`.
fn append(state: &mut State, epoch: u32, count: u32, stamp: Option<Stamp>) -> Change {
    append_to(state, STREAM, epoch, count, stamp)
}

fn append_to(
    state: &mut State,
    stream: StreamId,
    epoch: u32,
    count: u32,
    stamp: Option<Stamp>,
) -> Change {
    let header = Header {
        length: 100,
        crc: 0,
        kind: Kind::Append,
        epoch: Epoch(epoch),
        position: state.position(),
        stream,
        count,
        offset: state.stream(stream).map_or(Offset(0), |stream| stream.end),
        timestamp_ms: i64::from(count) * 10,
    };
    state.apply(&Command { header, stamp, body: Bytes::new() }).unwrap()
}

fn trim(state: &mut State, start: u64, bytes: u64) -> Change {
    apply(state, Kind::TrimStream, STREAM, &command::TrimStream { start, bytes })
}

fn cursor(partition: u32, offset: u64) -> command::Cursor {
    command::Cursor {
        topic: vec![1; 16].into(),
        partition,
        offset,
        leader_epoch: -1,
        metadata: "mine".to_owned(),
        committed_ms: 5,
    }
}

fn topic(id: u8, name: &str, partitions: u32) -> command::DeclareTopic {
    command::DeclareTopic {
        topic: Some(command::Topic {
            id: vec![id; 16].into(),
            name: name.to_owned(),
            partitions,
            config: Some(command::TopicConfig { message_bytes_max: 1000, ..Default::default() }),
            declared_by: 0,
        }),
    }
}

#[test]
fn a_stream_knows_its_bounds_and_its_epochs() {
    let mut state = State::default();
    for (epoch, count) in [(1, 2), (1, 3), (4, 1), (6, 5)] {
        assert_eq!(append(&mut state, epoch, count, None), Change::Stream(STREAM));
    }
    let stream = state.stream(STREAM).unwrap();
    assert_eq!((stream.start, stream.end, stream.bytes), (Offset(0), Offset(11), 400));
    assert_eq!(stream.timestamp_ms_max, 50);
    for (asked, expected) in [
        (0, Some((0, 0))),
        (1, Some((1, 5))),
        (3, Some((1, 5))),
        (4, Some((4, 6))),
        (6, Some((6, 11))),
        (9, Some((6, 11))),
    ] {
        let expected = expected.map(|(epoch, end)| (Epoch(epoch), Offset(end)));
        assert_eq!(stream.end_of(Epoch(asked)), expected, "epoch {asked}");
    }
}

#[test]
fn a_trim_moves_the_start_forward_and_never_past_the_end() {
    let mut state = State::default();
    assert_eq!(trim(&mut state, 5, 10), Change::Nothing);
    for epoch in [1, 2, 3] {
        append(&mut state, epoch, 4, None);
    }
    for (to, start, bytes, epochs) in
        [(3, 3, 290, 3), (2, 3, 280, 3), (4, 4, 270, 2), (99, 12, 260, 1)]
    {
        assert_eq!(trim(&mut state, to, 10), Change::Stream(STREAM));
        let stream = state.stream(STREAM).unwrap();
        let found = (stream.start.0, stream.bytes, stream.epochs.len());
        assert_eq!(found, (start, bytes, epochs), "trimmed to {to}");
        assert_eq!(stream.end, Offset(12));
    }
    trim(&mut state, 99, u64::MAX);
    assert_eq!(state.stream(STREAM).unwrap().bytes, 0);
}

#[test]
fn a_dropped_stream_is_gone_with_its_producers() {
    let mut state = State::default();
    append(&mut state, 1, 1, Some(Stamp { id: 1, epoch: 0, first: 0, last: 0 }));
    let drop = command::DropStream {};
    assert_eq!(apply(&mut state, Kind::DropStream, STREAM, &drop), Change::StreamGone(STREAM));
    assert_eq!(apply(&mut state, Kind::DropStream, STREAM, &drop), Change::Nothing);
    append(&mut state, 1, 1, None);
    let stream = state.stream(STREAM).unwrap();
    assert_eq!((stream.end, stream.producers.len()), (Offset(1), 0));
}

#[test]
fn cursors_are_kept_and_dropped() {
    let mut state = State::default();
    let commit = |state: &mut State, cursors: Vec<command::Cursor>| {
        let body = command::CommitOffsets { group: "g".to_owned(), cursors };
        apply(state, Kind::CommitOffsets, StreamId::default(), &body)
    };
    let drop = |state: &mut State, partitions: &[u32], group_too: bool| {
        let streams = partitions
            .iter()
            .map(|partition| command::Stream { topic: vec![1; 16].into(), partition: *partition });
        let streams = streams.collect();
        let body = command::DropOffsets { group: "g".to_owned(), streams, group_too };
        apply(state, Kind::DropOffsets, StreamId::default(), &body)
    };
    assert_eq!(commit(&mut state, vec![cursor(0, 5), cursor(1, 6)]), Change::Group);
    commit(&mut state, vec![cursor(1, 2)]);
    let offsets = |state: &State| -> Option<Vec<u64>> {
        Some(state.group("g")?.cursors.values().map(|cursor| cursor.offset.0).collect())
    };
    assert_eq!(offsets(&state), Some(vec![5, 2]));
    drop(&mut state, &[0, 9], false);
    assert_eq!(offsets(&state), Some(vec![2]));
    drop(&mut state, &[1], false);
    assert_eq!(offsets(&state), None, "an empty group is nothing");

    let keep = command::KeepGroup { group: "g".into(), state: vec![1].into(), kept_ms: 3 };
    apply(&mut state, Kind::KeepGroup, StreamId::default(), &keep);
    commit(&mut state, vec![cursor(0, 5)]);
    drop(&mut state, &[0], false);
    assert_eq!(offsets(&state), Some(vec![]), "its members are kept");
    drop(&mut state, &[], true);
    assert_eq!(offsets(&state), None);
}

#[test]
fn the_catalog_takes_the_newest_declaration_and_no_deleted_id() {
    let mut state = State::default();
    let catalog = |state: &mut State, kind: Kind, body: &dyn Fn() -> Vec<u8>| {
        let mut header = Header {
            length: 100,
            crc: 0,
            kind,
            epoch: Epoch(1),
            position: Position(0),
            stream: StreamId::default(),
            count: 0,
            offset: Offset(0),
            timestamp_ms: -1,
        };
        header.position = state.position();
        state.apply(&Command { header, stamp: None, body: body().into() }).unwrap()
    };
    let declare = |state: &mut State, id, name: &str, partitions| {
        let body = topic(id, name, partitions);
        catalog(state, Kind::DeclareTopic, &|| body.encode_to_vec())
    };
    let delete = |state: &mut State, id: Vec<u8>| {
        let body = command::DeleteTopic { id: id.into() };
        catalog(state, Kind::DeleteTopic, &|| body.encode_to_vec())
    };
    assert_eq!(declare(&mut state, 1, "orders", 3), Change::Catalog);
    assert_eq!(declare(&mut state, 1, "orders", 6), Change::Catalog);
    // What no catalog can hold is left alone, as by every other replica.
    assert_eq!(declare(&mut state, 2, "not a name", 3), Change::Nothing);
    assert_eq!(declare(&mut state, 2, "none", 0), Change::Nothing);
    let topics = state.catalog().topics();
    assert_eq!((topics.len(), topics.by_name("orders").unwrap().partitions), (1, 6));

    assert_eq!(delete(&mut state, vec![1; 3]), Change::Nothing);
    assert_eq!(delete(&mut state, vec![1; 16]), Change::Catalog);
    assert!(state.catalog().topics().is_empty());
    assert_eq!(declare(&mut state, 1, "orders", 3), Change::Nothing);
    assert!(state.catalog().is_deleted(TopicId([1; 16])));
    assert_eq!(declare(&mut state, 3, "orders", 3), Change::Catalog);
}

#[test]
#[should_panic(expected = "an entry is applied once")]
fn an_entry_is_not_applied_twice() {
    let mut state = State::default();
    append(&mut state, 1, 1, None);
    let header = Header {
        length: 64,
        crc: 0,
        kind: Kind::EpochStart,
        epoch: Epoch(1),
        position: Position(0),
        stream: StreamId::default(),
        count: 0,
        offset: Offset(0),
        timestamp_ms: -1,
    };
    state.apply(&Command { header, stamp: None, body: Bytes::new() }).unwrap();
}

#[test]
fn a_checkpoint_keeps_only_the_epochs_of_what_is_in_it() {
    let mut state = State::default();
    append(&mut state, 1, 1, None);
    append(&mut state, 2, 1, None);
    let leader = [(1, 0), (2, 1), (3, 2), (5, 9)];
    let leader = History::new(leader.map(|(e, p)| (Epoch(e), Position(p))).to_vec());
    let (_, history) = State::decode(&state.encode(&leader)).unwrap();
    assert_eq!(history.epochs(), &leader.epochs()[..2]);
}

#[test]
fn a_checkpoint_that_can_not_be_is_an_error() {
    let backwards = command::Checkpoint {
        epochs: vec![
            command::LogEpoch { epoch: 2, position: 0 },
            command::LogEpoch { epoch: 1, position: 3 },
        ],
        ..Default::default()
    };
    let error = State::decode(&backwards.encode_to_vec()).unwrap_err();
    assert_eq!(error, CheckpointError::Field("epochs"));
    // A position that nothing could follow, in an epoch that could be.
    let epochs = vec![command::LogEpoch { epoch: 5, position: u64::MAX }];
    let bytes = command::Checkpoint { epochs, ..command::Checkpoint::default() }.encode_to_vec();
    let error = State::decode(&bytes).map(drop).unwrap_err();
    assert_eq!(error, CheckpointError::Field("epochs"));
    let deleted =
        command::Checkpoint { deleted_topics: vec![vec![1; 3].into()], ..Default::default() };
    let error = State::decode(&deleted.encode_to_vec()).unwrap_err();
    assert_eq!(error, CheckpointError::Field("deleted_topics"));
}

/// One command of any kind.
#[derive(Clone, Debug)]
enum Any {
    Append { partition: u32, epoch: u32, count: u32, producer: Option<i64> },
    Trim { start: u64, bytes: u64 },
    Drop(u32),
    Commit { group: u8, partition: u32, offset: u64 },
    DropGroup { group: u8, too: bool },
    Keep { group: u8, kept_ms: i64 },
    Declare { id: u8, partitions: u32 },
    Delete(u8),
    EpochStart,
}

fn any_command() -> impl Strategy<Value = Any> {
    prop_oneof![
        4 => (2..5_u32, 0..3_u32, 1..4_u32, proptest::option::of(1..4_i64)).prop_map(
            |(partition, epoch, count, producer)| Any::Append { partition, epoch, count, producer }
        ),
        1 => (0..20_u64, 0..500_u64).prop_map(|(start, bytes)| Any::Trim { start, bytes }),
        1 => (2..5_u32).prop_map(Any::Drop),
        2 => (0..3_u8, 0..3_u32, any::<u64>())
            .prop_map(|(group, partition, offset)| Any::Commit { group, partition, offset }),
        1 => (0..3_u8, any::<bool>()).prop_map(|(group, too)| Any::DropGroup { group, too }),
        1 => (0..3_u8, any::<i64>()).prop_map(|(group, kept_ms)| Any::Keep { group, kept_ms }),
        1 => (1..4_u8, 0..9_u32).prop_map(|(id, partitions)| Any::Declare { id, partitions }),
        1 => (1..4_u8).prop_map(Any::Delete),
        1 => Just(Any::EpochStart),
    ]
}

/// Applies any command; epochs only grow.
fn apply_any(state: &mut State, newest: &mut u32, sequence: &mut i32, any: &Any) -> Change {
    let none = StreamId::default();
    let name = |group: u8| format!("group-{group}");
    match any.clone() {
        Any::Append { partition, epoch, count, producer } => {
            *newest += epoch;
            let first = *sequence;
            *sequence += i32::try_from(count).unwrap();
            let stamp = producer.map(|id| Stamp { id, epoch: 0, first, last: *sequence - 1 });
            append_to(state, StreamId { partition, ..STREAM }, *newest, count, stamp)
        }
        Any::Trim { start, bytes } => trim(state, start, bytes),
        Any::Drop(partition) => {
            let stream = StreamId { partition, ..STREAM };
            apply(state, Kind::DropStream, stream, &command::DropStream {})
        }
        Any::Commit { group, partition, offset } => {
            let cursors = vec![cursor(partition, offset)];
            let body = command::CommitOffsets { group: name(group), cursors };
            apply(state, Kind::CommitOffsets, none, &body)
        }
        Any::DropGroup { group, too } => {
            let streams = vec![command::Stream { topic: vec![1; 16].into(), partition: 1 }];
            let body = command::DropOffsets { group: name(group), streams, group_too: too };
            apply(state, Kind::DropOffsets, none, &body)
        }
        Any::Keep { group, kept_ms } => {
            let body = command::KeepGroup { group: name(group), state: vec![3].into(), kept_ms };
            apply(state, Kind::KeepGroup, none, &body)
        }
        Any::Declare { id, partitions } => {
            let body = topic(id, &format!("topic-{id}"), partitions);
            apply(state, Kind::DeclareTopic, none, &body)
        }
        Any::Delete(id) => {
            let body = command::DeleteTopic { id: vec![id; 16].into() };
            apply(state, Kind::DeleteTopic, none, &body)
        }
        Any::EpochStart => apply(state, Kind::EpochStart, none, &command::EpochStart::default()),
    }
}

proptest! {
    /// A state that went through a checkpoint is the same, and goes on the same.
    #[test]
    fn a_checkpoint_keeps_everything(
        commands in proptest::collection::vec(any_command(), 0..60),
        cut in any::<proptest::sample::Index>(),
    ) {
        let history = History::default();
        let (mut state, mut newest, mut sequence) = (State::default(), 1, 0);
        let mut twin = None;
        let cut = cut.index(commands.len() + 1);
        for (n, command) in commands.iter().enumerate() {
            if n == cut {
                let decoded = State::decode(&state.encode(&history)).unwrap().0;
                twin = Some((decoded, newest, sequence));
            }
            let change = apply_any(&mut state, &mut newest, &mut sequence, command);
            if let Some((twin, newest, sequence)) = &mut twin {
                prop_assert_eq!(apply_any(twin, newest, sequence, command), change);
            }
        }
        let bytes = state.encode(&history);
        prop_assert_eq!(&State::decode(&bytes).unwrap().0.encode(&history), &bytes);
        if let Some((twin, ..)) = twin {
            prop_assert_eq!(&twin.encode(&history), &bytes);
            for (id, stream) in state.streams() {
                prop_assert_eq!(Some(stream), twin.stream(*id));
                let stamp = Stamp { id: 1, epoch: 0, first: sequence, last: sequence };
                let (one, other) = (&stream.producers, &twin.stream(*id).unwrap().producers);
                prop_assert_eq!(one.check(stamp), other.check(stamp));
                let unknown = Stamp { id: 99, ..stamp };
                prop_assert_eq!(one.check(unknown), Sequence::Follows);
            }
            prop_assert!(state.groups().eq(twin.groups()));
        }
    }

    #[test]
    fn no_checkpoint_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = State::decode(&bytes);
    }
}
