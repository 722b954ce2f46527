//! The operator's shell against brokers that speak the control protocol in this process.

// A test stops where something is not as it must be.
#![allow(clippy::unwrap_used)]

mod fake;
mod flaky;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fake::{Broker, Volume};
use flaky::FlakyStore;
use holdfast_operator::store::{LocalStore, RecordStore};
use holdfast_operator::{BrokerAddress, Contact, Operator, Settings, Snapshot};
use holdfast_operator_core::{BrokerState, Policy};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Member, ShardId, ShardRecord, UncleanElection,
    command, control,
};
use holdfast_transport::{Fingerprint, InUse};
use tokio::time::timeout;

const SHARDS: u32 = 6;
const BOUND: Duration = Duration::from_secs(30);
/// The detection timeout; generous where silence is not what is tested.
const DETECTION_MS: u64 = 3000;

fn brokers() -> Vec<Broker> {
    let start = |id| Broker::anywhere(id, SHARDS, Volume::default());
    (0..3).map(start).collect()
}

fn settings(addresses: &[String], detection_timeout_ms: u64) -> Settings {
    let address = |(id, peer): (usize, &String)| BrokerAddress {
        id: BrokerId(u32::try_from(id).unwrap()),
        peer: peer.clone(),
    };
    Settings {
        name: "test".to_owned(),
        cluster_id: "orders".to_owned(),
        policy: Policy {
            brokers: 3,
            staying: 3,
            replicas: 3,
            min_in_sync_replicas: 2,
            shards: SHARDS,
            flush: FlushMode::Sync,
            detection_timeout_ms,
            move_back_after_ms: 2000,
            unclean_election: UncleanElection::Never,
        },
        brokers: addresses.iter().enumerate().map(address).collect(),
        cluster: control::Cluster::default(),
        patience: Duration::ZERO,
        tls: None,
    }
}

fn topic(id: u8) -> command::Topic {
    command::Topic {
        id: vec![id; 16].into(),
        name: "orders".to_owned(),
        partitions: 6,
        config: Some(command::TopicConfig {
            message_bytes_max: 1024,
            ..command::TopicConfig::default()
        }),
        declared_by: command::Declarer::Yaml.into(),
    }
}

async fn operator(brokers: &[Broker], detection_ms: u64, store: impl RecordStore) -> Operator {
    let addresses: Vec<String> = brokers.iter().map(|b| b.address.clone()).collect();
    let settings = settings(&addresses, detection_ms);
    Operator::start(settings, store, vec![topic(7)]).await.unwrap()
}

fn store(directory: &Path) -> LocalStore {
    LocalStore::open(directory).unwrap()
}

/// Waits until `holds`, and returns the snapshot in which it does.
async fn until(
    operator: &Operator,
    what: &str,
    holds: impl Fn(&Snapshot) -> bool,
) -> Arc<Snapshot> {
    let mut snapshots = operator.snapshots();
    let waited = timeout(BOUND, snapshots.wait_for(|snapshot| holds(snapshot))).await;
    match waited {
        Ok(snapshot) => Arc::clone(&snapshot.unwrap()),
        Err(_) => {
            panic!("not within {BOUND:?}: {what}; {:#?}", operator.snapshots().borrow().status)
        }
    }
}

fn leads(snapshot: &Snapshot, broker: u32) -> usize {
    snapshot.status.brokers[broker as usize].leads
}

fn member(broker: u32) -> Member {
    Member {
        broker: BrokerId(broker),
        incarnation: Incarnation([u8::try_from(broker).unwrap() + 1; 16]),
    }
}

#[tokio::test]
async fn a_killed_broker_is_replaced_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut brokers = brokers();
    let operator = operator(&brokers, DETECTION_MS, store(directory.path())).await;
    let ready = until(&operator, "ready", Snapshot::is_ready).await;
    assert_eq!(leads(&ready, 0), 2, "leaders are spread");
    assert_eq!(brokers[0].topics().len(), 1, "declared on the leader of shard 0");

    let address = brokers[0].address.clone();
    let volume = brokers.remove(0).kill();
    let after = until(&operator, "failover", |s| {
        s.status.last_failover.is_some() && s.status.leaderless == 0
    })
    .await;
    let failover = after.status.last_failover.clone().unwrap();
    assert_eq!((failover.from, failover.shards), (BrokerId(0), 2));
    assert!(failover.duration_ms < 1000, "{failover}");
    assert_eq!(failover.to, [BrokerId(1), BrokerId(2)], "fewest leaders");
    until(&operator, "fenced", |s| {
        let records = || s.status.shards.iter().flat_map(|shard| &shard.record);
        records().all(|record| record.in_sync(BrokerId(0)).is_none())
    })
    .await;

    // It comes back, catches up, and is preferred for the shards that it led.
    brokers.insert(0, Broker::start(0, SHARDS, &address, volume));
    until(&operator, "back", |s| s.status.brokers[0].state == BrokerState::Live).await;
    // A wish names the record that its leader knows; that of shard 0 changes once more, for the
    // start of the broker is remembered in it.
    let remembers = |record: &ShardRecord| record.starts.iter().any(|start| start.counter == 2);
    let remembered = until(&operator, "its start is remembered", |s| {
        s.status.shards[0].record.as_ref().is_some_and(remembers)
    })
    .await;
    let leader = remembered.status.shards[0].record.as_ref().unwrap().leader.unwrap();
    while !brokers[leader.broker.0 as usize].record(0).is_some_and(|record| remembers(&record)) {
        tokio::task::yield_now().await;
    }
    for shard in 0..SHARDS {
        let record = brokers[1].record(shard).unwrap();
        let leader = record.leader.unwrap().broker.0;
        let isr = [record.isr, vec![member(0)]].concat();
        brokers[leader as usize].ask_isr(shard, &isr);
    }
    let balanced = until(&operator, "balance", |s| {
        leads(s, 0) == 2 && s.status.leaderless == 0 && s.status.under_replicated == 0
    })
    .await;
    assert!(balanced.status.shards.iter().all(|s| s.working == 3));
    assert!(balanced.status.brokers.iter().all(|b| b.safe_to_restart));
    operator.stop().await;
}

#[tokio::test]
async fn silence_is_death_after_the_detection_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let brokers = brokers();
    let operator = operator(&brokers, 1000, store(directory.path())).await;
    until(&operator, "ready", Snapshot::is_ready).await;
    brokers[1].freeze(true);
    let after = until(&operator, "failover", |s| s.status.last_failover.is_some()).await;
    assert_eq!(after.status.leaderless, 0);
    assert_eq!(leads(&after, 1), 0);
    brokers[1].freeze(false);
    until(&operator, "back", |s| s.status.brokers[1].state == BrokerState::Live).await;
    operator.stop().await;
}

#[tokio::test]
async fn leaders_move_before_a_stop_and_when_they_resign() {
    let directory = tempfile::tempdir().unwrap();
    let brokers = brokers();
    let operator = operator(&brokers, DETECTION_MS, store(directory.path())).await;
    until(&operator, "ready", Snapshot::is_ready).await;
    let stopped = timeout(BOUND, operator.handle().prepare_stop(BrokerId(2))).await;
    stopped.unwrap().unwrap();
    let after = until(&operator, "moved", |s| leads(s, 2) == 0 && s.status.leaderless == 0).await;
    assert_eq!(after.status.last_failover, None, "it was planned");
    let moved = after.status.recent.last().unwrap();
    assert_eq!((moved.from, moved.shards), (BrokerId(2), 2));

    brokers[0].resign(0);
    let after = until(&operator, "resigned", |s| s.status.last_failover.is_some()).await;
    let record = after.status.shards[0].record.clone().unwrap();
    assert_eq!(record.leader.unwrap().broker, BrokerId(1));
    assert!(record.in_sync(BrokerId(0)).is_some(), "who resigns stays in sync");
    assert!(record.in_sync(BrokerId(2)).is_none(), "who is about to stop does not");
    operator.stop().await;
}

#[tokio::test]
async fn a_broker_that_says_it_stops_is_spared_and_let_go_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut brokers = brokers();
    let operator = operator(&brokers, DETECTION_MS, store(directory.path())).await;
    until(&operator, "ready", Snapshot::is_ready).await;
    brokers[2].stopping();
    let let_go = async {
        while !brokers[2].is_let_go() {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, let_go).await.unwrap();
    let status = operator.snapshots().borrow().status.clone();
    assert_eq!(status.brokers[2].leads, 0);
    let records = || status.shards.iter().flat_map(|shard| &shard.record);
    assert!(records().all(|record| record.in_sync(BrokerId(2)).is_none()));
    assert_eq!(status.last_failover, None, "it was planned");

    // Two more at once: nobody waits for anybody.
    brokers[0].stopping();
    brokers[1].stopping();
    let let_go = async {
        while !(brokers[0].is_let_go() && brokers[1].is_let_go()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, let_go).await.unwrap();

    // Another process on the same volume does not stop.
    let address = brokers[0].address.clone();
    let volume = brokers.remove(0).kill();
    brokers.insert(0, Broker::start(0, SHARDS, &address, volume));
    until(&operator, "it leads what it led", |s| leads(s, 0) == SHARDS as usize).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_new_operator_finds_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let brokers = brokers();
    let first = operator(&brokers, DETECTION_MS, store(directory.path())).await;
    // It writes down which starts of the brokers it knows, ready or not.
    let all_noted = |record: &ShardRecord| record.starts.len() == brokers.len();
    until(&first, "ready, with all starts noted", |s| {
        s.is_ready() && s.status.shards[0].record.as_ref().is_some_and(all_noted)
    })
    .await;
    first.stop().await;
    let before = store(directory.path()).list().await.unwrap();
    assert_eq!(before.len(), SHARDS as usize);

    let second = operator(&brokers, DETECTION_MS, store(directory.path())).await;
    until(&second, "ready", Snapshot::is_ready).await;
    second.stop().await;
    assert_eq!(store(directory.path()).list().await.unwrap(), before);
}

#[tokio::test]
async fn a_store_that_went_back_is_put_right_from_what_brokers_know() {
    let directory = tempfile::tempdir().unwrap();
    let brokers = brokers();
    let first = operator(&brokers, DETECTION_MS, store(directory.path())).await;
    until(&first, "ready", Snapshot::is_ready).await;
    first.stop().await;
    std::fs::remove_file(directory.path().join("shard-3.json")).unwrap();

    let second = operator(&brokers, DETECTION_MS, store(directory.path())).await;
    let after = until(&second, "adopted", Snapshot::is_ready).await;
    let record = after.status.shards[3].record.clone().unwrap();
    assert_eq!(record.version.generation, 1);
    let led = Epoch::default().next_of(BrokerId(0));
    assert_eq!((record.leader.unwrap().broker, record.epoch), (BrokerId(0), led), "it goes on");
    assert_eq!(record.shard, ShardId(3));
    second.stop().await;
}

#[tokio::test]
async fn writes_whose_end_is_unknown_are_settled() {
    let directory = tempfile::tempdir().unwrap();
    let mut brokers = brokers();
    let flaky = FlakyStore::new(store(directory.path()));
    let operator = operator(&brokers, DETECTION_MS, flaky).await;
    until(&operator, "ready", Snapshot::is_ready).await;
    brokers.remove(0).kill();
    let after = until(&operator, "failover", |s| {
        s.status.last_failover.is_some() && s.status.leaderless == 0
    })
    .await;
    let stored = store(directory.path()).list().await.unwrap();
    let known: Vec<_> = after.status.shards.iter().filter_map(|s| s.record.clone()).collect();
    assert_eq!(stored.len(), known.len());
    operator.stop().await;
}

#[tokio::test]
async fn a_topic_that_is_there_under_another_id_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let volume = Volume { topics: vec![topic(9)], ..Volume::default() };
    let start = |id| Broker::anywhere(id, SHARDS, volume.clone());
    let brokers: Vec<Broker> = (0..3).map(start).collect();
    let operator = operator(&brokers, DETECTION_MS, store(directory.path())).await;
    let ready = until(&operator, "ready", Snapshot::is_ready).await;
    assert_eq!(ready.topics.len(), 1);
    assert_eq!(ready.topics[0].id.0, [9; 16]);
    operator.stop().await;
}

#[tokio::test]
async fn what_a_broker_uses_is_what_it_says_in_the_session_that_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let mut brokers = brokers();
    brokers[1].uses([1; 32]);
    let operator = operator(&brokers, DETECTION_MS, store(directory.path())).await;
    let contact = |snapshot: &Snapshot, id| snapshot.contacts[&BrokerId(id)].clone();
    let says = |leaf: [u8; 32]| {
        let in_use = InUse { authorities: BTreeSet::new(), leaf: Some(Fingerprint(leaf)) };
        Contact::Session(Some(in_use))
    };
    until(&operator, "both have said hello", |s| {
        contact(s, 0) == Contact::Session(None) && contact(s, 1) == says([1; 32])
    })
    .await;
    brokers[1].uses([2; 32]);
    until(&operator, "it says another one", |s| contact(s, 1) == says([2; 32])).await;
    let gone = brokers.remove(1);
    let address = gone.address.clone();
    let volume = gone.kill();
    until(&operator, "it is forgotten", |s| matches!(contact(s, 1), Contact::Lost(_))).await;
    let _again = Broker::start(1, SHARDS, &address, volume);
    until(&operator, "another says nothing", |s| contact(s, 1) == Contact::Session(None)).await;
    operator.stop().await;
}
