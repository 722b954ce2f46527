//! The follower half of a replica: fetching, and cutting where logs part.

use bytes::Bytes;
use holdfast_protocol::entry::Entries;
use holdfast_protocol::{BrokerId, Epoch, Header, Incarnation, Position, mark};

use super::message::{Answer, Fault, Fetch, FetchKey, Outcome, Output};
use super::{History, Replica, Role, Rule, Settings};

impl Replica {
    fn key(&self) -> FetchKey {
        FetchKey {
            epoch: self.epoch(),
            position: self.end,
            last_epoch: self.history.before(self.end),
        }
    }

    /// Asks the leader for what comes next, and tells it what is held.
    pub(super) fn fetch(&mut self) {
        let (key, held) = (self.key(), self.held());
        let fetch = Fetch {
            key,
            incarnation: self.me.incarnation,
            held,
            committed: self.committed,
            gaps_until: self.gaps_until,
            record: self.record.as_ref().map(|record| record.version),
        };
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        follower.asked = Some(key);
        follower.reported = held;
        follower.refused_ms = None;
        follower.unanswered_ms = None;
        let leader = follower.leader;
        self.outputs.push_back(Output::Fetch(leader, fetch));
    }

    /// Repeats a fetch that was refused, or that seems lost: it, its answer, or an older one that
    /// came late and took its place at the leader.
    pub(super) fn fetch_again(&mut self, now_ms: u64) {
        let Settings { refetch_ms, idle_ms, .. } = self.settings;
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        let due_ms = match follower.refused_ms {
            Some(refused_ms) => refused_ms + refetch_ms,
            None => *follower.unanswered_ms.get_or_insert(now_ms) + 3 * idle_ms,
        };
        if now_ms >= due_ms {
            self.fetch();
        }
    }

    /// The connection to a leader stands, again or for the first time.
    pub fn handle_connected(&mut self, broker: BrokerId) {
        if self.follows() == Some(broker) {
            self.fetch();
        }
    }

    /// The leader answers.
    pub fn handle_answer(&mut self, from: BrokerId, answer: Answer, now_ms: u64) {
        let now = self.key();
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        let asked = follower.leader == from && follower.asked == Some(answer.key);
        let mut moved = !asked || answer.key != now;
        if !self.settings.rules.keep(Rule::DropMoved) {
            moved = answer.key.position != now.position;
        } else if !self.settings.rules.keep(Rule::MatchLastEpoch) {
            let FetchKey { epoch, position, .. } = now;
            moved = follower.leader != from
                || (answer.key.epoch, answer.key.position) != (epoch, position);
        }
        if moved {
            mark!(AnswerTooLate);
            return;
        }
        follower.asked = None;
        match answer.outcome {
            Outcome::Data { entries, committed, next } => {
                self.take(entries, committed, next, now_ms)
            }
            Outcome::Diverged { epoch, end } => self.part(epoch, end, now_ms),
            // A newer record is on its way, or the leader has not seen its own yet.
            Outcome::Refused { .. } => follower.refused_ms = Some(now_ms),
            Outcome::Behind(record) => {
                follower.refused_ms = Some(now_ms);
                if record.leader.is_some_and(|leader| leader.broker == from) {
                    mark!(RecordFromLeader);
                    self.handle_record(*record, now_ms);
                }
            }
            Outcome::NeedCheckpoint => self.ask_for_checkpoint(now_ms),
        }
    }

    /// Asks to be built anew; and fetches again later, should nothing come of it.
    fn ask_for_checkpoint(&mut self, now_ms: u64) {
        let key = self.key();
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        follower.bootstrap = Some(key);
        follower.refused_ms = Some(now_ms);
        self.outputs.push_back(Output::Bootstrap(follower.leader));
    }

    /// Whether its log is still the one for which a checkpoint was asked. A checkpoint that
    /// comes when the log has moved on, perhaps into the in-sync replicas, comes too late: the
    /// log must not be set aside then.
    #[must_use]
    pub fn wants_bootstrap(&self) -> bool {
        match &self.role {
            Role::Follower(follower) => follower.bootstrap == Some(self.key()),
            Role::Idle | Role::Leader(_) | Role::Halted => false,
        }
    }

    fn take(&mut self, bytes: Bytes, committed: Position, next: Position, now_ms: u64) {
        let Ok(entries) = Entries::verify(bytes) else {
            // Damaged on the way or at the leader, or of a release that this one does not know.
            // This log is well, so it has no reason to stop.
            mark!(EntryNotTaken);
            if let Role::Follower(follower) = &mut self.role {
                follower.refused_ms = Some(now_ms);
            }
            return;
        };
        if self.is_bootstrapping() && self.met_unclean_election() {
            // The elected log may part from that of the checkpoint anywhere below its position.
            mark!(CheckpointOutdated);
            self.ask_for_checkpoint(now_ms);
            return;
        }
        match self.follows_on(entries.headers(), next) {
            Ok(()) => {
                for header in entries.headers() {
                    // The history of a checkpoint covers the entries that fill it in.
                    if header.epoch > self.history.last() {
                        self.history.note(header.epoch, header.position);
                    }
                }
                self.end = next;
                if !entries.is_empty() {
                    self.outputs.push_back(Output::Append(entries));
                }
                self.committed = self.committed.max(committed.min(self.end));
                self.fetch();
            }
            Err(why) => self.halt(Fault::Entries(why)),
        }
    }

    /// Checks that the entries continue this log up to `next`.
    fn follows_on(&self, headers: &[Header], next: Position) -> Result<(), String> {
        let mut expected = self.end;
        let mut last = self.history.last();
        for header in headers {
            // What is missing is below `gaps_until`; what comes after it may be just there.
            let gap = header.position > expected && header.position <= self.gaps_until;
            if gap {
                mark!(GapFollowed);
            }
            if header.position != expected && !gap {
                return Err(format!("position {} where {expected} follows", header.position));
            }
            // While a checkpoint is being filled in, its own history already covers the entries.
            let known = header.position < self.gaps_until;
            if header.epoch > self.epoch() || header.epoch < last && !known {
                return Err(format!("epoch {} after {last} at {expected}", header.epoch));
            }
            let own = self.history.before(header.position.next());
            if known && header.epoch != own {
                return Err(format!(
                    "epoch {} at {}, where the checkpoint has {own}",
                    header.epoch, header.position
                ));
            }
            last = last.max(header.epoch);
            expected = header.position.next();
        }
        let gap = next > expected && next <= self.gaps_until;
        if gap {
            mark!(GapFollowed);
        }
        if next != expected && !gap {
            return Err(format!("the next position is said to be {next}, not {expected}"));
        }
        Ok(())
    }

    /// The logs part: cut, unless that would lose what is committed.
    fn part(&mut self, epoch: Epoch, end: Position, now_ms: u64) {
        let (_, own) = self.history.end_of(epoch, self.end);
        let to = own.min(end);
        // What a checkpoint stands for is committed, also where it is not filled in yet.
        let committed = self.committed.max(self.gaps_until);
        if to < committed && self.settings.rules.keep(Rule::RefuseCut) {
            self.part_below_committed(to, committed, now_ms);
            return;
        }
        if to < self.end {
            mark!(CutUncommitted);
            self.end = to;
            self.durable = self.durable.min(to);
            // Only where tests have let it be cut below.
            self.committed = self.committed.min(to);
            self.history.truncate(to);
            self.outputs.push_back(Output::Truncate(to));
        }
        self.fetch();
    }

    /// Only an unclean election that was recorded after this log's last entry allows this: the
    /// replica is then built anew. Otherwise it stops, and keeps all that it has.
    fn part_below_committed(&mut self, to: Position, committed: Position, now_ms: u64) {
        if self.met_unclean_election() {
            mark!(CutAfterUnclean);
            self.ask_for_checkpoint(now_ms);
            return;
        }
        mark!(CutRefused);
        self.halt(Fault::TruncateBelowCommitted { epoch: self.epoch(), to, committed });
    }

    /// Whether there was an unclean election after the last epoch of its log, and after its
    /// checkpoint was made.
    fn met_unclean_election(&self) -> bool {
        let unclean = self.record.as_ref().and_then(|record| record.unclean_epoch);
        unclean.is_some_and(|epoch| epoch > self.history.last().max(self.checkpoint_epoch))
    }

    /// It may not go on.
    pub(crate) fn halt(&mut self, fault: Fault) {
        self.role = Role::Halted;
        self.outputs.push_back(Output::Halt(fault));
    }

    /// The log was set aside, as [`Replica::wants_bootstrap`] allowed, and begins anew at `start` under another incarnation, with the
    /// history of a checkpoint that stands for everything below `position`. Entries from `start`
    /// on are fetched with gaps.
    pub fn handle_bootstrap(
        &mut self,
        incarnation: Incarnation,
        start: Position,
        position: Position,
        history: History,
    ) {
        self.me.incarnation = incarnation;
        self.end = start.min(position);
        self.durable = self.end;
        self.history = history;
        self.committed = self.end;
        self.gaps_until = position;
        self.checkpoint_epoch = self.epoch();
        self.clean_point = position;
        self.fetch();
    }
}
