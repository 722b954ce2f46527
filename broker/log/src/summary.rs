//! What is kept in memory of every sealed segment, so that the segment of an offset is found
//! without asking the disk; and the index file that it is read from.
//!
//! An index file is two frames: the summary, read when the log is opened, and the entries, read
//! when the segment is. It belongs to one generation and revision of the segment file and is
//! ignored, and made again by scanning, for any other.

use std::path::Path;

use holdfast_protocol::{Epoch, Header, Kind, Offset, Position, StreamId, TopicId};

use crate::Error;
use crate::codec::{Fields, Put};
use crate::disk::{self, Format, Frame};
use crate::identity::{HEAD, Identity};
use crate::index::{Index, Range, Slot};
use crate::storage::{Disk, File, Mode};

const SUMMARY: Format = Format { magic: *b"HFINDEX1", version: 1 };
const ENTRIES: Format = Format { magic: *b"HFINDEX2", version: 1 };
const STREAM_BYTES: usize = 44;
const SLOT_BYTES: usize = 48;
const EPOCH_BYTES: usize = 12;

/// What a sealed segment holds of one stream, as far as its summary says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Nothing.
    Nothing,
    /// These offsets.
    Range(Range),
    /// The summary does not say: ask the index.
    Unknown,
}

/// What is kept in memory of a sealed segment.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// One past the last position when it was sealed.
    pub(crate) end: Position,
    /// Bytes of the segment file that are in use.
    pub(crate) bytes: u64,
    /// The first position of each epoch in it.
    pub(crate) epochs: Vec<(Epoch, Position)>,
    /// By stream; `None` where there are too many.
    ranges: Option<Vec<(StreamId, Range)>>,
}

impl Summary {
    /// Summarises `index`, listing at most `streams_max` streams.
    pub(crate) fn new(index: &Index, end: Position, bytes: u64, streams_max: usize) -> Self {
        let mut ranges: Vec<_> =
            index.streams().iter().filter_map(|stream| Some((stream.id, stream.range?))).collect();
        ranges.sort_unstable_by_key(|(id, _)| *id);
        Self {
            end,
            bytes,
            epochs: index.epochs(),
            ranges: (ranges.len() <= streams_max).then_some(ranges),
        }
    }

    /// What the segment holds of `stream`.
    pub(crate) fn holds(&self, stream: StreamId) -> Holds {
        let Some(ranges) = &self.ranges else {
            return Holds::Unknown;
        };
        match ranges.binary_search_by_key(&stream, |(id, _)| *id) {
            Ok(at) => Holds::Range(ranges[at].1),
            Err(_) => Holds::Nothing,
        }
    }
}

/// Writes the index file, without syncing it: it can be made again.
pub(crate) fn write(
    disk: &Disk,
    path: &Path,
    identity: Identity,
    summary: &Summary,
    index: &Index,
) -> Result<(), Error> {
    let mut head = Vec::new();
    identity.put(&mut head);
    head.put_u64(summary.end.0);
    head.put_u64(summary.bytes);
    head.put_count(summary.epochs.len());
    for (epoch, position) in &summary.epochs {
        head.put_u32(epoch.0);
        head.put_u64(position.0);
    }
    head.put_count(index.streams().len());
    for stream in index.streams() {
        head.extend_from_slice(&stream.id.topic.0);
        head.put_u32(stream.id.partition);
        // An empty range tells a stream that has entries here but no offsets.
        let range = stream.range.unwrap_or(Range {
            first: Offset(u64::MAX),
            end: Offset(0),
            timestamp_ms: -1,
        });
        head.put_u64(range.first.0);
        head.put_u64(range.end.0);
        head.extend_from_slice(&range.timestamp_ms.to_le_bytes());
    }
    let mut entries = Vec::with_capacity(4 + index.len() * SLOT_BYTES);
    entries.put_count(index.len());
    for slot in index.slots() {
        put_slot(&mut entries, slot);
    }
    let second = ENTRIES.head(&[&entries]);
    let temporary = disk::temporary(path);
    // The first frame's length ends before the second begins.
    let mut file = SUMMARY.write_new(disk, &temporary, &[&head])?;
    for piece in [&second[..], &entries] {
        std::io::Write::write_all(&mut file, piece).map_err(|error| Error::write(path, error))?;
    }
    disk::rename(disk, &temporary, path)
}

/// Reads the summary from the index file; `None` where it is missing, damaged, or of another
/// segment file than `identity`.
pub(crate) fn read_summary(
    disk: &Disk,
    path: &Path,
    identity: Identity,
    streams_max: usize,
) -> Result<Option<Summary>, Error> {
    let Ok(file) = disk.open(path, Mode::Read) else {
        return Ok(None);
    };
    Ok(read_head(&file, path, identity)?.map(|(head, _)| {
        let mut ranges: Vec<_> =
            head.streams.into_iter().filter(|(_, range)| range.first < range.end).collect();
        ranges.sort_unstable_by_key(|(id, _)| *id);
        Summary {
            end: head.end,
            bytes: head.bytes,
            epochs: head.epochs,
            ranges: (ranges.len() <= streams_max).then_some(ranges),
        }
    }))
}

/// Reads the whole index; `None` as for [`read_summary`].
pub(crate) fn read_index(
    disk: &Disk,
    path: &Path,
    identity: Identity,
) -> Result<Option<Index>, Error> {
    let Ok(file) = disk.open(path, Mode::Read) else {
        return Ok(None);
    };
    let Some((head, at)) = read_head(&file, path, identity)? else {
        return Ok(None);
    };
    let Frame::Good(payload) = ENTRIES.read_at(&file, path, at)?.0 else {
        return Ok(None);
    };
    Ok(parse_slots(&head, &payload))
}

/// The first frame of an index file.
struct Head {
    end: Position,
    bytes: u64,
    epochs: Vec<(Epoch, Position)>,
    streams: Vec<(StreamId, Range)>,
}

fn read_head(file: &File, path: &Path, identity: Identity) -> Result<Option<(Head, u64)>, Error> {
    let (Frame::Good(payload), end) = SUMMARY.read_at(file, path, 0)? else {
        return Ok(None);
    };
    let mut fields = Fields(&payload);
    let head =
        (Identity::take(&mut fields) == Some(identity)).then(|| parse_head(&mut fields)).flatten();
    Ok(head.map(|head| (head, end)))
}

fn parse_head(fields: &mut Fields<'_>) -> Option<Head> {
    let end = Position(fields.u64()?);
    let bytes = fields.u64()?;
    if end > Position::MAX || bytes < HEAD {
        return None;
    }
    let epochs = (0..fields.count(EPOCH_BYTES)?)
        .map(|_| Some((Epoch(fields.u32()?), Position(fields.u64()?))))
        .collect::<Option<_>>()?;
    let streams = (0..fields.count(STREAM_BYTES)?)
        .map(|_| {
            let topic = TopicId(fields.array()?);
            let partition = fields.u32()?;
            let range = Range {
                first: Offset(fields.u64()?),
                end: Offset(fields.u64()?),
                timestamp_ms: fields.i64()?,
            };
            Some((StreamId { topic, partition }, range))
        })
        .collect::<Option<_>>()?;
    Some(Head { end, bytes, epochs, streams })
}

fn put_slot(out: &mut Vec<u8>, slot: &Slot) {
    out.put_u64(slot.position.0);
    out.put_u64(slot.offset.0);
    out.extend_from_slice(&slot.timestamp_ms.to_le_bytes());
    for number in [slot.at, slot.length, slot.count, slot.epoch.0, slot.crc, slot.of] {
        out.put_u32(number);
    }
}

fn take_slot(fields: &mut Fields<'_>) -> Option<Slot> {
    Some(Slot {
        position: Position(fields.u64()?),
        offset: Offset(fields.u64()?),
        timestamp_ms: fields.i64()?,
        at: fields.u32()?,
        length: fields.u32()?,
        count: fields.u32()?,
        epoch: Epoch(fields.u32()?),
        crc: fields.u32()?,
        of: fields.u32()?,
    })
}

fn parse_slots(head: &Head, payload: &[u8]) -> Option<Index> {
    let mut fields = Fields(payload);
    let mut index = Index::default();
    let (mut position, mut at) = (None, HEAD);
    for _ in 0..fields.count(SLOT_BYTES)? {
        let slot = take_slot(&mut fields)?;
        let kind: Kind = slot.kind()?;
        // One behind the other, as entries lie; what reads them relies on it.
        let fits = position < Some(slot.position)
            && slot.position <= Position::MAX
            && slot.offset <= Offset::MAX
            && u64::from(slot.at) == at
            && (Header::LEN..=Header::ENTRY_BYTES_MAX as usize).contains(&(slot.length as usize));
        if !fits {
            return None;
        }
        position = Some(slot.position);
        at += u64::from(slot.length);
        let header = Header {
            length: slot.length,
            crc: slot.crc,
            kind,
            epoch: slot.epoch,
            position: slot.position,
            stream: head.streams.get(slot.stream())?.0,
            count: slot.count,
            offset: slot.offset,
            timestamp_ms: slot.timestamp_ms,
        };
        index.push(&header, slot.at);
    }
    Some(index)
}
