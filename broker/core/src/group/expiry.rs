//! What happens in a group because time has passed.

use holdfast_protocol::command;

use super::effects::{Change, Effects};
use super::limits::RETIRE_CHECK_MS;
use super::state::{Group, Phase};

impl Group {
    /// Does what is due. `has_offsets` tells whether the shard's state holds cursors of the group.
    pub(super) fn tick(&mut self, fx: &mut Effects, has_offsets: impl FnOnce(&str) -> bool) {
        self.expire(fx);
        if matches!(self.phase, Phase::Empty { check_ms } if check_ms <= fx.now_ms) {
            self.retire(fx, has_offsets);
        }
    }

    /// Ends the sessions and waits that are over.
    pub(super) fn expire(&mut self, fx: &mut Effects) {
        let now_ms = fx.now_ms;
        let pending_before = self.pending.len();
        self.pending.retain(|_, void_ms| *void_ms > now_ms);
        if self.pending.len() != pending_before {
            self.complete_join_if_ready(fx);
        }
        self.expire_sessions(fx);
        match &self.phase {
            Phase::Preparing { deadline_ms, .. } if *deadline_ms <= now_ms => {
                self.join_wait_over(fx);
            }
            Phase::Completing { sync_ms, .. } | Phase::Stable { sync_ms }
                if sync_ms.is_some_and(|sync_ms| sync_ms <= now_ms) =>
            {
                self.expire_syncs(fx);
            }
            Phase::Empty { .. }
            | Phase::Preparing { .. }
            | Phase::Completing { .. }
            | Phase::Stable { .. }
            | Phase::Dead => {}
        }
    }

    fn expire_sessions(&mut self, fx: &mut Effects) {
        let silent: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| member.expires_ms().is_some_and(|at| at <= fx.now_ms))
            .map(|(id, _)| id.clone())
            .collect();
        if silent.is_empty() {
            return;
        }
        for id in silent {
            self.remove(fx, &id);
        }
        self.after_removal(fx);
    }

    /// Who never asked for an assignment is out.
    fn expire_syncs(&mut self, fx: &mut Effects) {
        let absent: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| !member.has_synced)
            .map(|(id, _)| id.clone())
            .collect();
        self.set_sync_deadline(None);
        if absent.is_empty() {
            return;
        }
        for id in absent {
            self.remove(fx, &id);
        }
        self.after_removal(fx);
    }

    /// Until when members may ask for their assignment; nothing where they are past that.
    pub(super) fn set_sync_deadline(&mut self, deadline_ms: Option<u64>) {
        if let Phase::Completing { sync_ms, .. } | Phase::Stable { sync_ms } = &mut self.phase {
            *sync_ms = deadline_ms;
        }
    }

    /// Drops a group that has neither members nor cursors, so that names used once don't add up.
    fn retire(&mut self, fx: &mut Effects, has_offsets: impl FnOnce(&str) -> bool) {
        let is_used = self.commits_in_flight > 0
            || !self.pending.is_empty()
            || fx.check_room().is_err()
            || has_offsets(&self.name);
        if is_used {
            self.phase = Phase::Empty { check_ms: fx.after(RETIRE_CHECK_MS) };
        } else {
            self.drop_whole(fx, None);
        }
    }

    /// Has the log drop the group and its cursors; `of` is its place in a deletion, if any.
    pub(super) fn drop_whole(&mut self, fx: &mut Effects, of: Option<(u64, usize)>) {
        self.phase = Phase::Dead;
        self.pending.clear();
        let command =
            command::DropOffsets { group: self.name.clone(), streams: Vec::new(), group_too: true };
        let group = self.name.clone();
        fx.drop(command, Change::Deleted { group, of });
    }

    /// The drop could not be kept.
    pub(super) fn revive(&mut self, fx: &Effects) {
        self.phase = Phase::Empty { check_ms: fx.after(RETIRE_CHECK_MS) };
    }
}
