//! A driver over real files, its broker played by the test: what it does about rot, and what it
//! tells producers whose sequence does not follow.
#![allow(clippy::unwrap_used)] // tests

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::error::Error;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::batch::{self, Stamp};
use holdfast_core::replica::{Answer, Fetch, FetchKey, IsrRequest, Settings};
use holdfast_core::state::{CatalogState, Command, State};
use holdfast_log::{Boot, CheckpointJob, Config, Disk, FlushJob, Meta, ShardLog};
use holdfast_protocol::entry::{Draft, Entries, Header, Kind};
use holdfast_protocol::group::{CommitOffset, CommitOffsets, Generation, Request};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Member, Offset, Position, ShardId, ShardRecord,
    Version, command, control,
};
use holdfast_protocol::{StreamId, TopicId};
use holdfast_service::{Append, AppendError, Appended, Durability};
use prost::Message;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::{AppendCommand, Ask, Driver, Effects, Input};

const SHARD: ShardId = ShardId(3);
const ME: BrokerId = BrokerId(0);
const OLD: Incarnation = Incarnation([7; 16]);
const BOOT: Boot = Boot {
    counter: 2,
    clean: false,
    same_kernel_boot: true,
    fresh: false,
    damaged: false,
    rolled_back: false,
};
/// Entries in the log of a test.
const ENTRIES: u64 = 60;

/// What the test plays.
#[derive(Default)]
struct Stage {
    now_ms: u64,
    drawn: u128,
    hears: BTreeSet<BrokerId>,
    resigned: RefCell<Vec<Epoch>>,
    fetches: Vec<Fetch>,
    catalog: Arc<CatalogState>,
}

impl Effects for Stage {
    fn broker(&self) -> BrokerId {
        ME
    }
    fn now_ms(&self) -> u64 {
        1_000_000 + self.now_ms
    }
    fn wall_ms(&self) -> i64 {
        0
    }
    fn draw(&mut self) -> u128 {
        self.drawn += 1;
        self.drawn
    }
    fn settings(&self, _: ShardId) -> Settings {
        Settings::default()
    }
    fn flush_interval_ms(&self) -> u64 {
        100
    }
    fn send_fetch(&mut self, _: BrokerId, fetch: Fetch) {
        self.fetches.push(fetch);
    }
    fn hears(&self, follower: BrokerId) -> bool {
        self.hears.contains(&follower)
    }
    fn send_answer(&mut self, _: BrokerId, _: Answer) {}
    fn fetch_checkpoint(&mut self, _: BrokerId) {}
    fn request_isr(&mut self, _: IsrRequest) {}
    fn resign(&mut self, epoch: Epoch, _: String) {
        self.resigned.borrow_mut().push(epoch);
    }
    fn start_flush(&mut self, _: FlushJob) {}
    fn start_checkpoint(&mut self, _: CheckpointJob) {}
    fn blocking<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    fn tell_report(&self) {}
    fn publish_records(&self, _: &[ShardRecord]) {}
    fn publish_catalog(&self, _: CatalogState) {}
    fn catalog_is_current(&self) {}
    fn catalog(&self) -> Arc<CatalogState> {
        Arc::clone(&self.catalog)
    }
    fn stop_process(&self, error: &dyn Error) -> ! {
        panic!("the process would stop: {error}");
    }
}

fn member(broker: u32) -> Member {
    let byte = if BrokerId(broker) == ME { OLD.0[0] } else { 1 };
    Member { broker: BrokerId(broker), incarnation: Incarnation([byte; 16]) }
}

/// A record of this version, in which `leader` leads and `isr` is in sync.
fn record(revision: u64, leader: u32, isr: &[u32]) -> ShardRecord {
    ShardRecord {
        shard: SHARD,
        version: Version { generation: 0, revision, writer: 0 },
        epoch: Epoch(u32::try_from(revision).unwrap()),
        leader: Some(member(leader)),
        isr: isr.iter().copied().map(member).collect(),
        replicas: vec![BrokerId(0), BrokerId(1), BrokerId(2)],
        min_in_sync_replicas: 2,
        flush: FlushMode::Sync,
        unclean_epoch: None,
        loss: None,
        starts: Vec::new(),
        lineage: Default::default(),
    }
}

/// Small segments, so that there are several of them.
fn config() -> Config {
    Config { segment_bytes_max: 1024, tail_bytes_max: 256, ..Config::default() }
}

/// A log of several segments that were all durable, of a replica that is in sync.
fn make_log(dir: &Path) {
    let (mut log, _) = ShardLog::open(dir, config()).unwrap();
    for position in 0..ENTRIES {
        let mut bytes = Vec::new();
        let body = command::CommitOffsets { group: "g".to_owned(), ..Default::default() };
        Draft::command(Kind::CommitOffsets, &body.encode_to_vec()).encode(
            Epoch(1),
            Position(position),
            &mut bytes,
        );
        log.append(&Entries::verify(Bytes::from(bytes)).unwrap()).unwrap();
    }
    let job = log.flush_job().unwrap();
    let flushed = job.run().unwrap();
    log.flushed(flushed).unwrap();
    let meta = Meta {
        incarnation: OLD,
        record: control::ShardRecord::from(&record(1, 1, &[0, 1, 2])).encode_to_vec(),
        committed: Position(ENTRIES),
    };
    log.write_meta(&meta).unwrap();
}

/// Flips a bit in the middle of the second segment.
fn rot(dir: &Path) {
    let mut segments: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&segments[1]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 500).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 500).unwrap();
}

fn open(dir: &Path) -> Driver<Stage> {
    Driver::open(Stage::default(), SHARD, BOOT, (&Disk::Files, dir, config())).unwrap()
}

#[test]
fn rot_that_only_the_replay_meets_makes_another_log_of_it() {
    let dir = tempfile::tempdir().unwrap();
    make_log(dir.path());
    let whole = open(dir.path());
    assert_eq!(whole.core().replica().member().incarnation, OLD);
    assert_eq!(whole.core().replica().end(), Position(ENTRIES));
    drop(whole);
    rot(dir.path());
    let driver = open(dir.path());
    assert_ne!(driver.core().replica().member().incarnation, OLD);
    assert_eq!(driver.core().replica().end(), Position(0));
}

/// A driver over a whole log, told of rot, in the middle of its day.
fn told_of_rot(dir: &Path, record: ShardRecord) -> Driver<Stage> {
    make_log(dir);
    let mut driver = open(dir);
    driver.start();
    driver.handle(Input::Record(record));
    driver.end_turn();
    driver.handle(Input::Rot(OLD, "rot for a test".to_owned()));
    pass(&mut driver, 0);
    driver
}

fn pass(driver: &mut Driver<Stage>, ms: u64) {
    driver.effects_mut().now_ms += ms;
    driver.tick();
    driver.end_turn();
}

fn incarnation(driver: &Driver<Stage>) -> Incarnation {
    driver.view().report().incarnation
}

fn failure(driver: &Driver<Stage>) -> Option<String> {
    driver.view().report().failure
}

#[test]
fn a_member_leaves_first_and_is_built_anew_then() {
    let dir = tempfile::tempdir().unwrap();
    let mut driver = told_of_rot(dir.path(), record(2, 1, &[0, 1, 2]));
    assert_eq!(failure(&driver).unwrap(), "rot for a test");
    assert_eq!(incarnation(&driver), OLD, "the record still names it");
    driver.effects_mut().fetches.clear();
    driver.handle(Input::Record(record(3, 1, &[1, 2])));
    pass(&mut driver, 20);
    assert_ne!(incarnation(&driver), OLD);
    assert_eq!(failure(&driver), None);
    assert_eq!(driver.view().report().end, Position(0));
    pass(&mut driver, 20);
    let asked = driver.effects_mut().fetches.last().cloned().unwrap();
    assert_eq!((asked.key.position, asked.incarnation), (Position(0), incarnation(&driver)));
    // What was said of the log that is gone does not count for the new one.
    let now = incarnation(&driver);
    driver.handle(Input::Rot(OLD, "late".to_owned()));
    pass(&mut driver, 20);
    assert_eq!(incarnation(&driver), now);
}

#[test]
fn a_member_that_can_not_be_spared_stays_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let mut driver = told_of_rot(dir.path(), record(2, 1, &[0, 1]));
    for _ in 0..5 {
        pass(&mut driver, 100_000);
        assert_eq!((incarnation(&driver), failure(&driver)), (OLD, None));
    }
    driver.effects_mut().fetches.clear();
    pass(&mut driver, 100_000);
    pass(&mut driver, 100_000);
    assert!(!driver.effects_mut().fetches.is_empty(), "it goes on following");
    driver.handle(Input::Record(record(3, 1, &[0, 1, 2])));
    pass(&mut driver, 20);
    assert_eq!((incarnation(&driver), failure(&driver).is_some()), (OLD, true));
    // Somebody else was left out instead.
    driver.handle(Input::Record(record(4, 1, &[0, 1])));
    pass(&mut driver, 20);
    assert_eq!((incarnation(&driver), failure(&driver)), (OLD, None));
}

#[test]
fn nothing_is_thrown_away_while_nobody_leads() {
    let dir = tempfile::tempdir().unwrap();
    let vacant = ShardRecord { leader: None, ..record(2, 1, &[1, 2]) };
    let mut driver = told_of_rot(dir.path(), vacant);
    pass(&mut driver, 100_000);
    assert_eq!(incarnation(&driver), OLD);
}

#[test]
fn rot_in_what_nobody_counts_on_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let left = ShardRecord { replicas: vec![BrokerId(1), BrokerId(2)], ..record(2, 1, &[1, 2]) };
    let driver = told_of_rot(dir.path(), left);
    assert_ne!(incarnation(&driver), OLD);
}

#[test]
fn who_holds_the_shard_no_more_gives_its_room_back_after_a_while() {
    let dir = tempfile::tempdir().unwrap();
    make_log(dir.path());
    let mut driver = open(dir.path());
    driver.start();
    let left = |revision| {
        let of = record(revision, 1, &[1, 2]);
        ShardRecord { replicas: vec![BrokerId(1), BrokerId(2)], epoch: Epoch(2), ..of }
    };
    let back = |revision| ShardRecord { epoch: Epoch(2), ..record(revision, 1, &[1, 2]) };
    for (now, ms) in [(back(2), 60_000), (left(3), 10_000), (back(4), 10_000), (left(5), 10_000)] {
        driver.handle(Input::Record(now));
        driver.end_turn();
        pass(&mut driver, 0);
        pass(&mut driver, ms);
        assert_eq!(incarnation(&driver), OLD, "it counts anew after a change of mind");
    }
    pass(&mut driver, 10_000);
    let given_up = incarnation(&driver);
    assert_ne!(given_up, OLD, "nobody takes it for what it was");
    assert_eq!(driver.view().report().end, Position(0));
    drop(driver);
    // It knows better than an older record for good.
    let mut driver = open(dir.path());
    driver.start();
    assert_eq!(driver.view().report().record, Some(left(5)));
    assert_eq!(incarnation(&driver), given_up);
    pass(&mut driver, 100_000);
    assert_eq!(incarnation(&driver), given_up, "once is enough");
}

#[test]
fn a_leader_resigns_only_where_somebody_may_take_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut driver = told_of_rot(dir.path(), record(2, 0, &[0, 1, 2]));
    assert_eq!(driver.core().replica().leads(), Some(Epoch(2)));
    assert_eq!(*driver.effects_mut().resigned.borrow(), [], "nobody else is heard of");
    driver.effects_mut().hears.insert(BrokerId(2));
    pass(&mut driver, 20);
    assert_eq!(*driver.effects_mut().resigned.borrow(), [Epoch(2)], "as soon as one is");
    pass(&mut driver, 1_000);
    assert_eq!(driver.effects_mut().resigned.borrow().len(), 1, "not over and over");
    pass(&mut driver, 20_000);
    assert_eq!(driver.effects_mut().resigned.borrow().len(), 2, "what it said may be lost");
    assert_eq!((incarnation(&driver), failure(&driver)), (OLD, None), "it leads until then");
    driver.handle(Input::Record(record(3, 2, &[0, 1, 2])));
    pass(&mut driver, 20);
    assert!(failure(&driver).is_some(), "it is a member as others now");
}

/// Hands the leader a batch with this sequence number.
fn append(
    driver: &mut Driver<Stage>,
    first: i32,
) -> oneshot::Receiver<Result<Appended, AppendError>> {
    let stamp = Stamp { id: 5, epoch: 0, first, last: first };
    let append = Append {
        stream: StreamId { topic: TopicId([1; 16]), partition: 0 },
        batch: batch::build(1, 0, Some(stamp), b"a message").into(),
        durability: Durability::Committed,
        batch_bytes_max: 1024,
    };
    let (reply, answer) = oneshot::channel();
    driver.append(AppendCommand { append, reply });
    driver.end_turn();
    answer
}

/// The other replica has all, and asks for more.
fn follow(driver: &mut Driver<Stage>) {
    let end = driver.core().replica().end();
    let last_epoch = driver.core().replica().last_epoch();
    let fetch = Fetch {
        key: FetchKey { epoch: Epoch(2), position: end, last_epoch },
        incarnation: member(1).incarnation,
        held: end,
        committed: end,
        gaps_until: Position(0),
        record: None,
    };
    driver.handle(Input::Fetch(BrokerId(1), fetch));
    driver.end_turn();
}

fn in_async(record: ShardRecord) -> ShardRecord {
    ShardRecord { flush: FlushMode::Async, ..record }
}

/// A driver that leads in Async mode, and is followed.
fn leading(dir: &Path) -> Driver<Stage> {
    make_log(dir);
    let mut driver = open(dir);
    driver.start();
    driver.handle(Input::Record(in_async(record(2, 0, &[0, 1]))));
    driver.end_turn();
    follow(&mut driver);
    driver
}

#[test]
fn that_a_sequence_has_a_gap_is_said_only_by_who_still_leads() {
    for deposed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut driver = leading(dir.path());
        let mut first = append(&mut driver, 0);
        follow(&mut driver);
        assert!(first.try_recv().unwrap().is_ok());
        // The producer raises its epoch when it hears of a gap, and sends everything again. A
        // leader that was deposed knows nothing of what another has stored since.
        let mut gap = append(&mut driver, 2);
        let mut another = append(&mut driver, 3);
        assert_eq!(gap.try_recv(), Err(TryRecvError::Empty), "it may not lead any more");
        let expected = if deposed {
            driver.handle(Input::Record(in_async(record(3, 1, &[0, 1]))));
            driver.end_turn();
            [AppendError::NotLeader, AppendError::NotLeader]
        } else {
            follow(&mut driver);
            [2, 3].map(|found| AppendError::OutOfOrderSequence { found, expected: 1 })
        };
        let [of_gap, of_another] = expected;
        assert_eq!(gap.try_recv().unwrap(), Err(of_gap));
        assert_eq!(another.try_recv().unwrap(), Err(of_another));
    }
}

#[test]
fn what_counted_as_held_in_async_counts_in_sync_once_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut driver = leading(dir.path());
    let mut stored = append(&mut driver, 0);
    let known = driver.core().replica().record().unwrap().clone();
    assert!(driver.core().replica().durable() < driver.core().replica().end(), "not flushed yet");
    let sync = ShardRecord { version: known.version.next(), flush: FlushMode::Sync, ..known };
    driver.handle(Input::Record(sync));
    driver.end_turn();
    assert_eq!(driver.core().replica().held(), driver.core().replica().end());
    follow(&mut driver);
    assert!(stored.try_recv().unwrap().is_ok(), "nothing else has to be appended first");
}

#[test]
fn who_waits_to_hear_of_a_gap_costs_one_entry_a_turn() {
    let dir = tempfile::tempdir().unwrap();
    let mut driver = leading(dir.path());
    let _first = append(&mut driver, 0);
    let end = driver.core().replica().end();
    let mut answers = Vec::new();
    for first in [2, 3, 4] {
        let stamp = Stamp { id: 5, epoch: 0, first, last: first };
        let append = Append {
            stream: StreamId { topic: TopicId([1; 16]), partition: 0 },
            batch: batch::build(1, 0, Some(stamp), b"a message").into(),
            durability: Durability::Committed,
            batch_bytes_max: 1024,
        };
        let (reply, answer) = oneshot::channel();
        driver.append(AppendCommand { append, reply });
        answers.push(answer);
    }
    driver.end_turn();
    assert_eq!(driver.core().replica().end(), end.next());
    follow(&mut driver);
    for mut answer in answers {
        let told = answer.try_recv().unwrap();
        assert!(matches!(told, Err(AppendError::OutOfOrderSequence { expected: 1, .. })));
    }
}

/// A catalog in which this topic was deleted.
fn without(topic: TopicId) -> Arc<CatalogState> {
    let mut state = State::default();
    let body = command::DeleteTopic { id: topic.0.to_vec().into() }.encode_to_vec();
    let mut bytes = Vec::new();
    Draft::command(Kind::DeleteTopic, &body).encode(Epoch(1), Position(0), &mut bytes);
    let header = Header::verify(&bytes).unwrap();
    state.apply(&Command::new(header, &Bytes::from(body))).unwrap();
    Arc::new(state.catalog().clone())
}

/// A group without members says how far it has come.
fn commit(driver: &mut Driver<Stage>, topic: TopicId) {
    let offset = CommitOffset {
        stream: StreamId { topic, partition: 0 },
        offset: Offset(5),
        leader_epoch: -1,
        metadata: String::new(),
    };
    let request = Request::CommitOffsets(CommitOffsets {
        group: "readers".to_owned(),
        generation: Generation::NONE,
        member: String::new(),
        instance: None,
        offsets: vec![offset],
    });
    let (reply, _) = oneshot::channel();
    driver.handle(Input::Ask(Ask::Group(request, reply)));
    driver.end_turn();
}

#[test]
fn what_groups_read_of_deleted_topics_goes_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut driver = leading(dir.path());
    let (gone, kept) = (TopicId([1; 16]), TopicId([2; 16]));
    for topic in [gone, kept] {
        commit(&mut driver, topic);
    }
    follow(&mut driver);
    let cursors = |driver: &Driver<Stage>| {
        let group = driver.core().state().group("readers");
        group.map(|group| group.cursors.keys().map(|id| id.topic).collect::<Vec<_>>())
    };
    assert_eq!(cursors(&driver), Some(vec![gone, kept]));
    driver.effects_mut().catalog = without(gone);
    pass(&mut driver, 6_000);
    follow(&mut driver);
    assert_eq!(cursors(&driver), Some(vec![kept]));
}
