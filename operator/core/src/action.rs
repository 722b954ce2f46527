//! What the planner wants done.

use std::fmt;

use holdfast_protocol::{BrokerId, Epoch, LossRange, Member, ShardId, ShardRecord, Version};

use crate::broker::Loss;
use crate::failover::{Failover, Reason};

/// Something to do. The shell carries actions out in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Write `record` where the store still has `expected`; answered by `Input::Written`.
    Write {
        /// The version in the store; `None`: no record.
        expected: Option<Version>,
        /// The record to be.
        record: ShardRecord,
    },
    /// Read the store, past every cache; answered by `Input::Read`.
    Read {
        /// Which shard.
        shard: ShardId,
    },
    /// Send to a broker; dropped where it is not connected, for it gets everything at connect.
    Send {
        /// To whom.
        broker: BrokerId,
        /// What.
        message: Message,
    },
    /// End the session and dial anew: the broker was silent, so what it said is old.
    Redial {
        /// Which.
        broker: BrokerId,
    },
    /// Tell people.
    Tell(Event),
}

/// A message to a broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Records as they are now.
    Records(Vec<ShardRecord>),
    /// The answer to an `IsrRequest`.
    IsrAnswer {
        /// Which shard.
        shard: ShardId,
        /// As in the request.
        expected: Version,
        /// `false`: it was not and will not be written.
        accepted: bool,
        /// The record as it is now.
        record: Option<ShardRecord>,
    },
    /// Its volume was put back to an older state: each of its replicas needs another incarnation,
    /// and the volume counts on from here.
    RenewVolume {
        /// The newest start that is remembered.
        counter: u64,
    },
}

/// Something that people want to know. Told once, when it happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A shard has a leader.
    LeaderElected {
        /// The shard.
        shard: ShardId,
        /// Who.
        leader: BrokerId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// A shard has nobody who can lead.
    Leaderless {
        /// The shard.
        shard: ShardId,
        /// Who led.
        was: BrokerId,
    },
    /// A broker is dead.
    BrokerLost {
        /// Which.
        broker: BrokerId,
        /// How it was noticed.
        loss: Loss,
    },
    /// A broker that was about to stop has stopped.
    BrokerStopped {
        /// Which.
        broker: BrokerId,
    },
    /// A broker is there, and has said what it holds.
    BrokerBack {
        /// Which.
        broker: BrokerId,
    },
    /// New leaders serve, in place of those that were lost or moved.
    FailoverCompleted(Failover),
    /// A leader gave up.
    Resigned {
        /// Of which shard.
        shard: ShardId,
        /// Who.
        broker: BrokerId,
        /// Why.
        reason: String,
    },
    /// Replicas left the in-sync replicas.
    IsrShrunk {
        /// Of which shard.
        shard: ShardId,
        /// Which.
        gone: Vec<BrokerId>,
        /// Those that stay.
        isr: Vec<BrokerId>,
    },
    /// Replicas joined the in-sync replicas.
    IsrExpanded {
        /// Of which shard.
        shard: ShardId,
        /// Which.
        joined: Vec<BrokerId>,
        /// All of them now.
        isr: Vec<BrokerId>,
    },
    /// Replicas go to other brokers: these hold the shard as soon as they have caught up.
    ReplicasMoving {
        /// The shard.
        shard: ShardId,
        /// Who come.
        to: Vec<BrokerId>,
        /// Who go then.
        from: Vec<BrokerId>,
    },
    /// The replicas are where they are wanted.
    ReplicasMoved {
        /// The shard.
        shard: ShardId,
        /// Who hold it no more.
        gone: Vec<BrokerId>,
        /// Who hold it.
        replicas: Vec<BrokerId>,
    },
    /// An unclean election: acknowledged messages may be lost.
    PossibleLoss {
        /// Of which shard.
        shard: ShardId,
        /// Who was elected, under which log.
        leader: Member,
        /// In which epoch.
        epoch: Epoch,
        /// What of the log may be lost.
        loss: LossRange,
    },
    /// A broker's volume was put back to an older state: what it held since is gone, so its
    /// replicas are out until they have caught up.
    VolumeRolledBack {
        /// Which.
        broker: BrokerId,
        /// What shows it.
        why: String,
    },
    /// The store went back in time: nothing is decided about the shard until its newest record
    /// is known.
    Frozen {
        /// The shard.
        shard: ShardId,
        /// What the store has.
        stored: Option<Version>,
    },
    /// The newest record known to any broker is the record again, at a higher generation.
    Adopted {
        /// The shard.
        shard: ShardId,
        /// The new version.
        version: Version,
    },
}

fn list(brokers: &[BrokerId]) -> String {
    let ids: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    ids.join(",")
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaderElected { shard, leader, epoch } => {
                write!(f, "shard {shard}: broker {leader} leads epoch {epoch}")
            }
            Self::Leaderless { shard, was } => {
                write!(f, "shard {shard}: no replica can lead after broker {was}")
            }
            Self::BrokerLost { broker, loss } => write!(f, "broker {broker} is lost: {loss}"),
            Self::BrokerStopped { broker } => {
                write!(f, "broker {broker} has stopped, as it was told to")
            }
            Self::BrokerBack { broker } => write!(f, "broker {broker} is there"),
            Self::FailoverCompleted(failover) => failover.fmt(f),
            Self::Resigned { shard, broker, reason } => {
                write!(f, "shard {shard}: broker {broker} resigns: {reason}")
            }
            Self::IsrShrunk { shard, gone, isr } => write!(
                f,
                "shard {shard}: broker {} out of sync, in sync: {}",
                list(gone),
                list(isr)
            ),
            Self::IsrExpanded { shard, joined, isr } => write!(
                f,
                "shard {shard}: broker {} in sync again, in sync: {}",
                list(joined),
                list(isr)
            ),
            Self::ReplicasMoving { shard, to, from } if from.is_empty() => {
                write!(f, "shard {shard}: broker {} is to hold it too", list(to))
            }
            Self::ReplicasMoving { shard, to, from } => {
                write!(f, "shard {shard}: to broker {} instead of {}", list(to), list(from))
            }
            Self::ReplicasMoved { shard, gone, replicas } => write!(
                f,
                "shard {shard}: broker {} holds it no more, replicas: {}",
                list(gone),
                list(replicas)
            ),
            Self::PossibleLoss { shard, leader, epoch, loss } => write!(
                f,
                "shard {shard}: possible loss: broker {} was elected uncleanly in epoch {epoch} \
                 with a log that ends at {}, while {} had been committed as last told: what was \
                 acknowledged from there on may be missing",
                leader.broker, loss.from, loss.to
            ),
            Self::VolumeRolledBack { broker, why } => write!(
                f,
                "the volume of broker {broker} was put back to an older state: {why}; its \
                 replicas are out until they have caught up"
            ),
            Self::Frozen { shard, stored } => {
                let stored = stored.map_or_else(|| "no record".to_owned(), |v| v.to_string());
                write!(
                    f,
                    "shard {shard}: the record store went back in time (it has {stored}); frozen \
                     until every broker has told what it knows"
                )
            }
            Self::Adopted { shard, version } => {
                write!(f, "shard {shard}: newest known record adopted as {version}")
            }
        }
    }
}

impl Event {
    /// The name of the kind, as Kubernetes events carry it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::LeaderElected { .. } => "LeaderElected",
            Self::Leaderless { .. } => "Leaderless",
            Self::BrokerLost { .. } => "BrokerLost",
            Self::BrokerStopped { .. } => "BrokerStopped",
            Self::BrokerBack { .. } => "BrokerBack",
            Self::FailoverCompleted(failover) if failover.reason.is_planned() => "LeadersMoved",
            Self::FailoverCompleted(_) => "FailoverCompleted",
            Self::Resigned { .. } => "LeaderResigned",
            Self::IsrShrunk { .. } => "IsrShrunk",
            Self::IsrExpanded { .. } => "IsrExpanded",
            Self::ReplicasMoving { .. } => "ReplicasMoving",
            Self::ReplicasMoved { .. } => "ReplicasMoved",
            Self::PossibleLoss { .. } => "PossibleLoss",
            Self::VolumeRolledBack { .. } => "VolumeRolledBack",
            Self::Frozen { .. } => "RecordsFrozen",
            Self::Adopted { .. } => "RecordsAdopted",
        }
    }
}

/// Why a record is written; decides what is told when it is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Intent {
    Initial,
    Elect(Reason),
    Unclean,
    Vacate,
    Fence,
    Isr,
    Settings,
    Starts,
    Adopt,
    /// Names who are to hold the shard, beside those who do.
    Name,
    /// Takes out who are to hold it no more.
    Leave,
}
