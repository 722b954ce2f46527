//! One replica, told by an operator and by peers what a hostile one might tell: records, fetches,
//! answers with entries, checkpoints, in any order.
//!
//! An input is several messages (`wire`). So that entries get past the first check, an answer may
//! be one to what was really asked, and its entries may begin where the log ends.

use std::path::Path;

use bytes::Bytes;
use holdfast_broker::driver::{Driver, Image, Input, wire as peers};
use holdfast_core::State;
use holdfast_log::simulated::SimulatedDisk;
use holdfast_log::{Disk, Volume};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Member, Position, ShardId, ShardRecord, Version,
    control, peer,
};
use prost::Message;

use super::shard::{self, Host};
use super::wire::{messages, put};
use super::{KIB, MIB};
use crate::{Target, repair};

/// What a replica may take: a log on a disk in memory, its state, and what waits to be committed.
const MEMORY_BYTES_MAX: usize = 8 * MIB;

pub(super) const TARGET: Target = Target {
    name: "replica",
    run,
    repair: repair_answers,
    seeds,
    words: &[&Host::INCARNATION],
    input_bytes_max: 8 * KIB,
    memory_bytes_max: MEMORY_BYTES_MAX,
};

/// Messages of an input.
const RECORDS: u8 = 0;
const ANSWERS: u8 = 1;
const FETCHES: u8 = 2;
const CHECKPOINT: u8 = 3;
const TIME: u8 = 4;
const ISR_ANSWER: u8 = 5;
const BATCH: u8 = 6;
/// An answer with this bit is one to what was asked.
const ASKED: u8 = 0x80;
/// The shard.
const SHARD: ShardId = ShardId(0);

fn member(broker: u32) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation(Host::INCARNATION) }
}

/// A record of two replicas.
pub(super) fn record(epoch: u32, leader: Option<u32>) -> ShardRecord {
    ShardRecord {
        shard: SHARD,
        version: Version { generation: 1, revision: u64::from(epoch), writer: 0 },
        epoch: Epoch(epoch),
        leader: leader.map(member),
        isr: vec![member(0), member(1)],
        replicas: vec![BrokerId(0), BrokerId(1)],
        min_in_sync_replicas: 1,
        flush: FlushMode::Sync,
        unclean_epoch: None,
        loss: None,
        starts: Vec::new(),
        lineage: Default::default(),
    }
}

/// What an operator tells of a cluster.
pub(super) fn cluster() -> control::Cluster {
    let kafka = control::Advertised { listener: "plain".into(), host: "a".into(), port: 9092 };
    let address = control::BrokerAddress { broker: 1, peer: "b:1".into(), kafka: vec![kafka] };
    control::Cluster { brokers: vec![address], shards: 4, ..control::Cluster::default() }
}

/// What a broker reports.
pub(super) fn reports() -> control::Reports {
    let report = control::ReplicaReport {
        incarnation: Host::INCARNATION.to_vec().into(),
        version: Some(record(3, Some(1)).version.into()),
        epoch: 3,
        end: 10,
        committed: 10,
        held: 10,
        record: Some((&record(3, Some(1))).into()),
        ..control::ReplicaReport::default()
    };
    control::Reports { replicas: vec![report], complete: true }
}

/// What a follower asks.
pub(super) fn fetches() -> peer::ToLeader {
    let fetch = peer::Fetch {
        shard: 0,
        incarnation: Host::INCARNATION.to_vec().into(),
        epoch: 3,
        position: 0,
        ..peer::Fetch::default()
    };
    let fetches = peer::Fetches { fetches: vec![fetch] };
    peer::ToLeader { message: Some(peer::to_leader::Message::Fetches(fetches)) }
}

/// What a leader answers.
pub(super) fn answers() -> peer::ToFollower {
    peer::ToFollower { answers: vec![answer(0, 10)] }
}

fn answer(from: u64, to: u64) -> peer::Answer {
    let data = peer::Data { entries: shard::sent(from, to), committed: to, next: to };
    peer::Answer {
        shard: 0,
        epoch: 3,
        position: from,
        last_epoch: 0,
        outcome: Some(peer::answer::Outcome::Data(data)),
    }
}

fn put_record(out: &mut Vec<u8>, record: &ShardRecord) {
    put(out, RECORDS, &control::Records { records: vec![record.into()] }.encode_to_vec());
}

fn put_answer(out: &mut Vec<u8>, from: u64, to: u64) {
    let answers = peer::ToFollower { answers: vec![answer(from, to)] };
    put(out, ANSWERS | ASKED, &answers.encode_to_vec());
}

fn seeds() -> Vec<Vec<u8>> {
    let mut follows = Vec::new();
    put_record(&mut follows, &record(3, Some(1)));
    put_answer(&mut follows, 0, 10);
    put_answer(&mut follows, 10, 30);
    put(&mut follows, TIME, &[200]);
    let mut leads = Vec::new();
    put_record(&mut leads, &record(3, Some(0)));
    put(&mut leads, FETCHES, &fetches().encode_to_vec());
    put(&mut leads, BATCH, &super::record_batch::with_keys());
    put(&mut leads, TIME, &[2]);
    let mut built = Vec::new();
    put_record(&mut built, &record(3, Some(1)));
    let outcome = peer::answer::Outcome::NeedCheckpoint(peer::NeedCheckpoint { clean_point: 0 });
    let need = peer::Answer { outcome: Some(outcome), ..peer::Answer::default() };
    put(&mut built, ANSWERS | ASKED, &peer::ToFollower { answers: vec![need] }.encode_to_vec());
    put(&mut built, CHECKPOINT, &[&[4, 0][..], &shard::checkpoint(20)].concat());
    put_answer(&mut built, 4, 20);
    put_answer(&mut built, 20, 30);
    let mut parts = follows.clone();
    put_record(&mut parts, &ShardRecord { isr: vec![member(1)], ..record(4, Some(1)) });
    let outcome = peer::answer::Outcome::Diverged(peer::Diverged { epoch: 1, end: 25 });
    let diverged = peer::Answer { outcome: Some(outcome), ..peer::Answer::default() };
    put(&mut parts, ANSWERS | ASKED, &peer::ToFollower { answers: vec![diverged] }.encode_to_vec());
    put_record(&mut parts, &record(5, Some(0)));
    let refused =
        control::IsrAnswer { expected: Some(record(5, None).version.into()), ..Default::default() };
    put(&mut parts, ISR_ANSWER, &refused.encode_to_vec());
    vec![follows, leads, built, parts]
}

/// Makes the checksums of entries in answers right.
fn repair_answers(input: &mut Vec<u8>) {
    let mut out = Vec::new();
    for (what, message) in messages(input) {
        let decoded = peer::ToFollower::decode(message);
        match (what & !ASKED, decoded) {
            (ANSWERS, Ok(mut decoded)) => {
                for answer in &mut decoded.answers {
                    if let Some(peer::answer::Outcome::Data(data)) = &mut answer.outcome {
                        let mut entries = data.entries.to_vec();
                        repair::entries(&mut entries, 0);
                        data.entries = entries.into();
                    }
                }
                put(&mut out, what, &decoded.encode_to_vec());
            }
            (BATCH, _) => {
                let mut batch = message.to_vec();
                repair::batches(&mut batch);
                put(&mut out, what, &batch);
            }
            _ => put(&mut out, what, message),
        }
    }
    *input = out;
}

fn run(input: &[u8]) {
    let disk = Disk::Simulated(SimulatedDisk::default());
    let volume = Volume::open_on(&disk, Path::new("/data"), "kernel").expect("it is new");
    let place = (&disk, &*volume.shard_dir(SHARD), shard::config());
    let mut driver =
        Driver::open(Host::new(), SHARD, volume.boot(), place).expect("the log is new");
    driver.start();
    shard::serve(&mut driver);
    for (what, message) in messages(input) {
        tell(&mut driver, what, message);
        shard::serve(&mut driver);
    }
    for _ in 0..5 {
        shard::pass(&mut driver, 5_001);
    }
    driver.close();
    // What it took, it can read back.
    let place = (&disk, &*volume.shard_dir(SHARD), shard::config());
    let again = Driver::open(Host::new(), SHARD, volume.boot(), place);
    assert!(again.is_ok(), "what was taken can't be opened: {:?}", again.err());
}

fn tell(driver: &mut Driver<Host>, what: u8, message: &[u8]) {
    match what & !ASKED {
        RECORDS => {
            for wire in control::Records::decode(message).unwrap_or_default().records {
                if let Ok(record) = ShardRecord::try_from(wire)
                    && record.shard == SHARD
                {
                    driver.handle(Input::Record(record));
                }
            }
        }
        ANSWERS => {
            for wire in peer::ToFollower::decode(message).unwrap_or_default().answers {
                answered(driver, wire, what & ASKED != 0);
                shard::serve(driver);
            }
        }
        FETCHES => {
            use peer::to_leader::Message as Wire;
            let decoded = peer::ToLeader::decode(message).unwrap_or_default();
            let Some(Wire::Fetches(asked)) = decoded.message else { return };
            for fetch in asked.fetches {
                if let Ok((_, fetch)) = peers::fetch_from_wire(&fetch) {
                    driver.handle(Input::Fetch(BrokerId(1), fetch));
                }
            }
        }
        CHECKPOINT => build(driver, message),
        TIME => shard::pass(driver, message.first().map_or(1, |ms| u64::from(*ms) * 100)),
        ISR_ANSWER => {
            let answer = control::IsrAnswer::decode(message).unwrap_or_default();
            if let Some(expected) = answer.expected {
                driver.handle(Input::IsrRefused(expected.into()));
            }
        }
        BATCH => append(driver, message),
        _ => driver.handle(Input::Connected(BrokerId(1))),
    }
}

/// The leader answers what was asked, or something else.
fn answered(driver: &mut Driver<Host>, wire: peer::Answer, is_asked: bool) {
    let Ok((_, mut answer)) = peers::answer_from_wire(wire) else {
        return;
    };
    if is_asked && let Some(asked) = driver.effects_mut().asked {
        answer.key = asked;
    }
    driver.handle(Input::Answer(BrokerId(1), answer));
}

/// The leader's checkpoint: two bytes of where its log starts, and the state.
fn build(driver: &mut Driver<Host>, message: &[u8]) {
    let Some(([low, high], bytes)) = message.split_first_chunk() else {
        return;
    };
    if !std::mem::take(&mut driver.effects_mut().wants_checkpoint) {
        return;
    }
    let bytes = Bytes::copy_from_slice(bytes);
    driver.handle(match State::decode(&bytes) {
        Ok((state, history)) => {
            let log_start = Position(u64::from(u16::from_le_bytes([*low, *high])));
            Input::Built(Box::new(Image { state, history, bytes, log_start }))
        }
        Err(_) => Input::BuildFailed,
    });
}

/// A client's batch, as its door passed it on.
fn append(driver: &mut Driver<Host>, batch: &[u8]) {
    use holdfast_broker::driver::AppendCommand;
    use holdfast_service::{Append, Durability};
    let (reply, _) = tokio::sync::oneshot::channel();
    let append = Append {
        stream: shard::stream(0),
        batch: Bytes::copy_from_slice(batch),
        durability: Durability::Committed,
        batch_bytes_max: 1_000_000,
    };
    if driver.takes_appends() {
        driver.append(AppendCommand { append, reply });
    }
}
