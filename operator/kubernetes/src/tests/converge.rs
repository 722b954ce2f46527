//! Active operators over resources: it comes out as wanted, whatever goes wrong on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast_operator::tls::{self, Bundle, PROPAGATION_S, Use};
use holdfast_protocol::BrokerId;
use holdfast_transport::Role;
use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, NAMESPACE};
use crate::controller;
use crate::http::Readiness;
use crate::metrics::Metrics;
use crate::settings::{LeaseSettings, Pull, Settings};

/// Of which half a minute goes by before a broker that is not there counts as away.
const BOUND: Duration = Duration::from_secs(120);

pub(super) struct Running {
    pub(super) metrics: Arc<Metrics>,
    end: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) fn settings(identity: &str) -> Settings {
    Settings {
        namespace: Some(NAMESPACE.to_owned()),
        image: "holdfast:1".to_owned(),
        pull: Pull::default(),
        http: "127.0.0.1:0".parse().unwrap(),
        lease: LeaseSettings {
            name: "holdfast-operator".to_owned(),
            namespace: NAMESPACE.to_owned(),
            identity: identity.to_owned(),
        },
        cluster_domain: "invalid".to_owned(),
    }
}

pub(super) fn operate(fake: &Fake, identity: &str) -> Running {
    let settings = settings(identity);
    let (readiness, _) = watch::channel(Readiness::Starting);
    let end = CancellationToken::new();
    let metrics = Arc::new(Metrics::new());
    let told = Arc::clone(&metrics);
    let task = tokio::spawn(controller::run(settings, fake.client(), told, readiness, end.clone()));
    Running { metrics, end, task }
}

impl Running {
    pub(super) async fn stop(self) {
        self.end.cancel();
        timeout(BOUND, self.task).await.unwrap().unwrap();
    }
}

/// Waits for what is looked for.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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

pub(crate) fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "ReplicationPolicy",
        "metadata": {"name": name}, "spec": spec})
}

pub(crate) fn topic(name: &str, policy: &str) -> Value {
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
pub(super) async fn idle(fake: &Fake) {
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

/// Puts this value of the annotation on the policy, as a person would.
fn ask_for_rotation(fake: &Fake, value: &str) {
    let mut asked = fake.get("holdfast.dev", "replicationpolicies", "orders").unwrap();
    asked["metadata"]["annotations"] = json!({"holdfast.dev/rotate-authority": value});
    fake.put("holdfast.dev", "replicationpolicies", asked);
}

/// The message of the condition that tells of the authority, once it has this reason.
async fn authority_told(fake: &Fake, wanted: &str) -> String {
    until(wanted, || {
        let policy = fake.get("holdfast.dev", "replicationpolicies", "orders")?;
        let conditions = policy["status"]["conditions"].as_array()?;
        let told = conditions.iter().find(|c| c["type"] == "AuthorityCurrent")?;
        (told["reason"] == wanted).then(|| told["message"].as_str().unwrap().to_owned())
    })
    .await
}

/// Replaces what the Secrets hold by what they would hold had these steps been taken back then.
fn as_if_renewed(fake: &Fake, steps: &[(i64, i64)]) {
    let mut bundle = Bundle::default();
    for (at_s, authority_since_s) in steps {
        let wanted = tls::Wanted {
            cluster: format!("{NAMESPACE}/orders"),
            brokers: (0..3).map(BrokerId).collect(),
            authority_since_s: *authority_since_s,
        };
        let holders = wanted.brokers.iter().copied().map(Role::Broker).chain([Role::Operator]);
        let away = holders.map(|role| (role, Use::Away)).collect();
        let made = tls::renew(&bundle, &wanted, &away, *at_s).unwrap().expect("a change").bundle;
        bundle = Bundle::read(&made.private(), &made.brokers());
    }
    for (name, files) in
        [("orders-operator-tls", bundle.private()), ("orders-tls", bundle.brokers())]
    {
        let mut secret = fake.get("", "secrets", name).unwrap();
        let files = files.into_iter().map(|(name, bytes)| (name, ByteString(bytes)));
        secret["data"] = json!(files.collect::<BTreeMap<_, _>>());
        fake.put("", "secrets", secret);
    }
}

#[tokio::test]
async fn a_person_asks_for_another_authority_and_is_told_how_far_it_is() {
    let fake = Fake::new();
    let operator = operate(&fake, "a");
    fake.put("holdfast.dev", "replicationpolicies", policy("orders", json!({})));
    all_made(&fake).await;
    authority_told(&fake, "Current").await;
    let secret = fake.get("", "secrets", "orders-operator-tls");
    for (bad, words) in [("now", "date -u"), ("2099-01-01T00:00:00Z", "in the future")] {
        ask_for_rotation(&fake, bad);
        until("a refusal", || {
            let events = fake.state.lock().unwrap();
            let mut notes = events.log.iter().filter(|(.., e)| e["reason"] == "RotationRefused");
            notes.any(|(.., e)| e["note"].as_str().unwrap().contains(words)).then_some(())
        })
        .await;
        let told = authority_told(&fake, "RotationRefused").await;
        assert!(told.contains("holdfast.dev/rotate-authority") && told.contains(words), "{told}");
        assert_eq!(policy_reason(&fake, "Stalled", "True"), None);
        idle(&fake).await;
    }
    assert_eq!(fake.get("", "secrets", "orders-operator-tls"), secret, "nothing is changed for it");
    // Well past what the first authority was made at, for waiting went before.
    ask_for_rotation(&fake, &Timestamp::now().to_string());
    let told = authority_told(&fake, "Rotating").await;
    assert!(told.contains("broker 0, broker 1, broker 2: not connected: waited for"), "{told}");
    let prepared = fake.get("", "secrets", "orders-operator-tls").unwrap();
    assert!(prepared["data"]["next.key"].is_string());
    idle(&fake).await;
    operator.stop().await;
    let events = |reason| {
        let state = fake.state.lock().unwrap();
        state.log.iter().filter(|(.., event)| event["reason"] == reason).count()
    };
    assert_eq!(events("RotationRefused"), 2, "told on changes only");
    assert_eq!(events("CertificatesRenewed"), 2);

    // The second step is due, and taken by whichever operator there is, once it has tried to reach
    // the brokers; then the third, once it uses what it finds.
    let now_s = Timestamp::now().as_second();
    let (began, asked) = (now_s - 5 * PROPAGATION_S, now_s - 4 * PROPAGATION_S);
    ask_for_rotation(&fake, &Timestamp::from_second(asked).unwrap().to_string());
    as_if_renewed(&fake, &[(began, 0), (asked, asked)]);
    let operator = operate(&fake, "b");
    let made = Timestamp::from_second(asked).unwrap().to_string();
    until("the next authority's turn", || {
        let policy = fake.get("holdfast.dev", "replicationpolicies", "orders")?;
        let told = policy["status"]["conditions"].to_string();
        told.contains(&format!("the authority made at {made} signs all")).then_some(())
    })
    .await;
    as_if_renewed(&fake, &[(began, 0), (asked, asked), (asked + PROPAGATION_S, asked)]);
    let told = authority_told(&fake, "Current").await;
    assert!(told.contains(&made), "{told}");
    let ended = fake.get("", "secrets", "orders-operator-tls").unwrap();
    assert!(ended["data"].get("previous.crt").is_none() && ended["data"].get("next.crt").is_none());
    operator.stop().await;
    assert_eq!(fake.state.lock().unwrap().blind, Vec::<String>::new());
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
