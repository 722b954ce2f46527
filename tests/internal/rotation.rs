//! Another authority takes the place of the one before, under load: who is of the cluster goes on, and
//! who came in by the old one goes with it.

use holdfast_operator::tls::{Bundle, PROPAGATION_S, Wanted, renew};
use holdfast_protocol::BrokerId;
use holdfast_protocol::control::DescribeRequest;
use holdfast_protocol::control::control_client::ControlClient;
use holdfast_transport::Role;

use crate::cluster::{BROKERS, Cluster, is_whole, now_s, tls, write};
use crate::process::{BOUND, CLUSTER, Process, until};
use crate::producer::Producer;
use crate::stop::steady;

/// The certificates before a rotation, and after each of its steps.
fn rotation() -> Vec<Bundle> {
    let begun_s = now_s() - 3 * PROPAGATION_S;
    let wanted = |authority_since_s| Wanted {
        cluster: CLUSTER.to_owned(),
        brokers: (0..BROKERS).map(BrokerId).collect(),
        authority_since_s,
    };
    let mut bundles = vec![Bundle::default()];
    for (at_s, since_s) in [
        (begun_s, 0),
        (begun_s + 1, begun_s + 1),
        (begun_s + 1 + PROPAGATION_S, begun_s + 1),
        (begun_s + 1 + 2 * PROPAGATION_S, begun_s + 1),
    ] {
        let renewal = renew(bundles.last().unwrap(), &wanted(since_s), at_s).unwrap().unwrap();
        bundles.push(Bundle::read(&renewal.bundle.private(), &renewal.bundle.brokers()));
    }
    bundles.split_off(1)
}

fn says(brokers: &[Process], text: &str, times: usize) -> bool {
    brokers.iter().all(|broker| broker.log().matches(text).count() >= times)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_costs_the_cluster_nothing_and_shuts_the_old_authority_out() {
    let bundles = rotation();
    let cluster = Cluster::start_with(&bundles[0]).await;
    let producers = cluster.producers();
    steady(&producers).await;
    let before = cluster.operator.snapshots().borrow().status.last_failover.clone();
    // Somebody has the operator's key, and is connected to each broker.
    let leaked = tls(&bundles[0], Role::Operator);
    let mut strangers = Vec::new();
    for (id, ports) in cluster.ports.iter().enumerate() {
        let endpoint = holdfast_transport::endpoint(&ports.peer.to_string()).unwrap();
        let role = Role::Broker(BrokerId(u32::try_from(id).unwrap()));
        let channel = holdfast_transport::connect(endpoint.timeout(BOUND), Some(&leaked), role);
        let mut stranger = ControlClient::new(channel.await.unwrap());
        stranger.describe(DescribeRequest {}).await.unwrap();
        strangers.push(stranger);
    }
    for (step, bundle) in bundles.iter().enumerate().skip(1) {
        write(&cluster.directory.path().join("tls"), &bundle.brokers());
        cluster.tls.replace(&bundle.credentials(Role::Operator).unwrap()).unwrap();
        until("all use the new certificates", || {
            says(&cluster.brokers, "new certificates are in use", step)
        })
        .await;
        steady(&producers).await;
        let pauses = producers.iter().map(Producer::longest_pause).max();
        println!("step {step} of a rotation: longest pause {pauses:?}");
    }
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
