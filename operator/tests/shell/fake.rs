//! A broker that speaks the control protocol and holds nothing but what it is told.
//!
//! Each one has a runtime of its own, so that a kill closes its listener and its connections at
//! once, as the end of a process does.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_protocol::control::control_server::{Control, ControlServer};
use holdfast_protocol::control::{self, FromBroker, from_broker, to_broker};
use holdfast_protocol::{Member, ShardRecord, command};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// The longest that the tasks of a killed broker may take to end.
const END_MAX: Duration = Duration::from_secs(30);

/// What survives a restart: the volume.
#[derive(Clone, Default)]
pub(crate) struct Volume {
    pub(crate) boot: u64,
    pub(crate) records: BTreeMap<u32, ShardRecord>,
    pub(crate) topics: Vec<command::Topic>,
}

#[derive(Default)]
struct State {
    volume: Volume,
    /// Epochs led by this process.
    leads: BTreeMap<u32, u32>,
    session: Option<mpsc::Sender<Result<FromBroker, Status>>>,
    let_go: bool,
    /// What it says that it uses; nothing, as an older release.
    certificates: Option<control::CertificatesInUse>,
}

#[derive(Clone)]
struct Service {
    id: u32,
    shards: u32,
    frozen: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
}

pub(crate) struct Broker {
    service: Service,
    runtime: Option<Runtime>,
    pub(crate) address: String,
}

impl Broker {
    /// Starts on a port that nobody listens on, below those that the system gives to whoever
    /// dials: what is ended there is started there again.
    pub(crate) fn anywhere(id: u32, shards: u32, volume: Volume) -> Self {
        static TRIED: AtomicU16 = AtomicU16::new(0);
        let begin = 31_500 + 100 * u16::try_from(std::process::id() % 10).unwrap();
        loop {
            let port = begin + TRIED.fetch_add(1, Ordering::Relaxed);
            assert!(port < 32_768, "no port is free");
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                return Self::listen(id, shards, listener, volume);
            }
        }
    }

    /// Starts on `address`, with what is on `volume`.
    pub(crate) fn start(id: u32, shards: u32, address: &str, volume: Volume) -> Self {
        Self::listen(id, shards, TcpListener::bind(address).unwrap(), volume)
    }

    fn listen(id: u32, shards: u32, listener: TcpListener, mut volume: Volume) -> Self {
        volume.boot += 1;
        let service = Service {
            id,
            shards,
            frozen: Arc::default(),
            state: Arc::new(Mutex::new(State { volume, ..State::default() })),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = ControlServer::new(service.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tonic::transport::Server::builder()
                .add_service(server)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self { service, runtime: Some(runtime), address }
    }

    /// Ends it as `kill -9` does; what is left is the volume.
    pub(crate) fn kill(mut self) -> Volume {
        if let Some(runtime) = self.runtime.take() {
            // The port is free when this is done, not before; and no runtime may end in another.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(END_MAX));
            ended.join().unwrap();
        }
        self.service.state.lock().unwrap().volume.clone()
    }

    /// From now on it hears nothing and says nothing, but its connections stay.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.service.frozen.store(frozen, Ordering::SeqCst);
    }

    pub(crate) fn topics(&self) -> Vec<command::Topic> {
        self.service.state.lock().unwrap().volume.topics.clone()
    }

    pub(crate) fn record(&self, shard: u32) -> Option<ShardRecord> {
        let state = self.service.state.lock().unwrap();
        state.volume.records.get(&shard).cloned()
    }

    /// As the leader of `shard`, asks for `isr`.
    pub(crate) fn ask_isr(&self, shard: u32, isr: &[Member]) {
        let record = self.record(shard).unwrap();
        let request = control::IsrRequest {
            shard,
            epoch: record.epoch.0,
            expected: Some(record.version.into()),
            isr: isr.iter().map(|member| (*member).into()).collect(),
        };
        self.service.say(from_broker::Message::IsrRequest(request));
    }

    /// As a broker that got SIGTERM.
    pub(crate) fn stopping(&self) {
        self.service.say(from_broker::Message::Stopping(control::Stopping {}));
    }

    /// From now on it says that it proves itself with this certificate.
    pub(crate) fn uses(&self, leaf: [u8; 32]) {
        let leaf = leaf.to_vec().into();
        let certificates = control::CertificatesInUse { authorities: Vec::new(), leaf };
        self.service.state.lock().unwrap().certificates = Some(certificates);
    }

    pub(crate) fn is_let_go(&self) -> bool {
        self.service.state.lock().unwrap().let_go
    }

    pub(crate) fn resign(&self, shard: u32) {
        let epoch = self.record(shard).unwrap().epoch.0;
        let reason = "disk error".to_owned();
        let resign = control::Resign { shard, epoch, reason };
        self.service.say(from_broker::Message::Resign(resign));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Service {
    fn incarnation(&self) -> Vec<u8> {
        vec![u8::try_from(self.id).unwrap() + 1; 16]
    }

    fn say(&self, message: from_broker::Message) {
        let session = self.state.lock().unwrap().session.clone();
        let message = FromBroker { message: Some(message) };
        // Without a session there is nobody to tell.
        if let Some(session) = session.filter(|_| !self.frozen.load(Ordering::SeqCst)) {
            session.try_send(Ok(message)).unwrap();
        }
    }

    fn report(&self, state: &State, shard: u32) -> control::ReplicaReport {
        let record = state.volume.records.get(&shard);
        let leads_epoch = state.leads.get(&shard).copied().unwrap_or_default();
        control::ReplicaReport {
            shard,
            incarnation: self.incarnation().into(),
            version: record.map(|record| record.version.into()),
            epoch: record.map_or(0, |record| record.epoch.0),
            leading: leads_epoch > 0,
            leads_epoch,
            record: record.map(Into::into),
            ..control::ReplicaReport::default()
        }
    }

    fn take_records(&self, records: Vec<control::ShardRecord>) {
        let reports = {
            let mut state = self.state.lock().unwrap();
            let mut reports = Vec::new();
            for record in records {
                let record = ShardRecord::try_from(record).unwrap();
                let shard = record.shard.0;
                let known = state.volume.records.get(&shard);
                if record.version.revision == 0
                    || known.is_some_and(|known| known.version >= record.version)
                {
                    continue;
                }
                let newer = known.is_none_or(|known| known.epoch < record.epoch);
                let mine = record.leader.is_some_and(|leader| leader.broker.0 == self.id);
                if !mine {
                    state.leads.remove(&shard);
                } else if newer {
                    state.leads.insert(shard, record.epoch.0);
                }
                state.volume.records.insert(shard, record);
                reports.push(self.report(&state, shard));
            }
            reports
        };
        self.say(from_broker::Message::Reports(control::Reports {
            replicas: reports,
            complete: false,
        }));
    }

    fn begin(&self, session: mpsc::Sender<Result<FromBroker, Status>>) {
        let (boot_counter, certificates, replicas) = {
            let mut state = self.state.lock().unwrap();
            state.session = Some(session);
            let reports = (0..self.shards).map(|shard| self.report(&state, shard));
            (state.volume.boot, state.certificates.clone(), reports.collect())
        };
        self.say(from_broker::Message::Hello(control::BrokerHello {
            broker: self.id,
            boot_counter,
            version: "fake".to_owned(),
            process: boot_counter,
            renewed: false,
            unanswered: Vec::new(),
            certificates,
        }));
        self.say(from_broker::Message::Reports(control::Reports { replicas, complete: true }));
    }
}

#[tonic::async_trait]
impl Control for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<FromBroker, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<control::ToBroker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if self.frozen.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let mut incoming = request.into_inner();
        let (session, outgoing) = mpsc::channel(1024);
        let service = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = incoming.next().await {
                if service.frozen.load(Ordering::SeqCst) {
                    continue;
                }
                match message.message.unwrap() {
                    to_broker::Message::Hello(_) => service.begin(session.clone()),
                    to_broker::Message::Records(records) => service.take_records(records.records),
                    to_broker::Message::Heartbeat(mut beat) => {
                        beat.certificates = service.state.lock().unwrap().certificates.clone();
                        service.say(from_broker::Message::Heartbeat(beat));
                    }
                    to_broker::Message::LetGo(_) => {
                        service.state.lock().unwrap().let_go = true;
                    }
                    to_broker::Message::Cluster(_)
                    | to_broker::Message::IsrAnswer(_)
                    | to_broker::Message::RenewVolume(_) => {}
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn declare_topic(
        &self,
        request: Request<control::DeclareTopicRequest>,
    ) -> Result<Response<control::DeclareTopicAnswer>, Status> {
        let topic = request.into_inner().topic.unwrap();
        let mut state = self.state.lock().unwrap();
        let outcome = if !state.leads.contains_key(&0) {
            control::Outcome::NotLeader
        } else if state
            .volume
            .topics
            .iter()
            .any(|known| known.name == topic.name && known.id != topic.id)
        {
            control::Outcome::Conflict
        } else {
            state.volume.topics.push(topic);
            control::Outcome::Done
        };
        Ok(Response::new(control::DeclareTopicAnswer {
            outcome: outcome.into(),
            message: "another topic has the name".to_owned(),
        }))
    }

    async fn delete_topic(
        &self,
        _: Request<control::DeleteTopicRequest>,
    ) -> Result<Response<control::DeleteTopicAnswer>, Status> {
        Err(Status::unimplemented("the operator deletes nothing"))
    }

    async fn describe(
        &self,
        _: Request<control::DescribeRequest>,
    ) -> Result<Response<control::DescribeAnswer>, Status> {
        Ok(Response::new(control::DescribeAnswer {
            topics: self.state.lock().unwrap().volume.topics.clone(),
            ..control::DescribeAnswer::default()
        }))
    }
}
