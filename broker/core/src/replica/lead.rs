//! The leader half of a replica: appending, serving fetches, committing, the ISR.

use bytes::Bytes;
use holdfast_protocol::entry::Entries;
use holdfast_protocol::{BrokerId, Epoch, Member, Position, mark};

use super::leader::{Leader, Progress, Proposal, View};
use super::message::{Answer, Fetch, FetchKey, IsrRequest, Outcome, Output};
use super::{Replica, Role, Rule};

impl Replica {
    /// Begins an epoch. The caller appends the epoch start at once ([`Replica::handle_appended`]).
    pub(super) fn lead(&mut self, epoch: Epoch, now_ms: u64) {
        self.role = Role::Leader(Leader::new(epoch, self.end, now_ms, self.settings.rules));
    }

    /// The epoch whose start this leader has still to append.
    #[must_use]
    pub fn wants_epoch_start(&self) -> Option<Epoch> {
        let begins = self.settings.rules.keep(Rule::EpochStart);
        self.leads().filter(|epoch| begins && *epoch > self.history.last())
    }

    /// Entries of the present epoch, up to `next`, were appended by this leader itself.
    ///
    /// # Panics
    /// Where this replica does not lead: nothing else may be appended then.
    pub fn handle_appended(&mut self, entries: Entries, next: Position, now_ms: u64) {
        let epoch = self.leads().expect("only a leader appends entries of its own");
        assert!(next > self.end, "an append ends past the log's end");
        self.history.note(epoch, self.end);
        self.end = next;
        self.outputs.push_back(Output::Append(entries));
        self.serve_waiting();
        self.advance(now_ms);
        self.tell_commit(now_ms);
    }

    /// A follower fetches. One that knows a newer epoch than this replica waits for its record,
    /// which is on its way here too: a refusal would cost it the pause before it asks again.
    pub fn handle_fetch(&mut self, from: BrokerId, fetch: Fetch, now_ms: u64) {
        if fetch.key.epoch > self.epoch() && self.serves(from) {
            mark!(FetchEarly);
            self.early.insert(from, fetch);
            return;
        }
        self.early.remove(&from);
        let outcome = match &self.role {
            Role::Leader(leader)
                if self.serves(from)
                    && (leader.epoch == fetch.key.epoch
                        || !self.settings.rules.keep(Rule::FetchEpoch)) =>
            {
                self.check(&fetch)
            }
            Role::Leader(_) | Role::Idle | Role::Follower { .. } | Role::Halted => {
                if self.leads().is_some() {
                    mark!(EpochFenced);
                }
                Some(Outcome::Refused { epoch: self.epoch() })
            }
        };
        if let Some(outcome) = outcome {
            self.outputs.push_back(Output::Answer(from, Answer { key: fetch.key, outcome }));
            return;
        }
        self.note_progress(from, &fetch, now_ms);
        self.catch_up(from);
        self.advance(now_ms);
        self.serve(from);
        self.tell_commit(now_ms);
        self.review_isr(now_ms);
    }

    /// Takes the fetches that waited for a record, as if they came now.
    pub(super) fn take_early(&mut self, now_ms: u64) {
        for (from, fetch) in std::mem::take(&mut self.early) {
            self.handle_fetch(from, fetch, now_ms);
        }
    }

    /// Whether `broker` may fetch here; what others say is not kept.
    fn serves(&self, broker: BrokerId) -> bool {
        self.record.as_ref().is_some_and(|record| self.may_follow(record, broker))
    }

    /// Whether the follower's log matches up to where it says; if not, what to answer.
    fn check(&self, fetch: &Fetch) -> Option<Outcome> {
        let key = fetch.key;
        let (epoch, end) = self.history.end_of(key.last_epoch, self.end);
        let compares = self.settings.rules.keep(Rule::EpochHistory);
        if compares && key.position > Position(0) && (epoch != key.last_epoch || key.position > end)
        {
            mark!(LogsPart);
            return Some(Outcome::Diverged { epoch, end: end.min(key.position) });
        }
        // One that is being built takes gaps, but only those that its checkpoint stands for.
        if key.position < self.clean_point && fetch.gaps_until < self.clean_point {
            mark!(CheckpointNeeded);
            return Some(Outcome::NeedCheckpoint);
        }
        None
    }

    fn note_progress(&mut self, from: BrokerId, fetch: &Fetch, now_ms: u64) {
        let end = self.end;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let fresh = Progress {
            incarnation: fetch.incarnation,
            position: Position(0),
            held: Position(0),
            // As if it had been there when the epoch began: it has time to catch up.
            caught_up_ms: leader.since_ms,
            end_at_fetch: (end, now_ms),
            waiting: None,
            told: fetch.committed,
            record: fetch.record,
        };
        let progress = leader.followers.entry(from).or_insert_with(|| fresh.clone());
        if progress.incarnation != fetch.incarnation {
            *progress = fresh;
        }
        let held = fetch.held.min(fetch.key.position);
        // A replica that is being built holds nothing until it is whole.
        let held = if fetch.key.position < fetch.gaps_until { Position(0) } else { held };
        progress.position = fetch.key.position;
        progress.held = progress.held.max(held);
        progress.told = progress.told.max(fetch.committed);
        if progress.held >= end {
            progress.caught_up_ms = now_ms;
        } else if progress.held >= progress.end_at_fetch.0 {
            progress.caught_up_ms = progress.caught_up_ms.max(progress.end_at_fetch.1);
        }
        progress.end_at_fetch = (end, now_ms);
        progress.waiting = Some(fetch.key);
        // A fetch that comes late names an older one.
        progress.record = progress.record.max(fetch.record);
    }

    /// Gives a waiting follower the record, where it has taken an older one: nothing is committed
    /// before it has this one, and the operator may be away.
    fn catch_up(&mut self, to: BrokerId) {
        let gives = self.keeps(Rule::TakenRecord);
        let (Role::Leader(leader), Some(record)) = (&mut self.role, &self.record) else {
            return;
        };
        let Some(progress) = leader.followers.get_mut(&to).filter(|_| gives) else {
            return;
        };
        let is_behind = progress.record.is_some_and(|taken| {
            !taken.is_same_as(record.version) && record.descends_from(taken) != Some(false)
        });
        if is_behind && let Some(key) = progress.waiting.take() {
            let outcome = Outcome::Behind(Box::new(record.clone()));
            self.outputs.push_back(Output::Answer(to, Answer { key, outcome }));
        }
    }

    /// Gives all waiting followers the record that is new here.
    pub(super) fn tell_record(&mut self) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let followers: Vec<BrokerId> = leader.followers.keys().copied().collect();
        for follower in followers {
            self.catch_up(follower);
        }
    }

    /// Serves the waiting fetch of one follower, if there is something for it.
    fn serve(&mut self, to: BrokerId) {
        let (end, committed) = (self.end, self.committed);
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.followers.get_mut(&to) else {
            return;
        };
        let Some(key) = progress.waiting.take_if(|key| key.position < end) else {
            return;
        };
        progress.told = progress.told.max(committed);
        self.outputs.push_back(Output::Serve { to, key, end, committed });
    }

    fn serve_waiting(&mut self) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let followers: Vec<BrokerId> = leader.followers.keys().copied().collect();
        for follower in followers {
            self.serve(follower);
        }
    }

    /// Tells of a newer commit position at once, where that is wanted. Only after fetches that
    /// have entries to get were served.
    pub(super) fn tell_commit(&mut self, now_ms: u64) {
        if self.settings.tells_commits {
            self.tell_waiting(now_ms);
        }
    }

    /// Answers waiting fetches that have no entries to get, but a newer commit position, or
    /// that have waited long.
    pub(super) fn tell_waiting(&mut self, now_ms: u64) {
        let (end, committed) = (self.end, self.committed);
        let idle_ms = self.settings.idle_ms;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        for (broker, progress) in &mut leader.followers {
            let idle = now_ms.saturating_sub(progress.end_at_fetch.1) >= idle_ms;
            let news = progress.told < committed.min(progress.position);
            let Some(key) = progress.waiting.take_if(|_| idle || news) else {
                continue;
            };
            progress.told = committed;
            let outcome = Outcome::Data { entries: Bytes::new(), committed, next: key.position };
            debug_assert!(key.position >= end, "a fetch with entries to get is served at once");
            self.outputs.push_back(Output::Answer(*broker, Answer { key, outcome }));
        }
    }

    /// The connection to a follower is gone: what it waited for is not answered.
    pub fn handle_follower_gone(&mut self, broker: BrokerId) {
        self.early.remove(&broker);
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if let Some(progress) = leader.followers.get_mut(&broker) {
            progress.waiting = None;
        }
    }

    /// Moves the commit position as far as the maximal ISR allows.
    pub(super) fn advance(&mut self, _now_ms: u64) {
        let own = self.held();
        let (Role::Leader(leader), Some(record)) = (&self.role, &self.record) else {
            return;
        };
        if let Some(committed) = leader.committable(record, self.me, own, self.committed) {
            self.committed = committed;
        }
    }

    /// Whether enough replicas are in sync for anything to be committed now.
    #[must_use]
    pub fn may_commit(&self) -> bool {
        self.record.as_ref().is_some_and(holdfast_protocol::ShardRecord::may_commit)
    }

    /// Proposes another ISR where that is due, or repeats the wish whose fate is unknown.
    pub(super) fn review_isr(&mut self, now_ms: u64) {
        let view = View {
            now_ms,
            end: self.end,
            committed: self.committed,
            lag_ms_max: self.settings.lag_ms_max,
        };
        let (me, retry_ms) = (self.me, self.settings.isr_retry_ms);
        let (Role::Leader(leader), Some(record)) = (&mut self.role, &self.record) else {
            return;
        };
        match &mut leader.proposal {
            Some(proposal) if now_ms.saturating_sub(proposal.sent_ms) < retry_ms => return,
            Some(proposal) => {
                mark!(WishRepeated);
                proposal.sent_ms = now_ms;
            }
            None if now_ms < leader.quiet_until_ms => return,
            None => {
                let Some(isr) = leader.wanted_isr(record, me, view) else { return };
                // From here on the union of both memberships must hold what is committed.
                leader.proposal = Some(Proposal { isr, sent_ms: now_ms, is_withdrawn: false });
            }
        }
        self.request_isr();
    }

    fn request_isr(&mut self) {
        let (Role::Leader(leader), Some(record)) = (&self.role, &self.record) else { return };
        let Some(proposal) = &leader.proposal else { return };
        let isr = if proposal.is_withdrawn { &record.isr } else { &proposal.isr };
        self.outputs.push_back(Output::RequestIsr(IsrRequest {
            expected: record.version,
            epoch: record.epoch,
            isr: isr.clone(),
        }));
    }

    /// The operator refuses the wish under `expected`. Whether another copy of it is written
    /// nobody knows, so it is withdrawn: by asking for what is recorded already.
    pub fn handle_isr_refused(&mut self, expected: holdfast_protocol::Version, now_ms: u64) {
        let (Role::Leader(leader), Some(record)) = (&mut self.role, &self.record) else {
            return;
        };
        let Some(proposal) = leader.proposal.as_mut().filter(|p| !p.is_withdrawn) else {
            return;
        };
        if record.version == expected {
            mark!(WishWithdrawn);
            proposal.is_withdrawn = true;
            proposal.sent_ms = now_ms;
            self.request_isr();
            if !self.settings.rules.keep(Rule::KeepProposal) {
                self.forget_proposal(now_ms);
                self.advance(now_ms);
            }
        }
    }

    /// A newer record of the same epoch: what was asked for under the old one was written just
    /// now, or never will be.
    pub(super) fn forget_proposal(&mut self, now_ms: u64) {
        let quiet_ms = self.settings.isr_retry_ms;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(settled) = leader.proposal.take() else { return };
        mark!(WishSettled);
        if settled.is_withdrawn {
            leader.quiet_until_ms = now_ms + quiet_ms;
        }
    }

    /// The followers as this leader knows them: who, and up to where its log matches.
    pub fn followers(&self) -> impl Iterator<Item = (Member, Position)> + '_ {
        let leader = match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Idle | Role::Follower { .. } | Role::Halted => None,
        };
        leader.into_iter().flat_map(|leader| {
            leader.followers.iter().map(|(broker, progress)| {
                let member = Member { broker: *broker, incarnation: progress.incarnation };
                (member, progress.position)
            })
        })
    }

    /// The answer that carries what was read for an [`Output::Serve`].
    #[must_use]
    pub fn data(key: FetchKey, entries: Bytes, next: Position, committed: Position) -> Answer {
        Answer { key, outcome: Outcome::Data { entries, committed, next } }
    }
}
