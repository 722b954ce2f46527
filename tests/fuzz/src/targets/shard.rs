//! One shard's log and state, as the shipped encoders write them, and a broker around its driver
//! that does at once whatever it is asked to.

use std::cell::Cell;
use std::error::Error;
use std::panic::resume_unwind;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_broker::driver::{Driver, Effects, Input};
use holdfast_core::batch::{self, Stamp};
use holdfast_core::replica::{Answer, Fetch, FetchKey, History, IsrRequest, Settings};
use holdfast_core::state::{CatalogState, Command, State};
use holdfast_log::{CheckpointJob, Config, FlushJob};
use holdfast_protocol::entry::{Draft, split};
use holdfast_protocol::{
    BrokerId, Epoch, Header, Kind, Offset, Position, ShardId, ShardRecord, StreamId, TopicId,
    command,
};
use prost::Message;

/// Entries that the shard has.
pub(super) const ENTRIES: u64 = 40;
/// The position at which its second epoch begins.
const EPOCH_2: u64 = 25;
/// The topic in it.
const TOPIC: TopicId = TopicId([7; 16]);

/// Streams of the shard: the topic's partitions.
pub(super) fn stream(partition: u32) -> StreamId {
    StreamId { topic: TOPIC, partition }
}

/// Small segments, so that few entries make several.
pub(super) fn config() -> Config {
    Config {
        segment_bytes_max: 1024,
        segment_entries_max: 16,
        preallocate_bytes: 2048,
        indexes_cached_max: 2,
        tail_bytes_max: 1024,
        clean_dead_percent: 20,
        ..Config::default()
    }
}

/// The epoch of the entry at `position`.
fn epoch_at(position: u64) -> Epoch {
    Epoch(if position < EPOCH_2 { 1 } else { 2 })
}

/// The entries with `from <= position < to`.
pub(super) fn entries(from: u64, to: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for position in from..to {
        entry(position, &mut out);
    }
    out
}

/// One of every kind now and then, and batches in between.
fn entry(position: u64, out: &mut Vec<u8>) {
    let (kind, body) = match position {
        0 | EPOCH_2 => (Kind::EpochStart, start()),
        1 => (Kind::DeclareTopic, declare()),
        6 | 26 => (Kind::CommitOffsets, commit(position)),
        9 => (Kind::KeepGroup, keep()),
        12 => (Kind::DropOffsets, drop_offsets()),
        _ => return append(position, out),
    };
    Draft::command(kind, &body).encode(epoch_at(position), Position(position), out);
}

fn append(position: u64, out: &mut Vec<u8>) {
    let partition = u32::from(position % 2 == 1);
    // So many batches of two messages each came before in this partition.
    let before = (0_u64..position)
        .filter(|at| !matches!(*at, 0 | 1 | 6 | 9 | 12 | EPOCH_2 | 26) && at % 2 == position % 2)
        .count() as u64;
    let offset = Offset(2 * before);
    let first = i32::try_from(offset.0).unwrap_or(0);
    let stamp = Stamp { id: i64::from(partition), epoch: 0, first, last: first + 1 };
    let time = 1_000 + i64::try_from(position).unwrap_or(0);
    let mut body = batch::build(2, time, Some(stamp), &[9; 20]);
    batch::stamp(&mut body, offset, epoch_at(position));
    let draft = Draft {
        kind: Kind::Append,
        stream: stream(partition),
        count: 2,
        offset,
        timestamp_ms: time,
        body: &body,
    };
    draft.encode(epoch_at(position), Position(position), out);
}

fn start() -> Vec<u8> {
    command::EpochStart { leader: 1, incarnation: vec![7; 16].into() }.encode_to_vec()
}

fn declare() -> Vec<u8> {
    let topic = command::Topic {
        id: TOPIC.0.to_vec().into(),
        name: "orders".to_owned(),
        partitions: 2,
        config: Some(command::TopicConfig {
            retention_ms: Some(1000),
            message_bytes_max: 1000,
            ..command::TopicConfig::default()
        }),
        declared_by: 0,
    };
    command::DeclareTopic { topic: Some(topic) }.encode_to_vec()
}

fn commit(position: u64) -> Vec<u8> {
    let cursor = command::Cursor {
        topic: TOPIC.0.to_vec().into(),
        partition: 1,
        offset: position,
        leader_epoch: 1,
        metadata: "words".to_owned(),
        committed_ms: 5,
    };
    command::CommitOffsets { group: "readers".to_owned(), cursors: vec![cursor] }.encode_to_vec()
}

fn keep() -> Vec<u8> {
    command::KeepGroup { group: "readers".to_owned(), state: vec![1, 8, 3].into(), kept_ms: 6 }
        .encode_to_vec()
}

fn drop_offsets() -> Vec<u8> {
    let stream = command::Stream { topic: TOPIC.0.to_vec().into(), partition: 1 };
    let group = "others".to_owned();
    command::DropOffsets { group, streams: vec![stream], group_too: false }.encode_to_vec()
}

/// The checkpoint of the state after every entry below `position`.
pub(super) fn checkpoint(position: u64) -> Vec<u8> {
    let (mut state, mut history) = (State::default(), History::default());
    for entry in split(entries(0, position).into()).unwrap_or_default() {
        history.note(entry.header.epoch, entry.header.position);
        let body = entry.bytes.slice(Header::LEN..);
        state.apply(&Command::new(entry.header, &body)).expect("it was made here");
    }
    state.encode(&history)
}

/// Ends a process, as `exit` ends a real one: nothing is wrong with that.
pub(super) struct Exit;

/// A broker around one driver.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) now_ms: u64,
    drawn: Cell<u8>,
    /// The newest fetch that was sent.
    pub(super) asked: Option<FetchKey>,
    /// The newest checkpoint that was asked for came from nobody yet.
    pub(super) wants_checkpoint: bool,
    flushes: Vec<FlushJob>,
    checkpoints: Vec<CheckpointJob>,
}

impl Host {
    /// This broker.
    pub(super) const BROKER: BrokerId = BrokerId(0);
    /// The incarnation of the first log that it names.
    pub(super) const INCARNATION: [u8; 16] = [1; 16];

    pub(super) fn new() -> Self {
        Self { now_ms: 1_000_000, ..Self::default() }
    }
}

/// Does what was asked to be done elsewhere.
pub(super) fn serve(driver: &mut Driver<Host>) {
    driver.end_turn();
    loop {
        let host = driver.effects_mut();
        if let Some(job) = host.flushes.pop() {
            match job.run() {
                Ok(flushed) => driver.handle(Input::Durable(flushed)),
                Err(_) => resume_unwind(Box::new(Exit)),
            }
        } else if let Some(job) = host.checkpoints.pop() {
            if let Ok(done) = job.run() {
                driver.handle(Input::Checkpointed(done));
            }
        } else {
            return;
        }
        driver.end_turn();
    }
}

/// Lets time go by.
pub(super) fn pass(driver: &mut Driver<Host>, ms: u64) {
    driver.effects_mut().now_ms += ms;
    driver.tick();
    serve(driver);
}

impl Effects for Host {
    fn broker(&self) -> BrokerId {
        Self::BROKER
    }

    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn wall_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn draw(&mut self) -> u128 {
        let number = self.drawn.get().wrapping_add(1);
        self.drawn.set(number);
        u128::from_be_bytes([number; 16])
    }

    fn settings(&self, _: ShardId) -> Settings {
        Settings::default()
    }

    fn flush_interval_ms(&self) -> u64 {
        100
    }

    fn checkpoint_age_ms(&self) -> u64 {
        5_000
    }

    fn send_fetch(&mut self, _: BrokerId, fetch: Fetch) {
        self.asked = Some(fetch.key);
    }

    fn hears(&self, _: BrokerId) -> bool {
        true
    }

    fn send_answer(&mut self, _: BrokerId, _: Answer) {}

    fn fetch_checkpoint(&mut self, _: BrokerId) {
        self.wants_checkpoint = true;
    }

    fn request_isr(&mut self, _: IsrRequest) {}

    fn resign(&mut self, _: Epoch, _: String) {}

    fn start_flush(&mut self, job: FlushJob) {
        self.flushes.push(job);
    }

    fn start_checkpoint(&mut self, job: CheckpointJob) {
        self.checkpoints.push(job);
    }

    fn blocking<T>(work: impl FnOnce() -> T) -> T {
        work()
    }

    fn tell_report(&self) {}

    fn publish_records(&self, _: &[ShardRecord]) {}

    fn publish_catalog(&self, _: CatalogState) {}

    fn catalog_is_current(&self) {}

    fn catalog(&self) -> Arc<CatalogState> {
        Arc::default()
    }

    fn stop_process(&self, _: &dyn Error) -> ! {
        resume_unwind(Box::new(Exit))
    }
}

/// The bytes of entries as a leader sends them.
pub(super) fn sent(from: u64, to: u64) -> Bytes {
    entries(from, to).into()
}
