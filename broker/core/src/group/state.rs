//! One group: its members and phase, and the questions that every request asks of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use holdfast_protocol::group::{Error, Generation, Joined, JoinedMember, Protocol, State};
use holdfast_protocol::mark;

use super::limits::{REBALANCE_TIMEOUT_MS_MIN, RETIRE_CHECK_MS};
use super::member::Member;
use super::subscription::{self, CONSUMER};

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    /// Only grows.
    pub(super) generation: Generation,
    /// Of the members; that of the last ones, where there are none.
    pub(super) protocol_type: Option<String>,
    /// The protocol chosen for the present generation.
    pub(super) protocol: Option<String>,
    /// A member, wherever there are any.
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Instance id to member id of the static members.
    pub(super) instances: BTreeMap<String, String>,
    /// Ids that were given out and not used yet, and when they are void.
    pub(super) pending: BTreeMap<String, u64>,
    pub(super) phase: Phase,
    /// Whether the shard's log may hold anything of the group.
    pub(super) is_recorded: bool,
    pub(super) commits_in_flight: usize,
    /// When the coordinator looks at the group next: never later than anything is due.
    pub(super) scheduled_ms: Option<u64>,
}

/// The state of a group, with what belongs to it alone.
#[derive(Debug)]
pub(super) enum Phase {
    /// No members; looked at again at `check_ms`, whether it is of any use.
    Empty { check_ms: u64 },
    /// Members are to join until `deadline_ms`.
    Preparing {
        deadline_ms: u64,
        /// In the first rebalance of a group that had no members.
        initial: Option<Initial>,
    },
    /// The generation has its members; who has not asked for an assignment by `sync_ms` is out.
    Completing {
        sync_ms: Option<u64>,
        /// The leader's, on their way to the log.
        assignments: Option<BTreeMap<String, Bytes>>,
    },
    /// Everyone has an assignment; who has not fetched it by `sync_ms` is out.
    Stable { sync_ms: Option<u64> },
    /// Being dropped.
    Dead,
}

/// The wait for more members in the first rebalance.
#[derive(Debug)]
pub(super) struct Initial {
    /// By how much the wait may still be prolonged, ms.
    pub(super) remaining_ms: u64,
    /// Whether someone came in the present wait.
    pub(super) has_newcomers: bool,
}

impl Group {
    pub(super) fn new(name: &str, now_ms: u64) -> Self {
        Self {
            name: name.to_owned(),
            generation: Generation(0),
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            phase: Phase::Empty { check_ms: now_ms.saturating_add(RETIRE_CHECK_MS) },
            is_recorded: false,
            commits_in_flight: 0,
            scheduled_ms: None,
        }
    }

    pub(super) fn state(&self) -> State {
        match &self.phase {
            Phase::Empty { .. } => State::Empty,
            Phase::Preparing { .. } => State::PreparingRebalance,
            Phase::Completing { .. } => State::CompletingRebalance,
            Phase::Stable { .. } => State::Stable,
            Phase::Dead => State::Dead,
        }
    }

    /// Whether nothing is lost when it is forgotten.
    pub(super) fn is_forgettable(&self) -> bool {
        matches!(self.phase, Phase::Empty { .. }) && !self.is_recorded && self.pending.is_empty()
    }

    /// When something is due, should nothing happen before.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let phase = match &self.phase {
            Phase::Empty { check_ms } => Some(*check_ms),
            Phase::Preparing { deadline_ms, .. } => Some(*deadline_ms),
            Phase::Completing { sync_ms, .. } | Phase::Stable { sync_ms } => *sync_ms,
            Phase::Dead => None,
        };
        let sessions = self.members.values().filter_map(Member::expires_ms);
        let pending = self.pending.values().copied();
        sessions.chain(pending).chain(phase).min()
    }

    /// # Errors
    /// Where `member` is none, or `instance` is not its own.
    pub(super) fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), Error> {
        if let Some(instance) = instance {
            let holder = self.instances.get(instance).ok_or(Error::UnknownMember)?;
            if holder != member {
                return Err(Error::FencedInstance);
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(Error::UnknownMember) }
    }

    /// # Errors
    /// As [`Group::check_member`], and where the generation is not the present one.
    pub(super) fn check_generation(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: Generation,
    ) -> Result<(), Error> {
        self.check_member(member, instance)?;
        if generation != self.generation {
            mark!(GenerationFenced);
            return Err(Error::IllegalGeneration);
        }
        Ok(())
    }

    /// Whether one who knows `protocols` can be a member along with the others.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| self.all_know(&protocol.name))
    }

    fn all_know(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.knows(protocol))
    }

    /// The protocol with most votes: each member's goes to its best that all know. The first by
    /// name of those with equally many; `None` where there is no member.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let first = self.members.values().next()?;
        let candidates: BTreeSet<&str> = first
            .protocols
            .iter()
            .map(|protocol| protocol.name.as_str())
            .filter(|name| self.all_know(name))
            .collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let names = member.protocols.iter().map(|known| known.name.as_str());
            if let Some(best) = names.into_iter().find(|name| candidates.contains(name)) {
                *votes.entry(best).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let winner = votes.into_iter().find(|(_, count)| *count == most)?;
        Some(winner.0.to_owned())
    }

    /// How long a rebalance waits: as long as the most patient member asks for, ms.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        self.members
            .values()
            .map(|member| u64::from(member.rebalance_timeout_ms))
            .max()
            .unwrap_or(0)
            .max(REBALANCE_TIMEOUT_MS_MIN)
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// The present generation, as `member` is told of it.
    pub(super) fn joined(&self, member: &str) -> Joined {
        let members = if self.is_leader(member) { self.members_for_leader() } else { Vec::new() };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member: member.to_owned(),
            members,
        }
    }

    fn members_for_leader(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members
            .iter()
            .map(|(id, member)| JoinedMember {
                member: id.clone(),
                instance: member.instance.clone(),
                metadata: member.metadata(protocol),
            })
            .collect()
    }

    /// Whether the group may read the topic. Where its members' metadata does not tell, a group
    /// of consumers does.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        if self.members.is_empty() || self.protocol_type.as_deref() != Some(CONSUMER) {
            return false;
        }
        let Some(topics) = self.subscribed_topics() else {
            return true;
        };
        topics.contains(topic)
    }

    fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            subscription::read_topics(&member.metadata(protocol), &mut topics)?;
        }
        Some(topics)
    }
}
