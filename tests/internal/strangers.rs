//! Nothing joins that does not prove who it is, and each refusal is told once, with its reason.

use std::sync::Arc;
use std::time::Duration;

use holdfast_operator::tls::Bundle;
use holdfast_protocol::control::control_client::ControlClient;
use holdfast_protocol::control::{DescribeRequest, OperatorHello, ToBroker, to_broker};
use holdfast_protocol::peer::peer_client::PeerClient;
use holdfast_protocol::{BrokerId, peer};
use holdfast_transport::{Credentials, Identity, Role, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cluster::{certificates, new_certificates, tls, write};
use crate::process::{BOUND, CLUSTER, Ports, Process, until};

const MEANT: Role = Role::Broker(BrokerId(0));

struct Door {
    broker: Process,
    address: String,
    bundle: Bundle,
    directory: tempfile::TempDir,
}

impl Door {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bundle = new_certificates();
        let certificates = directory.path().join("tls");
        write(&certificates, &bundle.brokers());
        let ports = Ports::free();
        let broker = Process::start(0, directory.path(), ports, &certificates);
        broker.says("broker is up").await;
        Self { broker, address: ports.peer.to_string(), bundle, directory }
    }

    async fn connect(&self, tls: Option<&Tls>, meant: Role) -> Result<Channel, String> {
        let endpoint = holdfast_transport::endpoint(&self.address).unwrap();
        let endpoint = endpoint.connect_timeout(BOUND).timeout(BOUND);
        let connected = holdfast_transport::connect(endpoint, tls, meant).await;
        connected.map_err(|error| format!("{error:?}"))
    }

    /// Asks what only the operator may ask.
    async fn describe(&self, tls: Option<&Tls>) -> Result<(), String> {
        let channel = self.connect(tls, MEANT).await?;
        let asked = ControlClient::new(channel).describe(DescribeRequest {}).await;
        asked.map(drop).map_err(|status| format!("{status:?}"))
    }

    /// Tries twice, and finds one line in the broker's log that says why not.
    async fn refuses(&self, tls: Option<&Tls>, reason: &str) {
        for _ in 0..2 {
            let refused = self.describe(tls).await;
            assert!(refused.is_err(), "let in, though {reason}");
        }
        self.told_once(reason).await;
    }

    async fn told_once(&self, reason: &str) {
        self.broker.says(reason).await;
        let log = self.broker.log();
        assert_eq!(log.matches(reason).count(), 1, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_told_once() {
    let door = Door::open().await;
    let operator = tls(&door.bundle, Role::Operator);
    door.describe(Some(&operator)).await.unwrap();

    door.refuses(None, "it does not speak TLS").await;
    without_certificate(&door).await;

    let stranger = new_certificates().credentials(Role::Operator).unwrap();
    let trusting = door.bundle.credentials(Role::Operator).unwrap();
    let stranger = Credentials { authorities: trusting.authorities, ..stranger };
    let own = Identity::new(CLUSTER, Role::Operator).unwrap();
    let stranger = Tls::new(own, &stranger).unwrap();
    door.refuses(Some(&stranger), "its certificate is of no authority that is trusted here").await;

    // The same authority, but another cluster: it trusts, and is not trusted.
    let other = certificates("shop/payments", &door.bundle);
    let other = other.credentials(Role::Operator).unwrap();
    let own = Identity::new("shop/payments", Role::Operator).unwrap();
    let other = Tls::new(own, &other).unwrap();
    let unproven = door.describe(Some(&other)).await.unwrap_err();
    assert!(
        unproven.contains("does not prove to be broker 0 of cluster `shop/payments`"),
        "{unproven}"
    );

    // Still the same process, and it serves.
    door.describe(Some(&operator)).await.unwrap();
}

/// One who takes the broker's certificate, and shows none.
async fn without_certificate(door: &Door) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut trusted = rustls::RootCertStore::empty();
    let authorities = door.bundle.brokers()["ca.crt"].clone();
    use rustls::pki_types::pem::PemObject;
    for authority in rustls::pki_types::CertificateDer::pem_slice_iter(&authorities) {
        trusted.add(authority.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = Identity::new(CLUSTER, MEANT).unwrap().name();
    for _ in 0..2 {
        let socket = TcpStream::connect(&door.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config.clone()));
        let name = rustls::pki_types::ServerName::try_from(name.clone()).unwrap();
        let mut stream = connector.connect(name, socket).await.unwrap();
        // It may be refused before or after it has written.
        let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let ended = tokio::time::timeout(BOUND, stream.read_u8()).await.unwrap();
        assert!(ended.is_err(), "let in without a certificate");
    }
    door.told_once("it has no certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_good_for_its_own_role_alone() {
    let door = Door::open().await;
    let operator = tls(&door.bundle, Role::Operator);
    let broker = tls(&door.bundle, Role::Broker(BrokerId(1)));

    // A broker that plays the operator.
    for _ in 0..2 {
        let channel = door.connect(Some(&broker), MEANT).await.unwrap();
        let mut client = ControlClient::new(channel);
        let hello = OperatorHello { operator: "me".to_owned(), cluster: CLUSTER.to_owned() };
        let hello = ToBroker { message: Some(to_broker::Message::Hello(hello)) };
        let refused = client.session(tokio_stream::once(hello)).await.unwrap_err();
        denied(&refused, "only the operator may ask this");
        let refused = client.describe(DescribeRequest {}).await.unwrap_err();
        denied(&refused, "the certificate is that of broker 1");
    }
    door.told_once("only the operator may ask this").await;

    // The operator that plays a follower, and a broker that plays another.
    for (tls, reason) in [
        (&operator, "it says to be broker 2, and the certificate is that of the operator"),
        (&broker, "it says to be broker 2, and the certificate is that of broker 1"),
    ] {
        let channel = door.connect(Some(tls), MEANT).await.unwrap();
        let hello = peer::Hello { broker: 2, cluster: CLUSTER.to_owned() };
        let hello = peer::ToLeader { message: Some(peer::to_leader::Message::Hello(hello)) };
        let followed = PeerClient::new(channel).replicate(tokio_stream::once(hello)).await;
        denied(&followed.unwrap_err(), reason);
        door.told_once(reason).await;
    }

    // Whoever is dialled must be who is meant.
    let elsewhere = door.connect(Some(&operator), Role::Broker(BrokerId(1))).await.unwrap_err();
    assert!(elsewhere.contains("does not prove to be broker 1"), "{elsewhere}");

    // A session of another cluster's operator, who would have a certificate of this one.
    let channel = door.connect(Some(&operator), MEANT).await.unwrap();
    let hello = OperatorHello { operator: "me".to_owned(), cluster: "shop/payments".to_owned() };
    let hello = ToBroker { message: Some(to_broker::Message::Hello(hello)) };
    let refused = ControlClient::new(channel).session(tokio_stream::once(hello)).await;
    denied(&refused.unwrap_err(), "not of `shop/payments`");
}

fn denied(status: &Status, reason: &str) {
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains(reason), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_used_without_a_restart_and_end_what_was_open_by_others() {
    let door = Door::open().await;
    let old = tls(&door.bundle, Role::Operator);
    let mut open = ControlClient::new(door.connect(Some(&old), MEANT).await.unwrap());
    open.describe(DescribeRequest {}).await.unwrap();

    // Files that don't belong together are not used.
    let replaced = new_certificates();
    let directory = door.directory.path().join("tls");
    let key = "broker-0.key";
    write(&directory, &[(key.to_owned(), replaced.brokers()[key].clone())].into());
    door.broker.says("new certificates are not used").await;
    door.describe(Some(&old)).await.unwrap();

    write(&directory, &replaced.brokers());
    door.broker.says("new certificates are in use").await;
    door.describe(Some(&tls(&replaced, Role::Operator))).await.unwrap();
    assert!(door.describe(Some(&old)).await.is_err(), "the old authority is gone");
    assert!(open.describe(DescribeRequest {}).await.is_err(), "and who came in by it");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_can_keep_only_so_many_handshakes_open() {
    let door = Door::open().await;
    let most = holdfast_transport::HANDSHAKES_PER_ADDRESS_MAX;
    let mut silent = Vec::new();
    for _ in 0..most {
        silent.push(TcpStream::connect(&door.address).await.unwrap());
    }
    // The one too many is closed at once, the others after the time for a handshake.
    let mut extra = TcpStream::connect(&door.address).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(3), extra.read_u8()).await;
    assert!(closed.expect("closed at once").is_err());
    door.told_once("too many handshakes are under way").await;
    for mut socket in silent {
        let ended = tokio::time::timeout(BOUND, socket.read_u8()).await.unwrap();
        assert!(ended.is_err(), "a handshake has an end");
    }
    door.told_once("no handshake within").await;
    let operator = tls(&door.bundle, Role::Operator);
    door.describe(Some(&operator)).await.unwrap();
    until("the log is whole", || !door.broker.log().is_empty()).await;
}
