//! A rotation with brokers that say which certificates they use, each of which gets new ones when
//! the test brings them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use futures::Stream;
use holdfast_protocol::BrokerId;
use holdfast_protocol::control::control_server::{Control, ControlServer};
use holdfast_protocol::control::{self, FromBroker, from_broker, to_broker};
use holdfast_transport::{AUTHORITIES_FILE, Credentials, Identity, Role, Tls, shared_files};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming};

use super::converge::{operate, policy, until};
use super::fake::{Fake, NAMESPACE};

const POLICY: &str = "rotated";
const BROKERS: u32 = 3;

/// Where the brokers of a policy listen.
static PEERS: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

/// Where a broker of a policy listens, if the test has one.
pub(crate) fn peer(policy: &str, broker: u32) -> Option<String> {
    let peers = PEERS.lock().unwrap_or_else(PoisonError::into_inner);
    peers.get(policy)?.get(broker as usize).cloned()
}

/// What a broker finds in its mount once its kubelet has brought what there is.
fn mounted(fake: &Fake, broker: u32) -> Option<Credentials> {
    let secret: Secret =
        serde_json::from_value(fake.get("", "secrets", &format!("{POLICY}-tls"))?).unwrap();
    let data = secret.data?;
    let (certificate, key) = shared_files(Role::Broker(BrokerId(broker)));
    let file = |name: &str| data.get(name).map(|bytes| bytes.0.clone());
    Some(Credentials {
        authorities: file(AUTHORITIES_FILE)?,
        certificate: file(&certificate)?,
        key: file(&key)?,
    })
}

/// Holds nothing, and says which certificates it uses.
#[derive(Clone)]
struct Broker {
    id: u32,
    tls: Tls,
}

impl Broker {
    async fn start(fake: &Fake, id: u32, listener: TcpListener, tasks: &mut JoinSet<()>) -> Self {
        let credentials = until("certificates", || mounted(fake, id)).await;
        let role = Role::Broker(BrokerId(id));
        let own = Identity::new(&format!("{NAMESPACE}/{POLICY}"), role).unwrap();
        let broker = Self { id, tls: Tls::new(own, &credentials).unwrap() };
        let (accepting, incoming) = holdfast_transport::accept(listener, Some(broker.tls.clone()));
        tasks.spawn(accepting);
        let server = tonic::transport::Server::builder()
            .add_service(ControlServer::new(broker.clone()))
            .serve_with_incoming(incoming);
        tasks.spawn(async move { server.await.unwrap() });
        broker
    }

    /// Its kubelet looks.
    fn bring(&self, fake: &Fake) {
        self.tls.replace(&mounted(fake, self.id).unwrap()).unwrap();
    }

    fn certificates(&self) -> Option<control::CertificatesInUse> {
        let in_use = self.tls.in_use();
        Some(control::CertificatesInUse {
            authorities: in_use.authorities.iter().map(|told| told.0.to_vec().into()).collect(),
            leaf: in_use.leaf.unwrap().0.to_vec().into(),
        })
    }

    fn answer(&self, message: to_broker::Message) -> Option<from_broker::Message> {
        let certificates = self.certificates();
        match message {
            to_broker::Message::Hello(_) => {
                let hello = control::BrokerHello {
                    broker: self.id,
                    boot_counter: 1,
                    certificates,
                    ..control::BrokerHello::default()
                };
                Some(from_broker::Message::Hello(hello))
            }
            to_broker::Message::Heartbeat(control::Heartbeat { sequence, .. }) => {
                let beat = control::Heartbeat { sequence, certificates };
                Some(from_broker::Message::Heartbeat(beat))
            }
            to_broker::Message::Cluster(_)
            | to_broker::Message::Records(_)
            | to_broker::Message::IsrAnswer(_)
            | to_broker::Message::LetGo(_)
            | to_broker::Message::RenewVolume(_) => None,
        }
    }
}

#[tonic::async_trait]
impl Control for Broker {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<FromBroker, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<control::ToBroker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let broker = self.clone();
        let answers = request.into_inner().filter_map(move |message| {
            let message = broker.answer(message.ok()?.message?)?;
            Some(Ok(FromBroker { message: Some(message) }))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn declare_topic(
        &self,
        _: Request<control::DeclareTopicRequest>,
    ) -> Result<Response<control::DeclareTopicAnswer>, Status> {
        Err(Status::unavailable("it holds nothing"))
    }

    async fn delete_topic(
        &self,
        _: Request<control::DeleteTopicRequest>,
    ) -> Result<Response<control::DeleteTopicAnswer>, Status> {
        Err(Status::unavailable("it holds nothing"))
    }

    async fn describe(
        &self,
        _: Request<control::DescribeRequest>,
    ) -> Result<Response<control::DescribeAnswer>, Status> {
        Err(Status::unavailable("it holds nothing"))
    }
}

/// Waits until the condition that tells of the authority has all of this in it.
async fn told(fake: &Fake, words: [&str; 2]) {
    until(&words.join(" and "), || {
        let policy = fake.get("holdfast.dev", "replicationpolicies", POLICY)?;
        let conditions = policy["status"]["conditions"].as_array()?;
        let told = conditions.iter().find(|c| c["type"] == "AuthorityCurrent")?.to_string();
        words.iter().all(|words| told.contains(words)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_step_waits_for_the_last_broker_and_is_taken_when_that_has_come_along() {
    let (fake, mut tasks, mut listeners) = (Fake::new(), JoinSet::new(), Vec::new());
    for _ in 0..BROKERS {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let peers = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string());
    PEERS.lock().unwrap().insert(POLICY.to_owned(), peers.collect());
    let operator = operate(&fake, "a");
    fake.put("holdfast.dev", "replicationpolicies", policy(POLICY, json!({})));
    let mut brokers = Vec::new();
    for (id, listener) in (0..BROKERS).zip(listeners) {
        brokers.push(Broker::start(&fake, id, listener, &mut tasks).await);
    }
    told(&fake, ["\"Current\"", "no other is trusted"]).await;
    let made = Timestamp::now().as_second();
    until("a younger authority", || (Timestamp::now().as_second() > made).then_some(())).await;
    let asked = Timestamp::now().to_string();
    let of = ("holdfast.dev", "replicationpolicies", POLICY);
    fake.annotate(of, "holdfast.dev/rotate-authority", Some(&asked));
    for step in ["known to trust it", "known to use its new certificate"] {
        told(&fake, [step, "; broker 0, broker 1, broker 2: waited for while"]).await;
        brokers[0].bring(&fake);
        brokers[1].bring(&fake);
        told(&fake, [step, "; broker 2: waited for while"]).await;
        brokers[2].bring(&fake);
    }
    // Long before anyone is given up.
    told(&fake, ["\"Current\"", "no other is trusted"]).await;
    brokers.iter().for_each(|broker| broker.bring(&fake));
    operator.stop().await;
    assert_eq!(fake.state.lock().unwrap().blind, Vec::<String>::new());
}
