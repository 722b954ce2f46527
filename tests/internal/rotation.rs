//! Another authority takes the place of the one before, under load: who is of the cluster goes on, and
//! who came in by the old one goes with it.

use holdfast_operator::Snapshot;
use holdfast_operator::tls::{Bundle, PROPAGATION_S, Stage, Use, Uses, Waits, Wanted, renew};
use holdfast_protocol::BrokerId;
use holdfast_protocol::control::DescribeRequest;
use holdfast_protocol::control::control_client::ControlClient;
use holdfast_transport::{Role, Tls};
use tokio::time::Instant;

use crate::cluster::{BROKERS, Cluster, is_whole, now_s, tls, write};
use crate::process::{BOUND, CLUSTER, Process, until};
use crate::producer::Producer;
use crate::stop::steady;

/// What is wanted once a person has asked for another authority.
fn asked(since_s: i64) -> Wanted {
    Wanted {
        cluster: CLUSTER.to_owned(),
        brokers: (0..BROKERS).map(BrokerId).collect(),
        authority_since_s: since_s,
    }
}

/// What brokers say in their sessions, and what the operator uses itself.
fn uses(snapshot: &Snapshot, own: &Tls) -> Uses {
    let mut uses = snapshot.uses(Instant::now());
    uses.insert(Role::Operator, Use::Told(own.in_use()));
    uses
}

fn uses_now(cluster: &Cluster) -> Uses {
    uses(&cluster.operator.snapshots().borrow(), &cluster.tls)
}

fn says(brokers: &[Process], text: &str, times: usize) -> bool {
    brokers.iter().all(|broker| broker.log().matches(text).count() >= times)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_costs_the_cluster_nothing_and_shuts_the_old_authority_out() {
    let (begun_s, nobody) = (now_s(), Uses::new());
    let born = renew(&Bundle::default(), &asked(0), &nobody, begun_s - 1).unwrap().unwrap();
    let (asked, mut bundle) = (asked(begun_s), born.bundle);
    let cluster = Cluster::start_with(&bundle).await;
    let producers = cluster.producers();
    steady(&producers).await;
    let before = cluster.operator.snapshots().borrow().status.last_failover.clone();
    // Somebody has the operator's key, and is connected to each broker.
    let leaked = tls(&bundle, Role::Operator);
    let mut strangers = Vec::new();
    for (id, ports) in cluster.ports.iter().enumerate() {
        let endpoint = holdfast_transport::endpoint(&ports.peer.to_string()).unwrap();
        let role = Role::Broker(BrokerId(u32::try_from(id).unwrap()));
        let channel = holdfast_transport::connect(endpoint.timeout(BOUND), Some(&leaked), role);
        let mut stranger = ControlClient::new(channel.await.unwrap());
        stranger.describe(DescribeRequest {}).await.unwrap();
        strangers.push(stranger);
    }
    for step in 1..=3 {
        let next = renew(&bundle, &asked, &uses_now(&cluster), now_s()).unwrap();
        let next = next.expect("all use what there was before").bundle;
        bundle = Bundle::read(&next.private(), &next.brokers());
        cluster.tls.replace(&bundle.credentials(Role::Operator).unwrap()).unwrap();
        if step < 3 {
            // No broker can have it yet, and each one says so.
            let behind = bundle.waits(&asked, &uses_now(&cluster)).behind;
            assert_eq!(
                behind,
                asked.brokers.iter().map(|id| Role::Broker(*id)).collect::<Vec<_>>()
            );
            let late_s = now_s() + 2 * PROPAGATION_S;
            assert!(renew(&bundle, &asked, &uses_now(&cluster), late_s).unwrap().is_none());
        }
        write(&cluster.directory.path().join("tls"), &bundle.brokers());
        cluster
            .until("all say that they use the new certificates", |snapshot| {
                bundle.waits(&asked, &uses(snapshot, &cluster.tls)) == Waits::default()
            })
            .await;
        until("all use the new certificates", || {
            says(&cluster.brokers, "new certificates are in use", step)
        })
        .await;
        steady(&producers).await;
        let pauses = producers.iter().map(Producer::longest_pause).max();
        println!("step {step} of a rotation: longest pause {pauses:?}");
    }
    assert!(matches!(bundle.stage(), Some(Stage::Alone { made_s }) if made_s >= begun_s));
    for stranger in &mut strangers {
        let told = stranger.describe(DescribeRequest {}).await;
        assert!(told.is_err(), "it came in by an authority that is void: {told:?}");
    }
    assert!(says(&cluster.brokers, "connections ended whose certificates", 1));
    cluster.until("all is well", is_whole).await;
    let status = cluster.operator.snapshots().borrow().status.clone();
    assert_eq!(status.last_failover, before, "nobody was taken for lost");
    for producer in producers {
        let report = producer.stop().await;
        assert!(report.errors.is_empty(), "{report:?}");
    }
    cluster.operator.stop().await;
}
