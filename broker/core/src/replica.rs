//! One replica of one shard: who leads, what is committed, where logs part.
//!
//! Invariants, each named in `ARCHITECTURE.md`:
//! - it leads only an epoch newer than any it has seen, and only under its own incarnation;
//! - what is committed is held by every member of the maximal ISR, and by at least min-ISR;
//! - a log is never cut below its commit position, but after a recorded unclean election;
//! - an answer counts only while epoch, position and last entry's epoch are those asked with.
//!
//! The replica does not hold entries: it knows where its log ends, and says what to do with it.
//! Its leader half is in `replica/lead.rs`, its follower half in `replica/follow.rs`.

mod follow;
mod history;
mod lead;
mod leader;
mod message;
#[cfg(feature = "ablation")]
mod model;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Member, Position, ShardId, ShardRecord, mark,
};

pub use history::History;
pub use message::{Answer, Fault, Fetch, FetchKey, IsrRequest, Outcome, Output};

pub use rules::{Rule, Rules};

use leader::Leader;

/// How a replica behaves in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// A follower that was not at the leader's end for longer leaves the ISR, ms.
    pub lag_ms_max: u64,
    /// A waiting fetch without news is answered after this, ms, so that both sides know that
    /// the other lives. A fetch without an answer for three times as long is repeated.
    pub idle_ms: u64,
    /// How often an unanswered wish for another ISR is repeated, ms.
    pub isr_retry_ms: u64,
    /// A refused fetch is repeated after this, ms.
    pub refetch_ms: u64,
    /// Whether waiting followers are told of a commit at once, rather than with the next tick or
    /// the next entries. Costs an answer and a fetch more for each, so it is for a shard that
    /// others follow to know its state, not for one whose clients only ask the leader.
    pub tells_commits: bool,
    /// All of them, but in tests.
    pub rules: Rules,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lag_ms_max: 10_000,
            idle_ms: 500,
            isr_retry_ms: 1_000,
            refetch_ms: 100,
            tells_commits: false,
            rules: Rules::default(),
        }
    }
}

/// What a recovered log is.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Its identity.
    pub incarnation: Incarnation,
    /// Where it ends; all of it is durable.
    pub end: Position,
    /// Its epochs.
    pub epochs: History,
    /// Up to here it is known to be committed.
    pub committed: Position,
    /// The newest record that was persisted.
    pub record: Option<ShardRecord>,
    /// Below this position the log may have gaps that a checkpoint stands for; more than `end`
    /// while the replica is still being built from one.
    pub gaps_until: Position,
}

/// What a replica does under the present record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// Nothing: no record yet, or one that gives it nothing to do.
    Idle,
    /// It leads.
    Leader(Leader),
    /// It follows this leader, and has asked it with this key.
    Follower(Follower),
    /// It may not go on.
    Halted,
}

/// The state of a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Follower {
    leader: BrokerId,
    /// The fetch that is under way.
    asked: Option<FetchKey>,
    /// What the leader was told is held here.
    reported: Position,
    /// When the last fetch was refused, or otherwise without effect.
    refused_ms: Option<u64>,
    /// Since when the fetch under way was seen to have no answer.
    unanswered_ms: Option<u64>,
    /// Where its log was when it asked for a checkpoint.
    bootstrap: Option<FetchKey>,
}

/// One replica of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    me: Member,
    shard: ShardId,
    settings: Settings,
    record: Option<ShardRecord>,
    history: History,
    end: Position,
    durable: Position,
    committed: Position,
    gaps_until: Position,
    /// The epoch in which the leader gave that checkpoint; 0 where that is not known.
    checkpoint_epoch: Epoch,
    /// Positions below this one may be missing here, so nobody is served from there.
    clean_point: Position,
    role: Role,
    /// Fetches of an epoch whose record did not reach this replica yet, one a follower.
    early: BTreeMap<BrokerId, Fetch>,
    outputs: VecDeque<Output>,
}

impl Replica {
    /// A replica over a recovered log.
    #[must_use]
    pub fn new(me: BrokerId, shard: ShardId, settings: Settings, log: Recovered) -> Self {
        let mut replica = Self {
            me: Member { broker: me, incarnation: log.incarnation },
            shard,
            settings,
            record: None,
            history: log.epochs,
            end: log.end,
            durable: log.end,
            committed: log.committed.min(log.end),
            gaps_until: log.gaps_until,
            checkpoint_epoch: Epoch(0),
            clean_point: log.gaps_until,
            role: Role::Idle,
            early: BTreeMap::new(),
            outputs: VecDeque::new(),
        };
        if let Some(record) = log.record {
            // It may have led this epoch before it stopped, so it does not lead it again.
            if record.leader == Some(replica.me) {
                mark!(LedBefore);
            }
            replica.role = replica.follower_of(&record);
            replica.record = Some(record);
            replica.fetch();
        }
        replica
    }

    /// The next thing to do; `None` when all is said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// This replica, by its log.
    #[must_use]
    pub fn member(&self) -> Member {
        self.me
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The newest record that it has seen.
    #[must_use]
    pub fn record(&self) -> Option<&ShardRecord> {
        self.record.as_ref()
    }

    /// The newest epoch that it has seen.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.record.as_ref().map_or(Epoch(0), |record| record.epoch)
    }

    /// Where its log ends.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    /// Epoch of its last entry.
    #[must_use]
    pub fn last_epoch(&self) -> Epoch {
        self.history.last()
    }

    /// The epochs of its log.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Up to here everything is known to be committed.
    #[must_use]
    pub fn committed(&self) -> Position {
        self.committed
    }

    /// Up to here its log counts as held: durable in Sync, written in Async. What is filled in
    /// behind a checkpoint is to be durable in Async, too: should some of that be lost, nobody
    /// could tell it from what the leader has cleaned.
    #[must_use]
    pub fn held(&self) -> Position {
        match self.record.as_ref().map_or(FlushMode::Sync, |record| record.flush) {
            FlushMode::Async if self.durable >= self.gaps_until => self.end,
            FlushMode::Sync | FlushMode::Async => self.durable,
        }
    }

    /// Up to here its log is durable.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// The epoch that it leads, confirmed or not.
    #[must_use]
    pub fn leads(&self) -> Option<Epoch> {
        match &self.role {
            Role::Leader(leader) => Some(leader.epoch),
            Role::Idle | Role::Follower(_) | Role::Halted => None,
        }
    }

    /// The epoch that it leads and whose start is committed: only then may it answer anything
    /// from its state.
    #[must_use]
    pub fn confirmed(&self) -> Option<Epoch> {
        match &self.role {
            Role::Leader(leader) if self.is_confirmed(leader) => Some(leader.epoch),
            Role::Leader(_) | Role::Idle | Role::Follower(_) | Role::Halted => None,
        }
    }

    fn is_confirmed(&self, leader: &Leader) -> bool {
        let keep = |rule| self.settings.rules.keep(rule);
        self.committed > leader.start || !keep(Rule::AnswerConfirmed) || !keep(Rule::EpochStart)
    }

    /// The leader that it follows.
    #[must_use]
    pub fn follows(&self) -> Option<BrokerId> {
        match &self.role {
            Role::Follower(follower) => Some(follower.leader),
            Role::Idle | Role::Leader(_) | Role::Halted => None,
        }
    }

    /// Whether it stopped for good, until a person looks.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        matches!(self.role, Role::Halted)
    }

    /// Whether it is still being built from a checkpoint.
    #[must_use]
    pub fn is_bootstrapping(&self) -> bool {
        self.end < self.gaps_until
    }

    /// Whether the record may be taken in place of the one that was.
    fn is_next(&self, record: &ShardRecord) -> bool {
        let Some(known) = &self.record else { return true };
        // Epochs never go back, not even with a record store that did.
        let is_old = record.version <= known.version || record.epoch < known.epoch;
        let is_fork = !record.follows(known);
        if is_old {
            mark!(RecordOld);
        }
        !(is_old && self.keeps(Rule::IgnoreOld) || is_fork && self.keeps(Rule::IgnoreForks))
    }

    /// Takes the newest record. One that does not follow the one that is known, is older by its
    /// epoch, or of another shard is ignored: `false`.
    pub fn handle_record(&mut self, record: ShardRecord, now_ms: u64) -> bool {
        if record.shard != self.shard || !self.is_next(&record) {
            return false;
        }
        let newer_epoch = record.epoch > self.epoch().max(self.history.last())
            || !self.keeps(Rule::NewEpoch) && self.leads() != Some(record.epoch);
        let elected = record.leader == Some(self.me)
            || !self.keeps(Rule::OwnIncarnation)
                && record.leader.is_some_and(|leader| leader.broker == self.me.broker);
        self.outputs.push_back(Output::Persist(record.clone()));
        let unclean_since_last =
            record.unclean_epoch.is_some_and(|epoch| epoch > self.history.last());
        self.record = Some(record.clone());
        if matches!(self.role, Role::Halted) && !unclean_since_last {
            return true;
        }
        match &self.role {
            Role::Leader(_) if !newer_epoch && elected => {
                self.forget_proposal(now_ms);
                self.tell_record();
                self.advance(now_ms);
                self.tell_commit(now_ms);
            }
            Role::Idle | Role::Leader(_) | Role::Follower(_) | Role::Halted => {
                if newer_epoch && elected && !self.is_bootstrapping() {
                    self.lead(record.epoch, now_ms);
                } else {
                    if self.leads().is_some() {
                        mark!(SteppedDown);
                    }
                    self.role = self.follower_of(&record);
                    self.fetch();
                }
            }
        }
        self.take_early(now_ms);
        true
    }

    /// Time passes: waiting fetches are answered, lagging followers noticed, refused fetches
    /// repeated.
    pub fn handle_tick(&mut self, now_ms: u64) {
        match &self.role {
            Role::Leader(_) => {
                self.tell_waiting(now_ms);
                self.review_isr(now_ms);
            }
            Role::Follower(_) => self.fetch_again(now_ms),
            Role::Idle | Role::Halted => {}
        }
    }

    /// The log is durable up to `position`.
    pub fn handle_durable(&mut self, position: Position, now_ms: u64) {
        self.durable = self.durable.max(position.min(self.end));
        match &self.role {
            Role::Leader(_) => {
                self.advance(now_ms);
                self.tell_commit(now_ms);
            }
            Role::Follower(follower) if self.held() > follower.reported => self.fetch(),
            Role::Follower(_) | Role::Idle | Role::Halted => {}
        }
    }

    /// The state of a checkpoint covers everything below `position`, so that is committed.
    pub(crate) fn handle_recovered_state(&mut self, position: Position) {
        self.committed = self.committed.max(position.min(self.end));
    }

    /// Cleaning has removed entries below `position`: nobody is served from below it any more.
    pub fn handle_cleaned(&mut self, position: Position) {
        self.clean_point = self.clean_point.max(position);
    }

    /// No position is left out of the log from here on.
    #[must_use]
    pub fn clean_point(&self) -> Position {
        self.clean_point
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.settings.rules.keep(rule)
    }

    fn follower_of(&self, record: &ShardRecord) -> Role {
        match record.leader {
            Some(leader)
                if leader.broker != self.me.broker && self.may_follow(record, self.me.broker) =>
            {
                Role::Follower(Follower {
                    leader: leader.broker,
                    asked: None,
                    reported: Position(0),
                    refused_ms: None,
                    unanswered_ms: None,
                    bootstrap: None,
                })
            }
            Some(_) | None => Role::Idle,
        }
    }

    /// Whether `broker` follows the shard: as a replica of it; and the catalog's is followed by
    /// every broker, of which only the replicas count for anything.
    fn may_follow(&self, record: &ShardRecord, broker: BrokerId) -> bool {
        self.shard == ShardId::CATALOG || record.replicas.contains(&broker)
    }
}
