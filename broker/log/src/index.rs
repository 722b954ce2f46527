//! The index of one segment: where each entry lies, and what each stream has in it.
//!
//! It holds every field of every header (48 bytes an entry, and 4 more for those of a stream), so
//! that headers are served, and dead entries told, without reading the segment.

use std::collections::HashMap;

use holdfast_protocol::{Epoch, Header, Kind, Offset, Position, StreamId};

/// Most entries in one segment, whatever the configuration says: what [`Slot::of`] can name.
pub(crate) const ENTRIES_MAX: u32 = 1 << 20;

/// One entry, as 48 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) position: Position,
    pub(crate) offset: Offset,
    pub(crate) timestamp_ms: i64,
    /// Where in the segment file, bytes.
    pub(crate) at: u32,
    pub(crate) length: u32,
    pub(crate) count: u32,
    pub(crate) epoch: Epoch,
    pub(crate) crc: u32,
    /// The kind in the high byte, the number of the stream in the others.
    pub(crate) of: u32,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) position: Position,
    pub(crate) at: u64,
    pub(crate) length: usize,
}

impl Location {
    /// One past the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.at + self.length as u64
    }
}

/// What a segment holds of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first offset.
    pub(crate) first: Offset,
    /// One past the last offset.
    pub(crate) end: Offset,
    /// The largest timestamp, ms since 1970.
    pub(crate) timestamp_ms: i64,
}

/// A stream's part of an index.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    /// The numbers of its `Append` entries with offsets, in order.
    pub(crate) appends: Vec<u32>,
    /// What they hold; `None` while there are none.
    pub(crate) range: Option<Range>,
}

/// The index of one segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    slots: Vec<Slot>,
    streams: Vec<Stream>,
    numbers: HashMap<StreamId, u32>,
}

impl Slot {
    pub(crate) fn location(&self) -> Location {
        Location { position: self.position, at: u64::from(self.at), length: self.length as usize }
    }

    /// The kind, if the byte is one.
    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::from_u8((self.of >> 24) as u8)
    }

    /// The number of the stream.
    pub(crate) fn stream(&self) -> usize {
        (self.of & 0x00ff_ffff) as usize
    }

    /// One past the last offset.
    fn end(&self) -> Offset {
        Offset(self.offset.0.saturating_add(u64::from(self.count)))
    }
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// Adds the entry at byte `at` of the segment. Positions grow; the caller has seen to it.
    pub(crate) fn push(&mut self, header: &Header, at: u32) {
        let next = u32::try_from(self.streams.len()).expect("at most one stream an entry");
        let number = *self.numbers.entry(header.stream).or_insert_with(|| {
            self.streams.push(Stream { id: header.stream, appends: Vec::new(), range: None });
            next
        });
        let slot = Slot {
            position: header.position,
            offset: header.offset,
            timestamp_ms: header.timestamp_ms,
            at,
            length: header.length,
            count: header.count,
            epoch: header.epoch,
            crc: header.crc,
            of: u32::from(header.kind as u8) << 24 | number,
        };
        if header.kind == Kind::Append && header.count > 0 {
            let entry = u32::try_from(self.slots.len()).expect("entries are bounded");
            self.streams[number as usize].add(entry, &slot);
        }
        self.slots.push(slot);
    }

    /// The index of the first `count` entries.
    pub(crate) fn prefix(&self, count: usize) -> Self {
        let mut index = Self::default();
        for entry in 0..count.min(self.slots.len()) {
            index.push(&self.header(entry), self.slots[entry].at);
        }
        index
    }

    /// The number of the first entry at or after `position`.
    pub(crate) fn at_or_after(&self, position: Position) -> usize {
        self.slots.partition_point(|slot| slot.position < position)
    }

    /// The header of an entry.
    pub(crate) fn header(&self, entry: usize) -> Header {
        let slot = &self.slots[entry];
        Header {
            length: slot.length,
            crc: slot.crc,
            kind: slot.kind().expect("checked when the index was made"),
            epoch: slot.epoch,
            position: slot.position,
            stream: self.streams[slot.stream()].id,
            count: slot.count,
            offset: slot.offset,
            timestamp_ms: slot.timestamp_ms,
        }
    }

    /// The entries from the first at or after `position` that together have at most `bytes_max`
    /// bytes; at least one, if there is one. They lie side by side.
    pub(crate) fn run(&self, position: Position, bytes_max: usize) -> &[Slot] {
        let first = self.at_or_after(position);
        let Some(slot) = self.slots.get(first) else {
            return &[];
        };
        let limit = u64::from(slot.at) + bytes_max as u64;
        let fitting = self.slots[first..]
            .partition_point(|slot| u64::from(slot.at) + u64::from(slot.length) <= limit);
        &self.slots[first..first + fitting.max(1)]
    }

    /// What the segment holds of `stream`.
    pub(crate) fn range(&self, stream: StreamId) -> Option<Range> {
        self.stream(stream)?.range
    }

    /// The number of the `Append` entry that holds `offset` of `stream`, or of the first after it.
    pub(crate) fn locate(&self, stream: StreamId, offset: Offset) -> Option<usize> {
        let stream = self.stream(stream)?;
        let at = self.reaching(stream, offset);
        stream.appends.get(at).map(|entry| *entry as usize)
    }

    /// The entries of `stream` from the one that holds `offset`, or the first after it, while they
    /// begin below `below` and their bodies take at most `bytes_max` bytes together; with
    /// `at_least_one` the first whatever its size.
    pub(crate) fn stream_run(
        &self,
        stream: StreamId,
        offset: Offset,
        below: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> StreamRun {
        let mut run = StreamRun::default();
        let Some(stream) = self.stream(stream) else {
            return run;
        };
        let mut left = bytes_max;
        for entry in &stream.appends[self.reaching(stream, offset)..] {
            let slot = &self.slots[*entry as usize];
            let body = (slot.length as usize).saturating_sub(Header::LEN);
            let wanted = slot.offset < below;
            if !wanted || (body > left && !(at_least_one && run.locations.is_empty())) {
                run.complete = true;
                return run;
            }
            left = left.saturating_sub(body);
            run.locations.push(slot.location());
            run.bytes += body;
            run.next = slot.end();
        }
        run
    }

    /// The first entry of `stream` that reaches beyond `from`, begins below `below`, and has a
    /// timestamp at or after `timestamp_ms`.
    pub(crate) fn find_timestamp(
        &self,
        stream: StreamId,
        timestamp_ms: i64,
        from: Offset,
        below: Offset,
    ) -> Option<(Offset, Location)> {
        let stream = self.stream(stream)?;
        stream.appends[self.reaching(stream, from)..]
            .iter()
            .map(|entry| &self.slots[*entry as usize])
            .take_while(|slot| slot.offset < below)
            .find(|slot| slot.timestamp_ms >= timestamp_ms)
            .map(|slot| (slot.offset, slot.location()))
    }

    /// The first position of each epoch in this segment.
    pub(crate) fn epochs(&self) -> Vec<(Epoch, Position)> {
        let mut epochs: Vec<(Epoch, Position)> = Vec::new();
        for slot in &self.slots {
            if epochs.last().is_none_or(|(epoch, _)| *epoch < slot.epoch) {
                epochs.push((slot.epoch, slot.position));
            }
        }
        epochs
    }

    fn stream(&self, stream: StreamId) -> Option<&Stream> {
        let number = *self.numbers.get(&stream)?;
        self.streams.get(number as usize)
    }

    /// The first of the stream's appends that ends beyond `offset`.
    fn reaching(&self, stream: &Stream, offset: Offset) -> usize {
        stream.appends.partition_point(|entry| self.slots[*entry as usize].end() <= offset)
    }
}

impl Stream {
    fn add(&mut self, entry: u32, slot: &Slot) {
        self.appends.push(entry);
        let range = self.range.get_or_insert(Range {
            first: slot.offset,
            end: slot.end(),
            timestamp_ms: slot.timestamp_ms,
        });
        range.end = range.end.max(slot.end());
        range.timestamp_ms = range.timestamp_ms.max(slot.timestamp_ms);
    }
}

/// What [`Index::stream_run`] found.
#[derive(Debug, Default)]
pub(crate) struct StreamRun {
    pub(crate) locations: Vec<Location>,
    /// Bytes of the bodies.
    pub(crate) bytes: usize,
    /// One past the last offset found.
    pub(crate) next: Offset,
    /// Nothing more is wanted, whatever later segments hold.
    pub(crate) complete: bool,
}
