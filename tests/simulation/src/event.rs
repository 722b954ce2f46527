//! What happens in a world.

use holdfast_broker::driver::Image;
use holdfast_core::replica::{Answer, Fetch};
use holdfast_log::{CheckpointJob, FlushJob};
use holdfast_operator_core as operator_core;
use holdfast_protocol::group;
use holdfast_protocol::{BrokerId, Position, ShardId, ShardRecord, Version};
use holdfast_service::GroupError;

use crate::client::{Reply, Sent};
use crate::heal::Heal;

/// What one broker says to another.
#[derive(Debug)]
pub(crate) enum Peer {
    Fetch(Fetch),
    Answer(Answer),
    AskCheckpoint,
    Checkpoint(Option<Box<Image>>),
    Connected,
    Gone,
}

/// What is said in a session of an operator with a broker.
#[derive(Debug)]
pub(crate) enum Said {
    ToOperator(operator_core::Input),
    Message(operator_core::Message),
    Heartbeat,
}

/// A call of an operator to the store.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Swap(Option<Version>, Box<ShardRecord>),
    Read(ShardId),
}

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    BrokerTick(u32, u64),
    Start(u32),
    Peer {
        from: u32,
        to: u32,
        run: u64,
        shard: ShardId,
        message: Peer,
    },
    Flushed {
        broker: u32,
        run: u64,
        shard: ShardId,
        job: FlushJob,
    },
    Checkpointed {
        broker: u32,
        run: u64,
        shard: ShardId,
        job: CheckpointJob,
    },
    Report(u32, u64),
    OperatorTick(usize, u64),
    StartOperator(usize),
    Session(u64, Said),
    SessionBroken {
        operator: usize,
        life: u64,
        broker: BrokerId,
        session: u64,
    },
    Store(usize, u64, Call),
    StoreLate(Option<Version>, ShardRecord),
    StoreAnswer(usize, u64, operator_core::Input),
    Client(usize),
    Request {
        client: usize,
        attempt: u64,
        sent: Sent,
        broker: u32,
        waited_ms: u64,
    },
    Reply {
        client: usize,
        attempt: u64,
        reply: Reply,
    },
    Timeout {
        client: usize,
        attempt: u64,
    },
    Admin,
    Member(usize, u64),
    MemberRequest {
        member: usize,
        attempt: u64,
        broker: u32,
        request: Box<group::Request>,
    },
    MemberReply {
        member: usize,
        attempt: u64,
        below: Position,
        answer: Result<group::Answer, GroupError>,
    },
    /// A member asks a broker who coordinates its group.
    MemberFind {
        member: usize,
        attempt: u64,
        broker: u32,
    },
    MemberFound {
        member: usize,
        attempt: u64,
        broker: Option<u32>,
    },
    MemberTimeout {
        member: usize,
        attempt: u64,
    },
    Read,
    ReadSlowly,
    Watch,
    Want,
    Scrub(u32, u64),
    Door(u32, u64),
    Fault,
    Power(u32),
    Heal(Heal),
}

impl Event {
    /// What happens, without what it carries of the log.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Peer { from, to, run, shard, message } => {
                let what = match message {
                    Peer::Answer(answer) => format!("answer {:?}", answer.key),
                    Peer::Checkpoint(image) => format!("checkpoint {}", image.is_some()),
                    Peer::Fetch(_) | Peer::AskCheckpoint | Peer::Connected | Peer::Gone => {
                        format!("{message:?}")
                    }
                };
                format!("peer {from} to {to} ({run}) shard {shard}: {what}")
            }
            Self::Flushed { broker, run, shard, job } => {
                format!("flushed {broker} ({run}) shard {shard}: {}", job.position())
            }
            Self::Checkpointed { broker, run, shard, .. } => {
                format!("checkpointed {broker} ({run}) shard {shard}")
            }
            Self::MemberReply { member, attempt, answer: Err(error), .. } => {
                format!("member {member} ({attempt}): {error}")
            }
            other => format!("{other:?}"),
        }
    }
}
