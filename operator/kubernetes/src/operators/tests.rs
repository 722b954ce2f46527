//! What of a snapshot is news.

use holdfast_operator::{Contact, PartitionView};
use holdfast_operator_core::{ShardCondition, ShardStatus, Status};
use holdfast_protocol::{Epoch, ShardId, TopicId};

use super::*;

fn snapshot() -> Snapshot {
    let shard = ShardStatus {
        id: ShardId(0),
        condition: ShardCondition::Serving,
        record: None,
        working: 3,
        committed: Position(7),
    };
    let partition = PartitionView {
        partition: 0,
        shard: ShardId(0),
        leader: Some(BrokerId(1)),
        epoch: Epoch(65),
        isr: vec![BrokerId(1)],
        start: 0,
        end: 5,
        possible_loss: None,
    };
    let topic = |name: &str, wanted| TopicView {
        id: TopicId([1; 16]),
        name: name.to_owned(),
        wanted,
        declared: true,
        problem: None,
        partitions: vec![partition.clone()],
        bytes: 100,
        lag: BTreeMap::new(),
    };
    Snapshot {
        status: Status {
            brokers: Vec::new(),
            shards: vec![shard],
            leaderless: 0,
            under_replicated: 0,
            under_min_isr: 0,
            moves: Default::default(),
            is_certain: true,
            brokers_named: 3,
            last_failover: None,
            recent: Vec::new(),
        },
        topics: vec![topic("audit", true), topic("made-by-a-client", false)],
        contacts: BTreeMap::new(),
    }
}

/// What is news after this change of a snapshot.
fn after(change: impl FnOnce(&mut Snapshot)) -> (News, Vec<String>) {
    let (before, mut now) = (snapshot(), snapshot());
    change(&mut now);
    let learned = learned(&Key::new("shop", "orders"), Some(&before), &now);
    (learned.news, learned.topics)
}

#[test]
fn what_changes_with_every_message_is_numbers_alone() {
    let audit = || vec!["audit".to_owned()];
    assert_eq!(after(|_| {}), (News::Numbers, vec![]));
    assert_eq!(after(|now| now.status.shards[0].committed = Position(8)), (News::Numbers, vec![]));
    assert_eq!(after(|now| now.topics[1].partitions[0].end = 6), (News::Numbers, vec![]));
    let messages: [fn(&mut Snapshot); 4] = [
        |now| now.topics[0].lag = BTreeMap::from([("billing".to_owned(), 1)]),
        |now| now.topics[0].partitions[0].end = 6,
        |now| now.topics[0].partitions[0].start = 1,
        |now| now.topics[0].bytes = 200,
    ];
    for message in messages {
        assert_eq!(after(message), (News::Numbers, audit()));
    }
}

#[test]
fn all_else_is_a_change() {
    let first = learned(&Key::new("shop", "orders"), None, &snapshot());
    assert_eq!((first.news, first.topics), (News::Change, vec!["audit".to_owned()]));
    let changes: [fn(&mut Snapshot); 5] = [
        |now| now.status.shards[0].condition = ShardCondition::Leaderless,
        |now| now.status.shards[0].working = 2,
        |now| drop(now.contacts.insert(BrokerId(0), Contact::Session(None))),
        |now| now.topics[0].partitions[0].leader = Some(BrokerId(2)),
        |now| now.topics[0].declared = false,
    ];
    for change in changes {
        assert_eq!(after(change).0, News::Change);
    }
}
