//! Everything that there is at one moment.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use holdfast_core::Replica;
use holdfast_core::replica::{Answer, Fetch, IsrRequest, Outcome};
use holdfast_protocol::{BrokerId, Epoch, Incarnation, Member, ShardRecord, Version};

use crate::disk::{Disk, Entry};
use crate::invariants::Invariant;
use crate::operator::Operator;
use crate::setup::{BROKERS, Setup};

/// The whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The brokers.
    pub nodes: [Arc<Node>; BROKERS],
    /// The record store.
    pub store: Arc<Store>,
    /// The shipped operators, if any.
    pub operators: Vec<Arc<Operator>>,
    /// On their way, in no order.
    pub messages: Vec<Posted>,
    /// What was seen, which nobody in the cluster knows.
    pub seen: Arc<Seen>,
    /// What has happened, against the bounds.
    pub spent: Spent,
    /// The invariant that was broken, if one was.
    pub broken: Option<Invariant>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its disk.
    pub disk: Disk,
    /// Its process, while it runs.
    pub replica: Option<Replica>,
    /// Incarnations drawn so far.
    pub drawn: u8,
    /// It may have lost something since it joined the in-sync replicas.
    pub unproven: bool,
}

/// The record store, and what was ever in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// Every record that was ever written, oldest first.
    pub history: Vec<ShardRecord>,
    /// Which of them is there now.
    pub at: usize,
    /// Writes whose writers were told nothing, and that may still arrive.
    pub late: Vec<Call>,
}

impl Store {
    /// The record that is there now.
    #[must_use]
    pub fn record(&self) -> &ShardRecord {
        &self.history[self.at]
    }

    /// How many epochs there were.
    #[must_use]
    pub fn epochs(&self) -> usize {
        let epochs: BTreeSet<Epoch> = self.history.iter().map(|record| record.epoch).collect();
        epochs.len()
    }
}

/// A write on its way to the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The version it was decided on.
    pub expected: Option<Version>,
    /// What is to be written; `None` for a read.
    pub record: Option<ShardRecord>,
}

/// A message on its way, with a name that says what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The same for the same message in every run.
    pub name: u64,
    /// What is on its way.
    pub message: Arc<Message>,
}

impl Posted {
    pub(crate) fn new(message: Message) -> Self {
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        Self { name: hasher.finish(), message: Arc::new(message) }
    }
}

impl Hash for Posted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// On its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// To a leader.
    Fetch {
        /// From whom.
        from: BrokerId,
        /// To whom.
        to: BrokerId,
        /// What.
        fetch: Fetch,
    },
    /// To a follower.
    Answer {
        /// From whom.
        from: BrokerId,
        /// To whom.
        to: BrokerId,
        /// What.
        answer: Answer,
    },
    /// To an operator.
    Wish {
        /// From whom.
        from: BrokerId,
        /// What.
        request: IsrRequest,
    },
    /// The operator grants no such wish.
    Refused {
        /// To whom.
        to: BrokerId,
        /// As in the wish.
        expected: Version,
    },
}

impl Message {
    /// The message in few words.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::Fetch { from, to, fetch } => {
                let key = fetch.key;
                let (epoch, position, last) = (key.epoch, key.position, key.last_epoch);
                let held = fetch.held;
                format!("{from} asks {to}: e{epoch} at {position} after e{last}, holds {held}")
            }
            Self::Answer { from, to, answer } => {
                let (key, outcome) = (answer.key, &answer.outcome);
                let (epoch, position, last) = (key.epoch, key.position, key.last_epoch);
                let what = match outcome {
                    Outcome::Data { committed, next, .. } => {
                        format!("up to {next}, committed {committed}")
                    }
                    Outcome::Behind(record) => format!("behind v{}", record.version),
                    other => format!("{other:?}"),
                };
                format!("{from} answers {to}: e{epoch} at {position} after e{last}: {what}")
            }
            Self::Wish { from, request } => {
                let isr: Vec<u32> = request.isr.iter().map(|member| member.broker.0).collect();
                format!("{from} wants at v{}: isr {isr:?}", request.expected)
            }
            Self::Refused { to, expected } => format!("{to} is refused its wish at v{expected}"),
        }
    }
}

/// What was seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// What any leader ever committed, by position, and in which epoch that leader led.
    pub committed: Vec<(Entry, Epoch)>,
    /// Who led which epoch; whether it is still the same process.
    pub leaders: Vec<(Epoch, BrokerId, bool)>,
    /// Memberships that a leader has asked for, under which record; of old records only where the
    /// store may go back to them.
    pub asked: Vec<(Version, Vec<Member>)>,
}

/// What has happened so far, as counted by [`crate::setup::Bounds`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    pub(crate) entries: u8,
    pub(crate) repeats: u8,
    pub(crate) kills: u8,
    pub(crate) power_cuts: u8,
    pub(crate) volumes: u8,
    pub(crate) rollbacks: u8,
    pub(crate) ticks: u8,
    pub(crate) operator_faults: u8,
    /// Copies that may have lost something that they had said they hold.
    pub(crate) lost_copies: u8,
    /// Starts of each broker, as operators are told. Without operators nobody asks.
    pub(crate) boots: [u8; BROKERS],
}

impl Node {
    pub(crate) fn new(broker: usize) -> Self {
        Self { disk: Disk::new(incarnation(broker, 0)), replica: None, drawn: 0, unproven: false }
    }

    /// Gives the log another name.
    pub(crate) fn renew(&mut self, broker: usize) {
        self.drawn += 1;
        self.disk.incarnation = incarnation(broker, self.drawn);
    }
}

impl State {
    pub(crate) fn node_mut(&mut self, broker: usize) -> &mut Node {
        Arc::make_mut(&mut self.nodes[broker])
    }

    pub(crate) fn store_mut(&mut self) -> &mut Store {
        Arc::make_mut(&mut self.store)
    }

    pub(crate) fn seen_mut(&mut self) -> &mut Seen {
        Arc::make_mut(&mut self.seen)
    }

    /// Notes that an invariant was broken, if it is one that is judged; the first one counts.
    pub(crate) fn judge(&mut self, setup: &Setup, broken: Invariant) {
        if setup.judged.contains(&broken) {
            self.broken.get_or_insert(broken);
        }
    }
}

/// The broker with this number.
pub(crate) fn id(broker: usize) -> BrokerId {
    BrokerId(u32::try_from(broker).expect("there are three brokers"))
}

/// The name of a log: the broker's number, and how many it had before.
pub(crate) fn incarnation(broker: usize, drawn: u8) -> Incarnation {
    let mut bytes = [0; 16];
    bytes[14] = u8::try_from(broker).expect("there are three brokers") + 1;
    bytes[15] = drawn;
    Incarnation(bytes)
}
