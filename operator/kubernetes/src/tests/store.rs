//! The record store under contention and faults: no write is lost, none is made over what was not
//! read.

use holdfast_api::shard::ShardStatus;
use holdfast_operator::store::{RecordStore, Swap};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, LossRange, Member, Position, ShardId, ShardRecord,
    Version,
};
use serde_json::json;

use super::fake::Fake;
use crate::names::Key;
use crate::store::ShardStore;

fn record(revision: u64, leader: u32) -> ShardRecord {
    let member = |broker: u32| {
        let incarnation = Incarnation([u8::try_from(broker).unwrap(); 16]);
        Member { broker: BrokerId(broker), incarnation }
    };
    ShardRecord {
        shard: ShardId(3),
        version: Version { generation: 0, revision, writer: 0 },
        epoch: Epoch(u32::try_from(revision).unwrap()),
        leader: Some(member(leader)),
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

fn store(fake: &Fake) -> ShardStore {
    ShardStore::new(fake.client(), &Key::new("shop", "orders"), 12)
}

/// Writes the next revision as a planner does, whatever goes wrong; returns once `until` is there.
async fn write(store: ShardStore, writer: u32, until: u64) {
    let mut known: Option<ShardRecord> = None;
    loop {
        let revision = known.as_ref().map_or(0, |record| record.version.revision);
        if revision >= until {
            return;
        }
        let expected = known.as_ref().map(|record| record.version);
        let next = record(revision + 1, writer);
        match store.compare_and_swap(expected, next.clone()).await {
            Ok(Swap::Done) => known = Some(next),
            Ok(Swap::Conflict(current)) => known = current,
            // It may have happened: only a read tells.
            Err(_) => {
                if let Ok(current) = store.read(ShardId(3)).await {
                    known = current;
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn two_operators_lose_no_write_of_each_other() {
    for seed in 1..40 {
        let fake = Fake::new();
        fake.state.lock().unwrap().seed = seed * 7919;
        let (one, other) = (store(&fake), store(&fake));
        tokio::join!(write(one, 0, 60), write(other, 1, 60));
        let state = fake.state.lock().unwrap();
        assert_eq!(state.blind, Vec::<String>::new(), "seed {seed}");
        let revisions: Vec<u64> = state
            .log
            .iter()
            .map(|(.., shard)| shard["spec"]["revision"].as_u64().unwrap())
            .collect();
        let end = *revisions.last().unwrap();
        assert_eq!(revisions, (1..=end).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[tokio::test]
async fn a_status_or_a_label_is_no_other_record() {
    let fake = Fake::new();
    let store = store(&fake);
    assert_eq!(store.compare_and_swap(None, record(1, 0)).await.unwrap(), Swap::Done);
    // Somebody labels the object: the record in it is still the one that was read.
    let mut object = fake.get("holdfast.dev", "shards", "orders-3").unwrap();
    object["metadata"]["labels"]["team"] = "a".into();
    fake.put("holdfast.dev", "shards", object);
    let version = Some(record(1, 0).version);
    assert_eq!(store.compare_and_swap(version, record(2, 1)).await.unwrap(), Swap::Done);
    let object = fake.get("holdfast.dev", "shards", "orders-3").unwrap();
    assert_eq!(object["metadata"]["labels"]["team"], "a");
    // What was written since is a conflict, and so is a record that is there or gone.
    let current = Some(record(2, 1));
    let old = store.compare_and_swap(version, record(2, 0)).await.unwrap();
    assert_eq!(old, Swap::Conflict(current.clone()));
    let again = store.compare_and_swap(None, record(1, 0)).await.unwrap();
    assert_eq!(again, Swap::Conflict(current));
    fake.delete("holdfast.dev", "shards", "orders-3");
    let gone = store.compare_and_swap(Some(record(2, 1).version), record(3, 0)).await.unwrap();
    assert_eq!(gone, Swap::Conflict(None));
}

#[tokio::test]
async fn an_acknowledgement_stays_until_the_next_loss_and_none_is_given_in_advance() {
    let fake = Fake::new();
    let store = store(&fake);
    let lossy = |revision, epoch| ShardRecord {
        unclean_epoch: Some(Epoch(epoch)),
        loss: Some(LossRange { from: Position(70), to: Position(90) }),
        ..record(revision, 0)
    };
    let annotate = |value: &str| {
        let mut object = fake.get("holdfast.dev", "shards", "orders-3").unwrap();
        object["metadata"]["annotations"]["holdfast.dev/acknowledge-loss"] = value.into();
        fake.put("holdfast.dev", "shards", object);
    };
    let annotations = || {
        let object = fake.get("holdfast.dev", "shards", "orders-3").unwrap();
        object["metadata"]["annotations"].clone()
    };
    let swap = async |expected: Option<u64>, record: ShardRecord| {
        let expected = expected.map(|revision| Version { revision, ..record.version });
        assert_eq!(store.compare_and_swap(expected, record).await.unwrap(), Swap::Done);
    };
    swap(None, lossy(1, 17)).await;
    annotate("17");
    // Neither another record nor another status takes away what a person wrote.
    swap(Some(1), lossy(2, 17)).await;
    store.write_status(ShardId(3), &ShardStatus::default()).await.unwrap();
    swap(Some(2), lossy(3, 17)).await;
    let both = json!({"holdfast.dev/shards": "12", "holdfast.dev/acknowledge-loss": "17"});
    assert_eq!(annotations(), both);
    // By mistake, or on purpose: before anybody can know what is lost.
    annotate("81");
    swap(Some(3), lossy(4, 81)).await;
    assert_eq!(annotations(), json!({"holdfast.dev/shards": "12"}));
    annotate("81");
    swap(Some(4), lossy(5, 81)).await;
    assert_eq!(annotations()["holdfast.dev/acknowledge-loss"], "81");
    assert_eq!(fake.state.lock().unwrap().blind, Vec::<String>::new());
}

#[tokio::test]
async fn a_damaged_or_foreign_record_is_named() {
    let fake = Fake::new();
    store(&fake).compare_and_swap(None, record(1, 0)).await.unwrap();
    let good = fake.get("holdfast.dev", "shards", "orders-3").unwrap();
    let mut damaged = good.clone();
    damaged["spec"]["isr"] = json!([{"broker": 0, "incarnation": "nonsense"}]);
    fake.put("holdfast.dev", "shards", damaged);
    let error = store(&fake).list().await.unwrap_err().to_string();
    assert!(error.contains("orders-3 can't be read"), "{error}");
    let mut foreign = good;
    foreign["spec"]["policy"] = "other".into();
    fake.put("holdfast.dev", "shards", foreign);
    let error = store(&fake).list().await.unwrap_err().to_string();
    assert!(error.contains("orders-3 is of another policy"), "{error}");
}
