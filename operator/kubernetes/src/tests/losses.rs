//! A possible loss, a person who acknowledges it, and the next one.

use holdfast_operator::store::{RecordStore, Swap};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, LossRange, Member, Position, ShardId, ShardRecord,
    Version,
};
use serde_json::{Value, json};

use super::converge::{idle, operate, policy, topic, until};
use super::fake::{Fake, NAMESPACE};
use crate::names::Key;
use crate::store::ShardStore;

const SHARD: (&str, &str, &str) = ("holdfast.dev", "shards", "orders-0");
const TOPIC: (&str, &str, &str) = ("holdfast.dev", "topics", "audit");
const ANNOTATION: &str = "holdfast.dev/acknowledge-loss";

fn lossy(epoch: u32) -> ShardRecord {
    let leader = Member { broker: BrokerId(1), incarnation: Incarnation([1; 16]) };
    ShardRecord {
        shard: ShardId(0),
        version: Version { generation: 0, revision: 8, writer: 5 },
        epoch: Epoch(epoch),
        leader: Some(leader),
        isr: vec![leader],
        replicas: (0..3).map(BrokerId).collect(),
        min_in_sync_replicas: 2,
        flush: FlushMode::Sync,
        unclean_epoch: Some(Epoch(epoch)),
        loss: Some(LossRange { from: Position(70), to: Position(90) }),
        starts: Vec::new(),
        lineage: Default::default(),
    }
}

/// Writes a record as another operator would.
async fn elect_uncleanly(fake: &Fake, epoch: u32) {
    let store = ShardStore::new(fake.client(), &Key::new(NAMESPACE, "orders"), 1);
    let before = store.list().await.unwrap().pop().map(|record| record.version);
    let version = before.map_or(lossy(epoch).version, Version::next);
    let record = ShardRecord { version, ..lossy(epoch) };
    assert_eq!(store.compare_and_swap(before, record).await.unwrap(), Swap::Done);
}

/// The condition of a possible loss, once it has this status and reason.
async fn told(fake: &Fake, of: (&str, &str, &str), status: &str, reason: &str) -> String {
    until(&format!("{status}, {reason} at {}", of.2), || {
        let object = fake.get(of.0, of.1, of.2)?;
        let conditions = object["status"]["conditions"].as_array()?.iter();
        let mut lost = conditions.filter(|condition| condition["type"] == "PossibleLoss");
        let lost = lost.find(|c| c["status"] == status && c["reason"] == reason)?;
        Some(lost["message"].as_str().unwrap().to_owned())
    })
    .await
}

/// Waits until the Shard, the Topic, and the metric say that nobody has acknowledged it.
async fn told_of(fake: &Fake, metrics: &crate::metrics::Metrics, open: usize) {
    let line = format!(
        "holdfast_operator_unacknowledged_losses{{namespace=\"{NAMESPACE}\",policy=\"orders\"}} \
         {open}\n"
    );
    until(&line, || metrics.render().contains(&line).then_some(())).await;
    let (status, reason) =
        if open > 0 { ("True", "UncleanElection") } else { ("False", "Acknowledged") };
    for of in [SHARD, TOPIC] {
        told(fake, of, status, reason).await;
    }
}

/// Does what a message says that a person may do, to the letter.
fn run(fake: &Fake, message: &str) {
    let (_, command) = message.rsplit_once("kubectl ").unwrap();
    let words: Vec<&str> = command.split(' ').collect();
    let ["annotate", "--overwrite", "-n", NAMESPACE, "shard", name, what] = words[..] else {
        panic!("{command}");
    };
    let (annotation, value) = match what.strip_suffix('-') {
        Some(annotation) => (annotation, None),
        None => what.split_once('=').map(|(name, value)| (name, Some(value))).unwrap(),
    };
    fake.annotate(("holdfast.dev", "shards", name), annotation, value);
}

fn events(fake: &Fake, reason: &str) -> Vec<Value> {
    let state = fake.state.lock().unwrap();
    let events = state.log.iter().filter(|(.., event)| event["reason"] == reason);
    events.map(|(.., event)| event.clone()).collect()
}

#[tokio::test]
async fn a_person_acknowledges_a_loss_and_the_next_one_is_told_again() {
    let fake = Fake::new();
    elect_uncleanly(&fake, 65).await;
    let operator = operate(&fake, "a");
    fake.put("holdfast.dev", "replicationpolicies", policy("orders", json!({"shards": 1})));
    fake.put("holdfast.dev", "topics", topic("audit", "orders"));
    told_of(&fake, &operator.metrics, 1).await;
    let spec = fake.get(SHARD.0, SHARD.1, SHARD.2).unwrap()["spec"].clone();
    assert_eq!(spec["possibleLoss"], json!({"from": 70, "to": 90}));

    for (bad, words) in [("true", "is \\\"true\\\", which is no epoch"), ("129", "is 129")] {
        fake.annotate(SHARD, ANNOTATION, Some(bad));
        until("a refusal", || {
            let refused = events(&fake, "AcknowledgementRefused");
            refused.iter().any(|e| e["note"].to_string().contains(words)).then_some(())
        })
        .await;
        let refused = told(&fake, SHARD, "True", "AcknowledgementRefused").await;
        assert!(refused.contains(ANNOTATION), "{refused}");
        told(&fake, TOPIC, "True", "UncleanElection").await;
    }
    // What the Topic's condition says is as good as what the Shard's does.
    run(&fake, &told(&fake, TOPIC, "True", "UncleanElection").await);
    told_of(&fake, &operator.metrics, 0).await;
    let done = told(&fake, SHARD, "False", "Acknowledged").await;
    assert!(done.contains("since epoch 65, positions 70 to 90"), "{done}");
    assert_eq!(fake.get(SHARD.0, SHARD.1, SHARD.2).unwrap()["spec"], spec, "the record stays");
    // A person who takes it back is believed.
    fake.annotate(SHARD, ANNOTATION, None);
    told_of(&fake, &operator.metrics, 1).await;
    run(&fake, &told(&fake, SHARD, "True", "UncleanElection").await);
    told_of(&fake, &operator.metrics, 0).await;
    idle(&fake).await;
    operator.stop().await;

    // Another operator tells the same, as no news.
    let operator = operate(&fake, "b");
    told_of(&fake, &operator.metrics, 0).await;
    idle(&fake).await;
    operator.stop().await;
    assert_eq!(events(&fake, "AcknowledgementRefused").len(), 2, "told on changes only");
    assert_eq!(events(&fake, "LossAcknowledged").len(), 2, "told on changes only");

    // The next loss is told, even one that was acknowledged before it happened.
    fake.annotate(SHARD, ANNOTATION, Some("129"));
    elect_uncleanly(&fake, 129).await;
    let operator = operate(&fake, "c");
    told_of(&fake, &operator.metrics, 1).await;
    let open = told(&fake, SHARD, "True", "UncleanElection").await;
    run(&fake, &open);
    told_of(&fake, &operator.metrics, 0).await;
    operator.stop().await;
    assert_eq!(fake.state.lock().unwrap().blind, Vec::<String>::new());
}

#[tokio::test]
async fn an_acknowledgement_that_a_watch_missed_is_found_by_the_next_list() {
    let fake = Fake::new();
    elect_uncleanly(&fake, 65).await;
    let operator = operate(&fake, "a");
    fake.put("holdfast.dev", "replicationpolicies", policy("orders", json!({"shards": 1})));
    fake.put("holdfast.dev", "topics", topic("audit", "orders"));
    told_of(&fake, &operator.metrics, 1).await;
    idle(&fake).await;
    fake.break_watches();
    fake.annotate(SHARD, ANNOTATION, Some("65"));
    told_of(&fake, &operator.metrics, 0).await;
    idle(&fake).await;
    fake.break_watches();
    fake.annotate(SHARD, ANNOTATION, None);
    told_of(&fake, &operator.metrics, 1).await;
    operator.stop().await;
}
