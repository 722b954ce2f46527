//! A state as bytes: `command::Checkpoint`.

use holdfast_protocol::topic::Topic;
use holdfast_protocol::{Epoch, Offset, Position, StreamId, TopicId, command};
use prost::Message;

use super::producers::{Known, Producer};
use super::streams::Stream;
use super::{CheckpointError, Cursor, Group, State, stream_id};
use crate::replica::History;

pub(super) fn encode(state: &State, history: &History) -> Vec<u8> {
    // What is above the state is not committed, and may be cut yet.
    let epochs = history.epochs().iter().filter(|(_, at)| *at < state.position);
    let catalog = &state.catalog;
    let mut topics: Vec<&Topic> = catalog.topics().topics().map(AsRef::as_ref).collect();
    topics.sort_unstable_by_key(|topic| topic.id);
    command::Checkpoint {
        position: state.position.0,
        epochs: epochs
            .map(|(epoch, at)| command::LogEpoch { epoch: epoch.0, position: at.0 })
            .collect(),
        streams: state.streams.iter().map(|(id, stream)| stream_to_wire(*id, stream)).collect(),
        groups: state.groups.iter().map(|(name, group)| group_to_wire(name, group)).collect(),
        topics: topics.into_iter().map(Into::into).collect(),
        deleted_topics: catalog.deleted().map(|id| id.0.to_vec().into()).collect(),
    }
    .encode_to_vec()
}

pub(super) fn decode(bytes: &[u8]) -> Result<(State, History), CheckpointError> {
    let wire = command::Checkpoint::decode(bytes)
        .map_err(|error| CheckpointError::Decode(error.to_string()))?;
    let mut state = State { position: position(wire.position)?, ..State::default() };
    for stream in wire.streams {
        let id = stream_id(&stream.topic, stream.partition);
        state.streams.insert(id, stream_from_wire(stream)?);
    }
    for group in wire.groups {
        state.groups.insert(group.group.clone(), group_from_wire(group));
    }
    for topic in wire.topics {
        let topic = Topic::try_from(topic).map_err(|_| CheckpointError::Field("topics"))?;
        state.catalog.insert(topic);
    }
    for id in &wire.deleted_topics {
        let id = TopicId::from_slice(id).ok_or(CheckpointError::Field("deleted_topics"))?;
        state.catalog.note_deleted(id);
    }
    Ok((state, history(&wire.epochs)?))
}

/// What is too large to be is nothing that could be gone on from.
fn position(number: u64) -> Result<Position, CheckpointError> {
    let fits = Some(Position(number)).filter(|position| *position <= Position::MAX);
    fits.ok_or(CheckpointError::Field("position"))
}

fn history(wire: &[command::LogEpoch]) -> Result<History, CheckpointError> {
    let epochs: Vec<_> =
        wire.iter().map(|epoch| (Epoch(epoch.epoch), Position(epoch.position))).collect();
    if !Epoch::are_history(&epochs) {
        return Err(CheckpointError::Field("epochs"));
    }
    Ok(History::new(epochs))
}

fn stream_to_wire(id: StreamId, stream: &Stream) -> command::StreamState {
    let epochs = stream.epochs.iter();
    command::StreamState {
        topic: id.topic.0.to_vec().into(),
        partition: id.partition,
        start: stream.start.0,
        end: stream.end.0,
        epochs: epochs
            .map(|(epoch, at)| command::StreamEpoch { epoch: epoch.0, offset: at.0 })
            .collect(),
        producers: stream.producers.iter().map(|(id, p)| producer_to_wire(*id, p)).collect(),
        bytes: stream.bytes,
        timestamp_ms_max: stream.timestamp_ms_max,
    }
}

fn stream_from_wire(wire: command::StreamState) -> Result<Stream, CheckpointError> {
    let mut stream = Stream {
        start: Offset(wire.start),
        end: Offset(wire.end),
        epochs: wire.epochs.iter().map(|e| (Epoch(e.epoch), Offset(e.offset))).collect(),
        bytes: wire.bytes,
        timestamp_ms_max: wire.timestamp_ms_max,
        ..Stream::default()
    };
    if stream.start > stream.end || stream.end > Offset::MAX {
        return Err(CheckpointError::Field("streams.end"));
    }
    for producer in wire.producers {
        let id = producer.id;
        stream.producers.insert(id, producer_from_wire(producer)?);
    }
    Ok(stream)
}

fn producer_to_wire(id: i64, producer: &Producer) -> command::Producer {
    let batches = producer.batches.iter();
    command::Producer {
        id,
        epoch: producer.epoch.into(),
        position: producer.position.0,
        batches: batches
            .map(|known| command::ProducerBatch {
                first_sequence: known.first,
                last_sequence: known.last,
                offset: known.offset.0,
                timestamp_ms: known.timestamp_ms,
            })
            .collect(),
    }
}

fn producer_from_wire(wire: command::Producer) -> Result<Producer, CheckpointError> {
    let batches = wire.batches.into_iter();
    Ok(Producer {
        epoch: i16::try_from(wire.epoch).map_err(|_| CheckpointError::Field("producers.epoch"))?,
        position: Position(wire.position),
        batches: batches
            .map(|known| Known {
                first: known.first_sequence,
                last: known.last_sequence,
                offset: Offset(known.offset),
                timestamp_ms: known.timestamp_ms,
            })
            .collect(),
    })
}

fn group_to_wire(name: &str, group: &Group) -> command::GroupState {
    let cursors = group.cursors.iter();
    command::GroupState {
        group: name.to_owned(),
        cursors: cursors.map(|(stream, cursor)| cursor_to_wire(*stream, cursor)).collect(),
        state: group.state.clone(),
        kept_ms: group.kept_ms,
    }
}

fn cursor_to_wire(stream: StreamId, cursor: &Cursor) -> command::Cursor {
    command::Cursor {
        topic: stream.topic.0.to_vec().into(),
        partition: stream.partition,
        offset: cursor.offset.0,
        leader_epoch: cursor.leader_epoch,
        metadata: cursor.metadata.clone(),
        committed_ms: cursor.committed_ms,
    }
}

fn group_from_wire(wire: command::GroupState) -> Group {
    let cursors = wire.cursors.into_iter();
    Group {
        cursors: cursors.map(|c| (stream_id(&c.topic, c.partition), c.into())).collect(),
        state: wire.state,
        kept_ms: wire.kept_ms,
    }
}
