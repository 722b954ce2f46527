//! The session with one broker: dialled, kept, and dialled again for as long as the operator
//! runs.
//!
//! What a session proves is all that it says: a broken connection is told as such at once, and
//! a refused one only when a second dial agrees (the broken connection counts as the first).

use std::sync::Arc;
use std::time::Duration;

use holdfast_operator_core::Input;
use holdfast_protocol::BrokerId;
use holdfast_protocol::control::{self, to_broker};
use holdfast_transport::InUse;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::{debug, info};

use crate::client::{DialError, chain, dial};
use crate::contact::{Contact, Contacts};
use crate::convert::{began, certificates, in_use, input, to};
use crate::settings::{BrokerAddress, Settings};

/// Messages that wait to be sent to one broker; more, and the session is begun anew, for a new
/// one starts with everything.
const OUTBOX_MAX: usize = 4096;

/// Time between two dials at first, and at most.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(200);

/// The longest that a dial or a hello may take.
const DIAL_MAX: Duration = Duration::from_secs(2);

/// What the operator's task hears of sessions.
pub(crate) enum Event {
    /// A broker's session began; what is sent goes in here.
    Began { broker: BrokerId, told: Vec<Input>, outbox: mpsc::Sender<control::ToBroker> },
    /// Something for the planner.
    Input(Input),
}

/// Keeps the session with one broker.
pub(crate) struct Session {
    settings: Arc<Settings>,
    address: BrokerAddress,
    events: mpsc::Sender<Event>,
    contacts: Arc<watch::Sender<Contacts>>,
    started: Instant,
    /// How many times in a row the broker was found gone.
    gone: u32,
    /// Whether it was ever there.
    seen: bool,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("no hello within {0:?}")]
    NoHello(Duration),
    #[error("broker {found} answers where broker {expected} was expected")]
    Stranger { expected: BrokerId, found: BrokerId },
    #[error("{0}")]
    Broken(String),
    /// The broker answered the dial, and would not begin a session, or broke off before.
    #[error("the broker begins no session: {0}")]
    NoSession(String),
    #[error("a message can't be understood: {0}")]
    Message(#[from] holdfast_protocol::wire::Error),
    #[error("the operator begins it anew")]
    Renewed,
    #[error("the operator stops")]
    Stopping,
}

impl Session {
    pub(crate) fn new(
        settings: Arc<Settings>,
        address: BrokerAddress,
        events: mpsc::Sender<Event>,
        contacts: Arc<watch::Sender<Contacts>>,
    ) -> Self {
        Self { settings, address, events, contacts, started: Instant::now(), gone: 0, seen: false }
    }

    /// Runs until the operator's task is gone.
    pub(crate) async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut told = String::new();
        loop {
            let Err(end) = self.hold().await;
            self.lose();
            let text = end.to_string();
            match end {
                End::Stopping => return,
                End::Dial(DialError::Refused) => {
                    self.gone += 1;
                    if self.refuses()
                        && self.tell(Input::Refused { broker: self.address.id }).await.is_err()
                    {
                        return;
                    }
                }
                End::NoSession(_) => {}
                End::Broken(_) | End::Message(_) | End::Renewed => {
                    // The session was there and is not: the first of two signs.
                    self.gone = 1;
                    backoff = Duration::ZERO;
                    if self.tell(Input::Broken { broker: self.address.id }).await.is_err() {
                        return;
                    }
                }
                End::NoHello(_) | End::Stranger { .. } | End::Dial(DialError::Other(_)) => {}
            }
            if text != told {
                info!(broker = %self.address.id, peer = %self.address.peer, "no session: {text}");
                told = text;
            }
            sleep(backoff).await;
            backoff = (backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        }
    }

    /// Whether the broker is known to be gone, and not only late to start.
    fn refuses(&self) -> bool {
        let may_be_late = !self.seen && self.started.elapsed() < self.settings.patience;
        self.gone >= 2 && !may_be_late
    }

    /// Notes what the broker says of its certificates, in the session that there is.
    fn note(&self, in_use: Option<InUse>) {
        let next = Contact::Session(in_use);
        self.contacts.send_if_modified(|contacts| {
            let changed = contacts.get(&self.address.id) != Some(&next);
            if changed {
                contacts.insert(self.address.id, next);
            }
            changed
        });
    }

    /// Forgets what the broker said: it has no session.
    fn lose(&self) {
        self.contacts.send_if_modified(|contacts| {
            let contact = contacts.get_mut(&self.address.id);
            let contact = contact.filter(|contact| matches!(contact, Contact::Session(_)));
            contact.map(|contact| *contact = Contact::Lost(Instant::now())).is_some()
        });
    }

    async fn tell(&self, input: Input) -> Result<(), End> {
        let event = Event::Input(input);
        self.events.send(event).await.map_err(|_| End::Stopping)
    }

    /// One session, from the dial to its end.
    async fn hold(&mut self) -> Result<std::convert::Infallible, End> {
        let (outbox, sending) = mpsc::channel(OUTBOX_MAX);
        let hello = to_broker::Message::Hello(control::OperatorHello {
            operator: self.settings.name.clone(),
            cluster: self.settings.cluster_id.clone(),
        });
        let limit = self.settings.detection_timeout().min(DIAL_MAX);
        let mut client = dial(&self.settings, &self.address, limit).await?;
        send(&outbox, hello)?;
        let (hello, mut incoming) = match timeout(limit, async {
            let stream = ReceiverStream::new(sending);
            let answer = client.session(stream).await.map_err(no_session)?;
            let mut incoming = answer.into_inner();
            let hello = self.expect_hello(&mut incoming).await?;
            Ok::<_, End>((hello, incoming))
        })
        .await
        {
            Ok(answer) => answer?,
            Err(_) => return Err(End::NoHello(limit)),
        };
        send(&outbox, to_broker::Message::Cluster(self.settings.cluster.clone()))?;
        self.gone = 0;
        self.seen = true;
        self.note(hello.certificates.as_ref().map(in_use));
        info!(broker = %self.address.id, boot = hello.boot_counter, "session begun");
        let renewed = outbox.downgrade();
        let told = began(self.address.id, &hello);
        let began = Event::Began { broker: self.address.id, told, outbox };
        self.events.send(began).await.map_err(|_| End::Stopping)?;
        self.keep(&renewed, &mut incoming).await
    }

    async fn expect_hello(
        &self,
        incoming: &mut Streaming<control::FromBroker>,
    ) -> Result<control::BrokerHello, End> {
        use control::from_broker::Message;
        let first = incoming.message().await.map_err(no_session)?;
        let Some(Message::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(End::NoSession("the first message is no hello".to_owned()));
        };
        let (expected, found) = (self.address.id, BrokerId(hello.broker));
        if expected != found {
            return Err(End::Stranger { expected, found });
        }
        debug!(broker = %found, version = hello.version, "hello");
        Ok(hello)
    }

    /// Passes on what the broker says, and sends heartbeats, until either side ends.
    async fn keep(
        &self,
        outbox: &mpsc::WeakSender<control::ToBroker>,
        incoming: &mut Streaming<control::FromBroker>,
    ) -> Result<std::convert::Infallible, End> {
        let mut beat = interval(self.settings.heartbeat_interval());
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sequence = 0;
        loop {
            tokio::select! {
                message = incoming.message() => {
                    let message = message.map_err(broken)?;
                    let message = message.ok_or_else(|| End::Broken("the broker ended it".to_owned()))?;
                    if let Some(in_use) = certificates(&message) {
                        self.note(Some(in_use));
                    }
                    self.tell(input(self.address.id, message)?).await?;
                }
                _ = beat.tick() => {
                    // The operator's task holds the only sender, and drops it to begin anew.
                    let outbox = outbox.upgrade().ok_or(End::Renewed)?;
                    sequence += 1;
                    let beat = control::Heartbeat { sequence, certificates: None };
                    send(&outbox, to_broker::Message::Heartbeat(beat))?;
                }
                () = self.events.closed() => return Err(End::Stopping),
            }
        }
    }
}

fn send(outbox: &mpsc::Sender<control::ToBroker>, message: to_broker::Message) -> Result<(), End> {
    outbox
        .try_send(to(message))
        .map_err(|_| End::Broken("the broker takes nothing more".to_owned()))
}

fn no_session(status: tonic::Status) -> End {
    End::NoSession(chain(&status))
}

fn broken(status: tonic::Status) -> End {
    End::Broken(chain(&status))
}
