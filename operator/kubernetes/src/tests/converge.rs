//! Active operators over resources: it comes out as wanted, whatever goes wrong on the way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, NAMESPACE};
use crate::controller;
use crate::http::Readiness;
use crate::metrics::Metrics;
use crate::settings::{LeaseSettings, Settings};

const BOUND: Duration = Duration::from_secs(60);

struct Running {
    end: CancellationToken,
    task: JoinHandle<()>,
}

fn operate(fake: &Fake, identity: &str) -> Running {
    let settings = Settings {
        namespace: Some(NAMESPACE.to_owned()),
        image: "holdfast:1".to_owned(),
        http: "127.0.0.1:0".parse().unwrap(),
        lease: LeaseSettings {
            name: "holdfast-operator".to_owned(),
            namespace: NAMESPACE.to_owned(),
            identity: identity.to_owned(),
        },
        cluster_domain: "invalid".to_owned(),
    };
    let (readiness, _) = watch::channel(Readiness::Starting);
    let end = CancellationToken::new();
    let metrics = Arc::new(Metrics::new());
    let task =
        tokio::spawn(controller::run(settings, fake.client(), metrics, readiness, end.clone()));
    Running { end, task }
}

impl Running {
    async fn stop(self) {
        self.end.cancel();
        timeout(BOUND, self.task).await.unwrap().unwrap();
    }
}

/// Waits for what is looked for.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(BOUND, wait).await.unwrap_or_else(|_| panic!("it never came to {what}"))
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "ReplicationPolicy",
        "metadata": {"name": name}, "spec": spec})
}

fn topic(name: &str, policy: &str) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "Topic",
        "metadata": {"name": name}, "spec": {"policy": policy}})
}

/// The reason of a condition that has this status.
fn reason(object: &Value, kind: &str, status: &str) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|c| c["type"] == kind && c["status"] == status)?;
    Some(found["reason"].as_str()?.to_owned())
}

fn policy_reason(fake: &Fake, kind: &str, status: &str) -> Option<String> {
    reason(&fake.get("holdfast.dev", "replicationpolicies", "orders")?, kind, status)
}

/// How many authorities were ever made.
fn authorities(fake: &Fake) -> usize {
    let state = fake.state.lock().unwrap();
    let secrets = state.log.iter().filter(|(_, of, ..)| of.ends_with("/secrets"));
    let keys: BTreeSet<String> = secrets
        .filter_map(|(.., s)| Some(s["data"]["authority.key"].as_str()?.to_owned()))
        .collect();
    keys.len()
}

const MADE: [(&str, &str, &str); 7] = [
    ("networking.k8s.io", "networkpolicies", "orders"),
    ("", "secrets", "orders-tls"),
    ("", "secrets", "orders-operator-tls"),
    ("apps", "statefulsets", "orders"),
    ("", "services", "orders"),
    ("", "services", "orders-brokers"),
    ("policy", "poddisruptionbudgets", "orders"),
];

async fn all_made(fake: &Fake) {
    until("all objects", || {
        MADE.iter().all(|(g, plural, name)| fake.get(g, plural, name).is_some()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn errors_lost_answers_and_gaps_are_overcome_and_an_idle_cluster_is_left_alone() {
    for seed in [3, 77, 1234] {
        let fake = Fake::new();
        fake.state.lock().unwrap().seed = seed;
        let operator = operate(&fake, "a");
        fake.put("holdfast.dev", "replicationpolicies", policy("orders", json!({})));
        fake.put("holdfast.dev", "topics", topic("audit", "nowhere"));
        all_made(&fake).await;
        // What is missed in a gap is seen with the next list.
        fake.break_watches();
        for (group, plural, name) in MADE.into_iter().filter(|(_, plural, _)| *plural != "secrets")
        {
            fake.delete(group, plural, name);
        }
        all_made(&fake).await;
        until("a status", || policy_reason(&fake, "Reconciling", "True")).await;
        let refused = until("a condition", || {
            reason(&fake.get("holdfast.dev", "topics", "audit")?, "Stalled", "True")
        });
        assert_eq!(refused.await, "PolicyNotFound");
        fake.state.lock().unwrap().seed = 0;
        idle(&fake).await;
        operator.stop().await;
        assert_eq!(fake.state.lock().unwrap().blind, Vec::<String>::new());
        assert_eq!(authorities(&fake), 1, "seed {seed}");
    }
}

/// Waits until nothing is written for some time.
async fn idle(fake: &Fake) {
    let writes = || fake.state.lock().unwrap().writes;
    let quiet = async {
        let mut before = writes();
        loop {
            sleep(Duration::from_secs(5)).await;
            let now = writes();
            if now == before {
                return;
            }
            before = now;
        }
    };
    timeout(BOUND, quiet).await.expect("it never came to rest");
}

#[tokio::test]
async fn two_active_operators_come_to_the_same() {
    let fake = Fake::new();
    fake.state.lock().unwrap().seed = 99;
    let (one, other) = (operate(&fake, "a"), operate(&fake, "b"));
    fake.put("holdfast.dev", "replicationpolicies", policy("orders", json!({})));
    all_made(&fake).await;
    fake.state.lock().unwrap().seed = 0;
    idle(&fake).await;
    let changes = fake.state.lock().unwrap().log.len();
    assert_eq!(authorities(&fake), 1);
    assert!(changes < 60, "they undo each other's work: {changes} changes");
    assert_eq!(fake.state.lock().unwrap().blind, Vec::<String>::new());
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn what_is_missed_in_a_gap_is_found_by_the_next_list() {
    let fake = Fake::new();
    let operator = operate(&fake, "a");
    fake.put("holdfast.dev", "topics", topic("audit", "nowhere"));
    let judged = |generation: u64| {
        let topic = fake.get("holdfast.dev", "topics", "audit")?;
        let stalled =
            topic["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == "Stalled");
        (stalled?["observedGeneration"] == generation).then_some(())
    };
    until("a condition", || judged(1)).await;
    // Nobody looks at such a Topic again but for a change of it, which no watch tells.
    idle(&fake).await;
    fake.break_watches();
    let mut changed = fake.get("holdfast.dev", "topics", "audit").unwrap();
    changed["spec"]["policy"] = "elsewhere".into();
    fake.put("holdfast.dev", "topics", changed);
    until("a condition of what it is now", || judged(2)).await;
    operator.stop().await;
}

#[tokio::test]
async fn certificates_that_were_taken_away_are_made_again_over_what_was_read() {
    let fake = Fake::new();
    let (one, other) = (operate(&fake, "a"), operate(&fake, "b"));
    fake.put("holdfast.dev", "replicationpolicies", policy("orders", json!({})));
    all_made(&fake).await;
    let certificate = |secret: &Value| secret["data"]["broker-0.crt"].as_str().map(str::to_owned);
    let mut secret = fake.get("", "secrets", "orders-tls").unwrap();
    let before = certificate(&secret).unwrap();
    secret["data"].as_object_mut().unwrap().remove("broker-0.crt");
    fake.put("", "secrets", secret);
    let made =
        until("another certificate", || certificate(&fake.get("", "secrets", "orders-tls")?));
    assert_ne!(made.await, before);
    idle(&fake).await;
    one.stop().await;
    other.stop().await;
    assert_eq!(fake.state.lock().unwrap().blind, Vec::<String>::new());
    assert_eq!(authorities(&fake), 1);
}

#[tokio::test]
async fn somebody_elses_object_is_left_alone() {
    let fake = Fake::new();
    let theirs = json!({"metadata": {"name": "orders"}, "spec": {"selector": {"app": "web"}}});
    let theirs = fake.put("", "services", theirs);
    let operator = operate(&fake, "a");
    fake.put("holdfast.dev", "replicationpolicies", policy("orders", json!({})));
    let stalled = until("a condition", || policy_reason(&fake, "Stalled", "True")).await;
    assert_eq!(stalled, "NameTaken");
    assert_eq!(fake.get("", "services", "orders"), Some(theirs));
    fake.delete("", "services", "orders");
    all_made(&fake).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_policy_with_topics_waits_and_what_it_leaves_is_its_data() {
    let fake = Fake::new();
    let operator = operate(&fake, "a");
    fake.put("holdfast.dev", "replicationpolicies", policy("orders", json!({})));
    fake.put("holdfast.dev", "topics", topic("audit", "orders"));
    all_made(&fake).await;
    let record =
        json!({"metadata": {"name": "orders-0", "labels": {"holdfast.dev/policy": "orders"}}});
    fake.put("holdfast.dev", "shards", record);
    fake.delete("holdfast.dev", "replicationpolicies", "orders");
    let blocked = until("a condition", || policy_reason(&fake, "DeletionBlocked", "True")).await;
    assert_eq!(blocked, "TopicsExist");
    fake.delete("holdfast.dev", "topics", "audit");
    let gone = || fake.get("holdfast.dev", "replicationpolicies", "orders").is_none().then_some(());
    until("an end", gone).await;
    assert!(fake.get("holdfast.dev", "shards", "orders-0").is_some());
    operator.stop().await;
}

#[tokio::test]
async fn nothing_hangs_a_namespace_that_ends() {
    let fake = Fake::new();
    let operator = operate(&fake, "a");
    fake.put("holdfast.dev", "replicationpolicies", policy("orders", json!({})));
    let mut kept = topic("audit", "orders");
    kept["spec"]["deletionPolicy"] = "Delete".into();
    fake.put("holdfast.dev", "topics", kept);
    until("finalizers", || {
        let topic = fake.get("holdfast.dev", "topics", "audit")?;
        topic["metadata"]["finalizers"].as_array().filter(|f| !f.is_empty()).map(|_| ())
    })
    .await;
    all_made(&fake).await;
    // No broker is there to delete anything.
    fake.delete("holdfast.dev", "topics", "audit");
    let blocked = until("a condition", || {
        reason(&fake.get("holdfast.dev", "topics", "audit")?, "DeletionBlocked", "True")
    });
    assert_eq!(blocked.await, "NotDeletedYet");
    fake.state.lock().unwrap().namespace_ends = true;
    fake.delete("holdfast.dev", "replicationpolicies", "orders");
    until("an end", || {
        let there = fake.get("holdfast.dev", "topics", "audit").is_some()
            || fake.get("holdfast.dev", "replicationpolicies", "orders").is_some();
        (!there).then_some(())
    })
    .await;
    operator.stop().await;
}
