//! Several operators over one Lease.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, NAMESPACE};
use crate::lease::{Competitor, Settings};

fn settings(identity: &str) -> Settings {
    Settings {
        name: "holdfast-operator".to_owned(),
        namespace: NAMESPACE.to_owned(),
        identity: identity.to_owned(),
    }
}

#[tokio::test]
async fn one_is_active_and_a_release_is_taken_up_at_once() {
    let fake = Fake::new();
    let (first, mut first_active) = Competitor::new(fake.client(), settings("a"));
    let (second, mut second_active) = Competitor::new(fake.client(), settings("b"));
    let (stop, idle, never) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let first = tokio::spawn(first.run(stop.clone(), idle.clone()));
    let bound = Duration::from_secs(30);
    timeout(bound, first_active.wait_for(|active| *active)).await.unwrap().unwrap();
    let second = tokio::spawn(second.run(never.clone(), never.clone()));
    // It looks, and waits.
    let long = Duration::from_millis(2500);
    assert!(timeout(long, second_active.wait_for(|active| *active)).await.is_err());
    assert!(*first_active.borrow());
    stop.cancel();
    timeout(bound, first_active.wait_for(|active| !active)).await.unwrap().unwrap();
    // Not given back before what it did has ended.
    let held = fake.get("coordination.k8s.io", "leases", "holdfast-operator").unwrap();
    assert_eq!(held["spec"]["holderIdentity"], "a");
    idle.cancel();
    timeout(bound, second_active.wait_for(|active| *active)).await.unwrap().unwrap();
    timeout(bound, first).await.unwrap().unwrap();
    second.abort();
    assert_eq!(fake.state.lock().unwrap().blind, Vec::<String>::new());
}

#[tokio::test]
async fn a_holder_whose_lease_is_taken_stops() {
    let fake = Fake::new();
    let (competitor, mut active) = Competitor::new(fake.client(), settings("a"));
    let never = CancellationToken::new();
    let running = tokio::spawn(competitor.run(never.clone(), never.clone()));
    let bound = Duration::from_secs(30);
    timeout(bound, active.wait_for(|active| *active)).await.unwrap().unwrap();
    let mut lease = fake.get("coordination.k8s.io", "leases", "holdfast-operator").unwrap();
    lease["spec"]["holderIdentity"] = "b".into();
    fake.put("coordination.k8s.io", "leases", lease);
    timeout(bound, active.wait_for(|active| !active)).await.unwrap().unwrap();
    running.abort();
}
