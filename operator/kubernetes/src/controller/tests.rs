//! What is looked at at once, and what waits until a failure is over.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::tests::{Fake, policy, settings, topic, until};

/// A context over a policy with a Topic; nothing reconciles them.
async fn looking() -> (Arc<Context>, JoinSet<()>) {
    let fake = Fake::new();
    fake.put("holdfast.dev", "replicationpolicies", policy("orders", json!({})));
    fake.put("holdfast.dev", "topics", topic("audit", "orders"));
    let (triggers, mut triggered) = mpsc::channel(TRIGGERS_MAX);
    let (pods_gone, _) = mpsc::channel(TRIGGERS_MAX);
    let changes = Changes { triggers: triggers.clone(), pods_gone };
    let mut tasks = JoinSet::new();
    let (client, settings) = (fake.client(), settings("a"));
    let cache = Cache::watch(&client, settings.namespace.as_deref(), &changes, &mut tasks);
    tasks.spawn(async move { while triggered.recv().await.is_some() {} });
    let ctx = context(settings, client, Arc::new(Metrics::new()), cache, triggers);
    ctx.cache.ready().await;
    (Arc::new(ctx), tasks)
}

#[tokio::test]
async fn numbers_alone_do_not_hurry_what_failed() {
    let (ctx, _tasks) = looking().await;
    let (orders, audit) = (Key::new("shop", "orders"), Key::new("shop", "audit"));
    let (policies, mut policy_queue) = mpsc::channel(TRIGGERS_MAX);
    let (topics, mut topic_queue) = mpsc::channel(TRIGGERS_MAX);
    let (queues, _queue_queue) = mpsc::channel(TRIGGERS_MAX);
    let sorter = Sorter { ctx: Arc::clone(&ctx), policies, topics, queues };
    let learned = |news| {
        Trigger::Learned(Learned { policy: orders.clone(), news, topics: vec!["audit".to_owned()] })
    };
    // Whether the policy and its Topic are looked at.
    let mut looked = async |trigger| {
        sorter.sort(trigger).await;
        let some = (!policy_queue.is_empty(), !topic_queue.is_empty());
        while policy_queue.try_recv().is_ok() {}
        while topic_queue.try_recv().is_ok() {}
        some
    };
    assert_eq!(looked(learned(News::Numbers)).await, (true, true), "nothing failed");
    ctx.backoff.failed("ReplicationPolicy", orders.clone());
    assert_eq!(looked(learned(News::Numbers)).await, (false, true), "the policy failed");
    ctx.backoff.failed("Topic", audit.clone());
    assert_eq!(looked(learned(News::Numbers)).await, (false, false), "both failed");
    assert_eq!(looked(learned(News::Change)).await, (true, true), "leaders changed");
    assert_eq!(looked(Trigger::Policy(orders.clone())).await, (true, true), "a watch told");
    assert_eq!(looked(Trigger::Topic(audit.clone())).await, (false, true), "a watch told");
    ctx.backoff.succeeded("ReplicationPolicy", orders.clone());
    ctx.backoff.succeeded("Topic", audit.clone());
    assert_eq!(looked(learned(News::Numbers)).await, (true, true), "it is over");
}

#[derive(Debug, thiserror::Error)]
#[error("not now")]
struct NotNow;

impl Reason for NotNow {
    fn reason(&self) -> &'static str {
        "NotNow"
    }
}

static RUNS: AtomicUsize = AtomicUsize::new(0);

/// Fails, then succeeds over what was there before the numbers changed, then has nothing to do.
async fn fails_once(topic: Arc<Topic>, ctx: Arc<Context>) -> Result<Action, NotNow> {
    let run = RUNS.fetch_add(1, Ordering::SeqCst);
    if run == 0 {
        return Err(NotNow);
    }
    assert_eq!(ctx.backoff.holds("Topic", &Key::of(&*topic)), run == 1);
    Ok(Action::await_change())
}

#[tokio::test]
async fn what_was_held_back_is_looked_at_after_the_first_success() {
    let (ctx, _tasks) = looking().await;
    let (topics, queue) = mpsc::channel(TRIGGERS_MAX);
    topics.send(reference(&Key::new("shop", "audit"))).await.unwrap();
    let all = reconcile::<Topic, _, _>(&ctx, &ctx.cache.topics, queue, fails_once);
    tokio::select! {
        () = drain(all) => panic!("it ended"),
        () = until("a third run", || (RUNS.load(Ordering::SeqCst) == 3).then_some(())) => {}
    }
}
