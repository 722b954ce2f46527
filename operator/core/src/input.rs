//! What the planner is told.

use holdfast_protocol::{
    BrokerId, Epoch, Incarnation, Member, Position, ShardId, ShardRecord, Start, Version,
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A broker answered a session with its hello.
    Connected {
        /// Which, and which start of it.
        start: Start,
        /// Every replica on its volume got its incarnation in this start: whatever the volume
        /// held before, nobody takes it for that.
        renewed: bool,
    },
    /// Another broker waits for an answer of this one.
    Unanswered {
        /// Which does not answer.
        broker: BrokerId,
        /// For how long, ms; 0 where it has answered.
        for_ms: u64,
    },
    /// A broker said something, be it a heartbeat.
    Heard {
        /// Which.
        broker: BrokerId,
    },
    /// A session ended, and nothing has confirmed yet that the broker is gone.
    Broken {
        /// Which.
        broker: BrokerId,
    },
    /// A second dial confirmed that nobody is there.
    Refused {
        /// Which.
        broker: BrokerId,
    },
    /// Whoever runs its process knows that it has ended.
    Gone {
        /// Which.
        broker: BrokerId,
    },
    /// What a broker holds.
    Reports {
        /// Which.
        broker: BrokerId,
        /// One a shard.
        reports: Vec<Report>,
        /// Whether these are all that it holds; the first of a session are.
        complete: bool,
    },
    /// A leader asks for other in-sync replicas.
    IsrRequest(IsrRequest),
    /// A leader can't go on.
    Resign {
        /// Which.
        broker: BrokerId,
        /// Of which shard.
        shard: ShardId,
        /// In which epoch.
        epoch: Epoch,
        /// Why, for people.
        reason: String,
    },
    /// A write ended.
    Written {
        /// Of which shard.
        shard: ShardId,
        /// How.
        outcome: WriteOutcome,
    },
    /// The store was read, after it was asked for.
    Read {
        /// Which shard.
        shard: ShardId,
        /// What the store has.
        record: Option<ShardRecord>,
    },
    /// A broker is about to be stopped: its leaderships go elsewhere, and stay away until it
    /// has started anew.
    PrepareStop {
        /// Which.
        broker: BrokerId,
    },
    /// Time went on.
    Tick,
}

/// How a compare-and-swap ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// The record is in the store.
    Done,
    /// The store has another version, or none: nothing was written.
    Conflict(Option<ShardRecord>),
    /// It may have happened. The planner reads before it goes on.
    Unknown,
}

/// A leader's request for other in-sync replicas.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IsrRequest {
    /// Who asks.
    pub broker: BrokerId,
    /// Of which shard.
    pub shard: ShardId,
    /// The epoch in which it leads.
    pub epoch: Epoch,
    /// The record that it knows.
    pub expected: Version,
    /// The in-sync replicas that it wants.
    pub isr: Vec<Member>,
}

/// What a broker holds of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// The shard.
    pub shard: ShardId,
    /// The incarnation of its log.
    pub incarnation: Incarnation,
    /// Of the newest record it has persisted; zero for none.
    pub version: Version,
    /// The newest epoch it has seen.
    pub epoch: Epoch,
    /// It leads: its epoch start is committed.
    pub leading: bool,
    /// The epoch that it leads, `leading` or not yet; zero for none. A broker that the record
    /// names leader, but that started anew since, leads none.
    pub leads_epoch: Epoch,
    /// End of its log.
    pub end: Position,
    /// Epoch of its last entry.
    pub last_epoch: Epoch,
    /// The commit position that it knows.
    pub committed: Position,
    /// Up to where it counts entries as its own.
    pub held: Position,
    /// Why it can't lead: its disk failed or is full.
    pub failure: Option<String>,
    /// The newest record it has persisted.
    pub record: Option<ShardRecord>,
}

impl Report {
    /// Whether a leader elected into `epoch` knows of that and does not lead it: it is another
    /// process than was elected.
    pub(crate) fn shows_restart_in(&self, epoch: Epoch) -> bool {
        self.epoch >= epoch && self.leads_epoch != epoch
    }
}
