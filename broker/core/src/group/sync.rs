//! Sync and heartbeat: what members of a generation do.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_protocol::group::{Answer, Error, Generation, Heartbeat, Sync, Synced};

use super::effects::{Change, Effects};
use super::limits::ASSIGNMENT_BYTES_MAX;
use super::state::{Group, Phase};
use super::{Coordinator, KeepError, Token, kept};

impl Coordinator {
    pub(super) fn sync(&mut self, token: Token, sync: &Sync) {
        let result = match self.find(&sync.group) {
            Some((group, fx)) => group.sync(fx, token, sync),
            None => Err(Error::UnknownMember),
        };
        self.fx.answer_error(token, result);
        self.settle(&sync.group);
    }

    pub(super) fn heartbeat(&mut self, token: Token, heartbeat: &Heartbeat) {
        let result = match self.find(&heartbeat.group) {
            Some((group, fx)) => group.heartbeat(fx, heartbeat),
            None => Err(Error::UnknownMember),
        };
        // Nothing is due earlier than before, so the group's place in time may stay.
        self.fx.answer(token, result.map(|()| Answer::Heartbeat));
    }
}

impl Group {
    fn sync(&mut self, fx: &mut Effects, token: Token, sync: &Sync) -> Result<(), Error> {
        if matches!(self.phase, Phase::Dead) {
            return Err(Error::CoordinatorNotAvailable);
        }
        self.check_generation(&sync.member, sync.instance.as_deref(), sync.generation)?;
        let differs = |asked: &Option<String>, ours: &Option<String>| {
            asked.is_some() && asked.as_deref() != ours.as_deref()
        };
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            return Err(Error::InconsistentProtocol);
        }
        match &self.phase {
            Phase::Empty { .. } | Phase::Dead => Err(Error::UnknownMember),
            Phase::Preparing { .. } => Err(Error::RebalanceInProgress),
            Phase::Completing { assignments, .. } => {
                let is_awaited = self.is_leader(&sync.member) && assignments.is_none();
                self.sync_completing(fx, token, sync, is_awaited)
            }
            Phase::Stable { .. } => {
                self.has_synced(&sync.member);
                self.answer_sync(fx, token, &sync.member);
                Ok(())
            }
        }
    }

    /// The caller waits for the leader's assignment, or brings it.
    fn sync_completing(
        &mut self,
        fx: &mut Effects,
        token: Token,
        sync: &Sync,
        is_awaited: bool,
    ) -> Result<(), Error> {
        let assignments = if is_awaited {
            fx.check_room()?;
            Some(self.assignments_of(sync)?)
        } else {
            None
        };
        if let Some(member) = self.members.get_mut(&sync.member)
            && let Some(earlier) = member.sync.replace(token)
        {
            // Most likely nobody hears it: the client has repeated itself on a new connection.
            fx.answer(earlier, Err(Error::RebalanceInProgress));
        }
        self.has_synced(&sync.member);
        if let Some(given) = assignments {
            let state = kept::encode(self, Some(&given));
            if let Phase::Completing { assignments, .. } = &mut self.phase {
                *assignments = Some(given);
            }
            self.is_recorded = true;
            let change =
                Change::Generation { group: self.name.clone(), generation: self.generation };
            fx.keep(&self.name, state, change);
        }
        Ok(())
    }

    /// The leader's assignments of those who are members.
    fn assignments_of(&self, sync: &Sync) -> Result<BTreeMap<String, Bytes>, Error> {
        let of_members = || {
            let given = sync.assignments.iter();
            given.filter(|(id, _)| self.members.contains_key(id))
        };
        let bytes = of_members().map(|(_, assignment)| assignment.len()).sum();
        if bytes > ASSIGNMENT_BYTES_MAX {
            return Err(Error::AssignmentTooLarge { bytes, max: ASSIGNMENT_BYTES_MAX });
        }
        // Copies, for the same reason as with the metadata of members.
        Ok(of_members()
            .map(|(id, assignment)| (id.clone(), Bytes::copy_from_slice(assignment)))
            .collect())
    }

    /// The leader's assignments are committed, or could not be kept.
    pub(super) fn generation_kept(
        &mut self,
        fx: &mut Effects,
        generation: Generation,
        result: Result<(), KeepError>,
    ) {
        if self.generation != generation {
            return;
        }
        let Phase::Completing { sync_ms, assignments: Some(assignments) } = &mut self.phase else {
            return;
        };
        if result.is_err() {
            self.fail_syncs(fx, &Error::CoordinatorNotAvailable);
            self.prepare_rebalance(fx);
            self.complete_join_if_ready(fx);
            return;
        }
        let (sync_ms, mut assignments) = (*sync_ms, std::mem::take(assignments));
        self.phase = Phase::Stable { sync_ms };
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            member.assignment = assignments.remove(&id).unwrap_or_default();
            if let Some(token) = member.sync.take() {
                self.answer_sync(fx, token, &id);
            }
        }
    }

    fn answer_sync(&mut self, fx: &mut Effects, token: Token, id: &str) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.touch(fx.now_ms);
        member.is_assigned = true;
        let synced = Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment: member.assignment.clone(),
        };
        fx.answer(token, Ok(Answer::Sync(synced)));
    }

    fn has_synced(&mut self, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.has_synced = true;
        }
        if self.members.values().all(|member| member.has_synced) {
            self.set_sync_deadline(None);
        }
    }

    fn heartbeat(&mut self, fx: &mut Effects, heartbeat: &Heartbeat) -> Result<(), Error> {
        if matches!(self.phase, Phase::Dead) {
            return Err(Error::CoordinatorNotAvailable);
        }
        self.check_generation(
            &heartbeat.member,
            heartbeat.instance.as_deref(),
            heartbeat.generation,
        )?;
        self.heard_of(fx, &heartbeat.member);
        match self.phase {
            Phase::Empty { .. } | Phase::Dead => Err(Error::UnknownMember),
            Phase::Preparing { .. } => Err(Error::RebalanceInProgress),
            Phase::Completing { .. } | Phase::Stable { .. } => Ok(()),
        }
    }

    /// The member's session begins anew. Who waits for a first answer has none yet.
    pub(super) fn heard_of(&mut self, fx: &Effects, id: &str) {
        if let Some(member) = self.members.get_mut(id)
            && !member.is_new
        {
            member.touch(fx.now_ms);
        }
    }
}
