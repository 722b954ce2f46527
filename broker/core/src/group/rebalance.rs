//! How a group gets from one generation to the next, and how members leave it.

use holdfast_protocol::group::{Answer, Error};

use super::effects::{Change, Effects};
use super::kept;
use super::limits::{INITIAL_REBALANCE_DELAY_MS, RETIRE_CHECK_MS};
use super::state::{Group, Initial, Phase};

impl Group {
    /// Calls for a new generation, unless that has been done.
    pub(super) fn prepare_rebalance(&mut self, fx: &mut Effects) {
        self.phase = match &self.phase {
            Phase::Preparing { .. } | Phase::Dead => return,
            Phase::Empty { .. } => Phase::Preparing {
                deadline_ms: fx.after(INITIAL_REBALANCE_DELAY_MS),
                initial: Some(Initial {
                    remaining_ms: self
                        .rebalance_timeout_ms()
                        .saturating_sub(INITIAL_REBALANCE_DELAY_MS),
                    has_newcomers: false,
                }),
            },
            Phase::Completing { .. } | Phase::Stable { .. } => Phase::Preparing {
                deadline_ms: fx.after(self.rebalance_timeout_ms()),
                initial: None,
            },
        };
        self.fail_syncs(fx, &Error::RebalanceInProgress);
    }

    /// Tells everyone who waits for an assignment that there will be none.
    pub(super) fn fail_syncs(&mut self, fx: &mut Effects, error: &Error) {
        for member in self.members.values_mut() {
            if let Some(token) = member.sync.take() {
                fx.answer(token, Err(error.clone()));
                member.touch(fx.now_ms);
            }
        }
    }

    /// Ends the wait for members where all are there. The first wait of a group is served to
    /// its end.
    pub(super) fn complete_join_if_ready(&mut self, fx: &mut Effects) {
        let is_waiting = matches!(self.phase, Phase::Preparing { initial: None, .. });
        let all_joined = self.members.values().all(|member| member.join.is_some());
        if is_waiting && all_joined && self.pending.is_empty() {
            self.complete_join(fx);
        }
    }

    /// The wait for members is over.
    pub(super) fn join_wait_over(&mut self, fx: &mut Effects) {
        if let Phase::Preparing { deadline_ms, initial: Some(initial) } = &mut self.phase
            && initial.has_newcomers
            && initial.remaining_ms > 0
        {
            let delay_ms = initial.remaining_ms.min(INITIAL_REBALANCE_DELAY_MS);
            initial.remaining_ms -= delay_ms;
            initial.has_newcomers = false;
            *deadline_ms = fx.after(delay_ms);
            return;
        }
        self.complete_join(fx);
    }

    /// Begins the generation of those who have joined, and of static members who have not: they
    /// keep their place until their session ends.
    fn complete_join(&mut self, fx: &mut Effects) {
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| member.join.is_none() && member.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.remove(fx, &id);
        }
        if self.members.is_empty() {
            self.begin_empty(fx);
            return;
        }
        if !self.elect_joined_leader() {
            self.phase = Phase::Preparing {
                deadline_ms: fx.after(self.rebalance_timeout_ms()),
                initial: None,
            };
            return;
        }
        self.generation = self.generation.next();
        self.protocol = self.select_protocol();
        self.phase = Phase::Completing {
            sync_ms: Some(fx.after(self.rebalance_timeout_ms())),
            assignments: None,
        };
        self.answer_joins(fx);
    }

    fn answer_joins(&mut self, fx: &mut Effects) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            member.has_synced = false;
            member.is_assigned = false;
            member.is_new = false;
            member.touch(fx.now_ms);
            if let Some(token) = member.join.take() {
                fx.answer(token, Ok(Answer::Join(joined)));
            }
        }
    }

    fn begin_empty(&mut self, fx: &mut Effects) {
        self.generation = self.generation.next();
        self.protocol = None;
        self.phase = Phase::Empty { check_ms: fx.after(RETIRE_CHECK_MS) };
        self.is_recorded = true;
        fx.keep(&self.name, kept::encode(self, None), Change::Emptied);
    }

    /// Sees to it that the leader is one who has joined; false where nobody has.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined =
            |id: &String| self.members.get(id).is_some_and(|member| member.join.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let mut joined = self.members.iter().filter(|(_, member)| member.join.is_some());
        let Some((id, _)) = joined.next() else {
            return false;
        };
        self.leader = Some(id.clone());
        true
    }

    /// Takes a member out, and tells it so where it waits for an answer. The caller sees to the
    /// rebalance: [`Group::after_removal`].
    pub(super) fn remove(&mut self, fx: &mut Effects, id: &str) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        for token in [member.join, member.sync].into_iter().flatten() {
            fx.answer(token, Err(Error::UnknownMember));
        }
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// The members are fewer, or fewer are waited for: the group goes on without them.
    pub(super) fn after_removal(&mut self, fx: &mut Effects) {
        match self.phase {
            Phase::Stable { .. } | Phase::Completing { .. } => self.prepare_rebalance(fx),
            Phase::Preparing { .. } | Phase::Empty { .. } | Phase::Dead => {}
        }
        self.complete_join_if_ready(fx);
    }
}
