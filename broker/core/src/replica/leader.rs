//! What a leader knows of its followers, and what that commits.

use std::collections::BTreeMap;

use holdfast_protocol::{
    BrokerId, Epoch, Incarnation, Member, Position, ShardRecord, Version, mark,
};

use super::message::FetchKey;
use super::rules::{Rule, Rules};

/// A follower as its fetches in this epoch show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    pub(super) incarnation: Incarnation,
    /// Its log is known to match the leader's up to here.
    pub(super) position: Position,
    /// And it holds it up to here.
    pub(super) held: Position,
    /// When it last was at the leader's end.
    pub(super) caught_up_ms: u64,
    /// Where the leader's end was at its last fetch, and when that was.
    pub(super) end_at_fetch: (Position, u64),
    /// A fetch that waits for entries.
    pub(super) waiting: Option<FetchKey>,
    /// The commit position that it was last told.
    pub(super) told: Position,
    /// The newest record that it is known to have taken; `None` where it does not tell.
    pub(super) record: Option<Version>,
}

impl Progress {
    /// Whether it has taken the record of this name. An older release does not say.
    pub(super) fn has_taken(&self, name: Version) -> bool {
        self.record.is_none_or(|taken| taken.is_same_as(name))
    }
}

/// A membership that was asked for. It counts beside the recorded one until a newer record is
/// seen: a refusal answers one copy of the request, and another may still be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Proposal {
    pub(super) isr: Vec<Member>,
    /// When it was last sent.
    pub(super) sent_ms: u64,
    /// It was refused: the present membership is asked for instead, since any write makes the
    /// record newer, and with it every copy of the old request void.
    pub(super) is_withdrawn: bool,
}

/// The state of a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leader {
    pub(super) epoch: Epoch,
    /// Position of the epoch start; nothing is committed before it is.
    pub(super) start: Position,
    pub(super) since_ms: u64,
    pub(super) followers: BTreeMap<BrokerId, Progress>,
    /// What was asked for under the present record, while its fate is unknown.
    pub(super) proposal: Option<Proposal>,
    /// Nothing else is asked for before, as the last wish was refused.
    pub(super) quiet_until_ms: u64,
    rules: Rules,
}

impl Leader {
    pub(super) fn new(epoch: Epoch, start: Position, now_ms: u64, rules: Rules) -> Self {
        Self {
            epoch,
            start,
            since_ms: now_ms,
            followers: BTreeMap::new(),
            proposal: None,
            quiet_until_ms: 0,
            rules,
        }
    }

    /// How far everything is held by every member of the maximal ISR: the recorded one and the
    /// proposed one together. `own` is what this leader holds itself.
    fn held_by_all(&self, record: &ShardRecord, me: Member, own: Position) -> Position {
        if !self.rules.keep(Rule::EveryMember) {
            return own;
        }
        let union = self.rules.keep(Rule::Union);
        let any_log = !self.rules.keep(Rule::Incarnation);
        let proposed = self.proposal.iter().filter(|_| union).flat_map(|proposal| &proposal.isr);
        if !self.is_in_force(record, me) {
            return Position(0);
        }
        record
            .isr
            .iter()
            .chain(proposed)
            .map(|member| {
                if member.broker == me.broker {
                    let mine = any_log || member.incarnation == me.incarnation;
                    return if mine { own } else { Position(0) };
                }
                self.followers
                    .get(&member.broker)
                    .filter(|progress| any_log || progress.incarnation == member.incarnation)
                    .map_or(Position(0), |progress| progress.held)
            })
            .min()
            .unwrap_or(Position(0))
    }

    /// Whether every member of the recorded ISR has taken the record. A store that was restored
    /// has lost it; but none of so many takes what is written in its place.
    fn is_in_force(&self, record: &ShardRecord, me: Member) -> bool {
        if !self.rules.keep(Rule::TakenRecord) {
            return true;
        }
        let mut others = record.isr.iter().filter(|member| member.broker != me.broker);
        others.all(|member| {
            let progress = self.followers.get(&member.broker);
            progress.is_some_and(|progress| progress.has_taken(record.version))
        })
    }

    /// The commit position that this knowledge allows, if it is past `committed`.
    pub(super) fn committable(
        &self,
        record: &ShardRecord,
        me: Member,
        own: Position,
        committed: Position,
    ) -> Option<Position> {
        if !record.may_commit() && self.rules.keep(Rule::StrictMinimum) {
            mark!(BelowMinimum);
            return None;
        }
        let held = self.held_by_all(record, me, own);
        let begun = held > self.start || !self.rules.keep(Rule::EpochStart);
        (begun && held > committed).then_some(held)
    }

    /// Whether `broker` may join: it has fetched in this epoch, up to the commit position and
    /// past the epoch start.
    fn eligible(&self, progress: &Progress, committed: Position) -> bool {
        let joins_anywhere = !self.rules.keep(Rule::JoinAtCommit);
        let begun = progress.held > self.start || !self.rules.keep(Rule::EpochStart);
        joins_anywhere || progress.held >= committed && begun
    }

    /// Whether the log that `broker` fetches for is in sync by the record.
    fn is_in_sync(&self, record: &ShardRecord, broker: BrokerId, progress: &Progress) -> bool {
        let named = record.in_sync(broker);
        named == Some(progress.incarnation)
            || named.is_some() && !self.rules.keep(Rule::Incarnation)
    }

    /// The membership that should be recorded in place of the present one, if another.
    pub(super) fn wanted_isr(
        &self,
        record: &ShardRecord,
        me: Member,
        view: View,
    ) -> Option<Vec<Member>> {
        let ready: Vec<Member> = self
            .followers
            .iter()
            .filter(|(broker, progress)| {
                record.replicas.contains(broker)
                    && !self.is_in_sync(record, **broker, progress)
                    && !self.lags(**broker, view)
                    && self.eligible(progress, view.committed)
            })
            .map(|(broker, progress)| Member { broker: *broker, incarnation: progress.incarnation })
            .collect();
        // A broker that came back under another log takes the place of its old one.
        let mut isr: Vec<Member> = record
            .isr
            .iter()
            .filter(|member| ready.iter().all(|other| other.broker != member.broker))
            .copied()
            .chain(ready.iter().copied())
            .collect();
        let keeps_floor = self.rules.keep(Rule::Floor);
        let floor = if keeps_floor { record.min_in_sync_replicas as usize } else { 1 };
        let lagging: Vec<Member> = isr
            .iter()
            .filter(|member| member.broker != me.broker && !ready.contains(member))
            .filter(|member| self.is_out(**member, view))
            .copied()
            .collect();
        for member in lagging {
            if isr.len() > floor {
                isr.retain(|other| *other != member);
            }
        }
        isr.sort_unstable();
        let mut present = record.isr.clone();
        present.sort_unstable();
        if isr != present && isr.len() == present.len() {
            mark!(IsrSwapped);
        }
        (isr != present).then_some(isr)
    }

    /// Whether a member should leave: it lags, or another log stands under its name.
    fn is_out(&self, member: Member, view: View) -> bool {
        let other_log = self
            .followers
            .get(&member.broker)
            .is_some_and(|progress| progress.incarnation != member.incarnation)
            && self.rules.keep(Rule::Incarnation);
        other_log || self.lags(member.broker, view)
    }

    /// Whether a follower was not at the leader's end for longer than allowed.
    fn lags(&self, broker: BrokerId, view: View) -> bool {
        let since =
            self.followers.get(&broker).map_or(self.since_ms, |progress| progress.caught_up_ms);
        let behind = self.followers.get(&broker).is_none_or(|progress| {
            progress.held < view.end
                || view.now_ms.saturating_sub(progress.end_at_fetch.1) > view.lag_ms_max
        });
        behind && view.now_ms.saturating_sub(since) > view.lag_ms_max
    }
}

/// What of the replica a leader's decisions depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) now_ms: u64,
    pub(super) end: Position,
    pub(super) committed: Position,
    pub(super) lag_ms_max: u64,
}
