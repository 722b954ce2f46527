//! A broker that gets SIGTERM hands over before it ends, and waits for nobody who can't help.

use std::time::{Duration, Instant};

use crate::cluster::{BROKERS, Cluster, SHARDS, is_whole, new_certificates, write};
use crate::process::{Ports, Process, until};
use crate::producer::{Producer, Report};

/// The longest that a client may see nothing acknowledged over a planned stop, in the best of three,
/// for other tests run beside this one: shorter than the silence that would count as a loss.
const PAUSE_MAX: Duration = Duration::from_millis(3000);
/// The longest that a broker may take that has nobody to wait for, well below `--stop-timeout`.
const ALONE_MAX: Duration = Duration::from_secs(8);
/// Acknowledged messages of each client between two faults.
const STEADY: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn brokers_stop_one_after_the_other_under_load_without_an_error() {
    let mut cluster = Cluster::start().await;
    let producers = cluster.producers();
    steady(&producers).await;
    // On a busy machine a broker may be slow to start.
    let before = cluster.operator.snapshots().borrow().status.last_failover.clone();
    let mut pauses = Vec::new();
    for id in 0..BROKERS {
        longest_pause(&producers);
        let leads = cluster.operator.snapshots().borrow().status.brokers[id as usize].leads;
        assert!(leads > 0, "broker {id} leads nothing, so its stop shows nothing");
        let began = Instant::now();
        let broker = &mut cluster.brokers[id as usize];
        broker.terminate();
        let ended = broker.ended().await;
        assert!(ended.success(), "{ended}: {}", broker.log());
        assert!(broker.log().contains(r#""released":"LetGo""#), "{}", broker.log());
        let took = began.elapsed();
        steady(&producers).await;
        pauses.push(longest_pause(&producers));
        println!("broker {id} led {leads} shards, stopped in {took:?}, longest pause {pauses:?}");
        let status = cluster.operator.snapshots().borrow().status.clone();
        assert_eq!(status.last_failover, before, "all moves were planned");
        cluster.restart(id);
        // It leads again: that it was about to stop is forgotten.
        let back = |s: &holdfast_operator::Snapshot| {
            s.status.under_replicated == 0
                && s.status.leaderless == 0
                && s.status.brokers.iter().all(|b| b.leads == (SHARDS / BROKERS) as usize)
        };
        cluster.until("it is back, and leads again", back).await;
        steady(&producers).await;
    }
    let mut whole = Report::default();
    for producer in producers {
        let report = producer.stop().await;
        assert!(report.errors.is_empty(), "{report:?}");
        whole.acknowledged += report.acknowledged;
        for (why, count) in report.retries {
            *whole.retries.entry(why).or_default() += count;
        }
    }
    println!(
        "{BROKERS} planned stops: {} messages, longest pauses {pauses:?}, tried again: {:?}",
        whole.acknowledged, whole.retries
    );
    assert!(pauses.iter().min() < Some(&PAUSE_MAX), "{pauses:?}");
    cluster.operator.stop().await;
}

/// The longest that any producer saw nothing acknowledged since this was asked last.
fn longest_pause(producers: &[Producer]) -> Duration {
    producers.iter().map(Producer::longest_pause).max().unwrap_or_default()
}

/// Waits until every producer has had some more acknowledged.
pub(crate) async fn steady(producers: &[Producer]) {
    let before: Vec<u64> = producers.iter().map(Producer::acknowledged).collect();
    until("all produce", || {
        let mut all = producers.iter().zip(&before);
        all.all(|(producer, before)| producer.acknowledged() >= before + STEADY)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_stop_together_do_not_wait_for_each_other() {
    let mut cluster = Cluster::start().await;
    let began = Instant::now();
    cluster.brokers.iter().for_each(Process::terminate);
    for broker in &mut cluster.brokers {
        let ended = broker.ended().await;
        assert!(ended.success(), "{ended}: {}", broker.log());
        assert!(!broker.log().contains(r#""released":"Late""#), "{}", broker.log());
    }
    println!("all brokers stopped together in {:?}", began.elapsed());
    assert!(began.elapsed() < ALONE_MAX, "{:?}", began.elapsed());

    // All is there again, under whoever can lead.
    (0..BROKERS).for_each(|id| cluster.restart(id));
    cluster.until("all is back", is_whole).await;

    // The operator goes first, as with Ctrl-C of `holdfast up`.
    let Cluster { operator, mut brokers, directory, .. } = cluster;
    let began = Instant::now();
    brokers.iter().for_each(Process::terminate);
    operator.stop().await;
    for broker in &mut brokers {
        assert!(broker.ended().await.success(), "{}", broker.log());
    }
    println!("without an operator: stopped in {:?}", began.elapsed());
    assert!(began.elapsed() < ALONE_MAX, "{:?}", began.elapsed());
    drop(directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_an_operator_stops_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let tls = directory.path().join("tls");
    write(&tls, &new_certificates().brokers());
    let mut broker = Process::start(0, directory.path(), Ports::free(), &tls);
    broker.says("broker is up").await;
    broker.terminate();
    assert!(broker.ended().await.success(), "{}", broker.log());
    assert!(broker.log().contains(r#""released":"Alone""#), "{}", broker.log());
}
