//! Join: become a member, or go on being one.

use holdfast_protocol::group::{Answer, Error, Join};

use super::effects::{Change, Effects, Replaced};
use super::limits::{
    GROUP_MEMBERS_MAX, GROUP_METADATA_BYTES_MAX, INSTANCE_ID_BYTES_MAX, NEW_MEMBER_JOIN_TIMEOUT_MS,
    PENDING_MEMBERS_MAX, PROTOCOL_NAME_BYTES_MAX, PROTOCOLS_MAX, SESSION_TIMEOUT_MS_MAX,
    SESSION_TIMEOUT_MS_MIN,
};
use super::member::{Member, detached, metadata_bytes, shortened};
use super::state::{Group, Phase};
use super::{Coordinator, Token, kept};

impl Coordinator {
    pub(super) fn join(&mut self, token: Token, join: Join) {
        let name = join.group.clone();
        let result = check(&join).and_then(|()| self.fx.check_room()).and_then(|()| {
            if !join.member.is_empty() && !self.groups.contains_key(&name) {
                return Err(Error::UnknownMember);
            }
            let (group, fx) = self.open(&name)?;
            group.join(fx, token, join)
        });
        self.fx.answer_error(token, result);
        self.settle(&name);
    }
}

/// What can be said of a join without its group.
fn check(join: &Join) -> Result<(), Error> {
    if !(SESSION_TIMEOUT_MS_MIN..=SESSION_TIMEOUT_MS_MAX).contains(&join.session_timeout_ms) {
        return Err(Error::InvalidSessionTimeout {
            min_ms: SESSION_TIMEOUT_MS_MIN,
            max_ms: SESSION_TIMEOUT_MS_MAX,
        });
    }
    let instance = join.instance.as_deref();
    if instance.is_some_and(|instance| !(1..=INSTANCE_ID_BYTES_MAX).contains(&instance.len())) {
        return Err(Error::InvalidRequest("the group instance id is empty or too long"));
    }
    let names = join.protocols.iter().map(|protocol| &protocol.name);
    if names.chain([&join.protocol_type]).any(|name| name.len() > PROTOCOL_NAME_BYTES_MAX) {
        return Err(Error::InvalidRequest("a protocol type or name is too long"));
    }
    if join.protocols.len() > PROTOCOLS_MAX {
        return Err(Error::InvalidRequest("the member has too many protocols"));
    }
    Ok(())
}

impl Group {
    fn join(&mut self, fx: &mut Effects, token: Token, join: Join) -> Result<(), Error> {
        if matches!(self.phase, Phase::Dead) {
            return Err(Error::CoordinatorNotAvailable);
        }
        if !self.supports(&join.protocol_type, &join.protocols) {
            return Err(Error::InconsistentProtocol);
        }
        if join.member.is_empty() {
            self.join_unknown(fx, token, join)?;
        } else if self.pending.contains_key(&join.member) {
            self.join_pending(fx, token, join)?;
        } else {
            self.join_known(fx, token, join)?;
        }
        self.complete_join_if_ready(fx);
        Ok(())
    }

    fn join_unknown(&mut self, fx: &mut Effects, token: Token, join: Join) -> Result<(), Error> {
        if let Some(instance) = &join.instance {
            if let Some(holder) = self.instances.get(instance).cloned() {
                return self.replace_static(fx, token, join, holder);
            }
            let id = fx.ids.next(instance);
            return self.add(fx, token, id, join);
        }
        let id = fx.ids.next(shortened(&join.client_id));
        if !join.require_known_member_id {
            return self.add(fx, token, id, join);
        }
        self.check_room_for(None, &join)?;
        if self.pending.len() >= PENDING_MEMBERS_MAX {
            return Err(Error::GroupMaxSizeReached);
        }
        let void_ms = fx.after(u64::from(join.session_timeout_ms));
        self.pending.insert(id.clone(), void_ms);
        Err(Error::MemberIdRequired { member: id })
    }

    fn join_pending(&mut self, fx: &mut Effects, token: Token, join: Join) -> Result<(), Error> {
        if join.instance.is_some() {
            // Ids are held for dynamic members only.
            return Err(Error::UnknownMember);
        }
        let id = join.member.clone();
        self.add(fx, token, id, join)
    }

    fn join_known(&mut self, fx: &mut Effects, token: Token, join: Join) -> Result<(), Error> {
        let id = join.member.clone();
        self.check_member(&id, join.instance.as_deref())?;
        let is_unchanged =
            self.members.get(&id).is_some_and(|member| member.protocols == join.protocols);
        let may_stay = match self.phase {
            Phase::Empty { .. } | Phase::Dead => return Err(Error::UnknownMember),
            Phase::Preparing { .. } => false,
            // It may have missed the answer to its join.
            Phase::Completing { .. } => is_unchanged,
            // The leader joins again to have the topics assigned anew.
            Phase::Stable { .. } => is_unchanged && !self.is_leader(&id),
        };
        if may_stay {
            fx.answer(token, Ok(Answer::Join(self.joined(&id))));
            return Ok(());
        }
        self.check_room_for(Some(&id), &join)?;
        self.update(fx, token, &id, &join);
        self.prepare_rebalance(fx);
        Ok(())
    }

    /// # Errors
    /// Where `join`, in the place of `member` if that is given, would make the group too large.
    fn check_room_for(&self, member: Option<&str>, join: &Join) -> Result<(), Error> {
        if member.is_none() && self.members.len() >= GROUP_MEMBERS_MAX {
            return Err(Error::GroupMaxSizeReached);
        }
        let others: usize = self
            .members
            .iter()
            .filter(|(id, _)| Some(id.as_str()) != member)
            .map(|(_, member)| member.metadata_bytes())
            .sum();
        if others.saturating_add(metadata_bytes(&join.protocols)) > GROUP_METADATA_BYTES_MAX {
            return Err(Error::GroupMaxSizeReached);
        }
        Ok(())
    }

    fn add(&mut self, fx: &mut Effects, token: Token, id: String, join: Join) -> Result<(), Error> {
        self.check_room_for(None, &join)?;
        self.pending.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance) = &join.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        if let Phase::Preparing { initial: Some(initial), .. } = &mut self.phase {
            initial.has_newcomers = true;
        }
        let void_ms = fx.after(NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.members.insert(id, Member::new(join, token, void_ms));
        self.prepare_rebalance(fx);
        Ok(())
    }

    /// Takes over what a member says of itself; it waits for the answer to `token` from now on.
    fn update(&mut self, fx: &mut Effects, token: Token, id: &str, join: &Join) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.protocols = detached(&join.protocols);
        member.session_timeout_ms = join.session_timeout_ms;
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        if let Some(earlier) = member.join.replace(token) {
            // Most likely nobody hears it: the client has repeated itself on a new connection.
            fx.answer(earlier, Err(Error::RebalanceInProgress));
        }
    }

    /// A static member came back without its id: the one who `holder` was is fenced, and the new
    /// one takes its place. A stable group stays so, where the chosen protocol does.
    fn replace_static(
        &mut self,
        fx: &mut Effects,
        token: Token,
        join: Join,
        holder: String,
    ) -> Result<(), Error> {
        self.check_room_for(Some(&holder), &join)?;
        let leader_before = self.leader.clone().unwrap_or_default();
        let id = fx.ids.next(join.instance.as_deref().unwrap_or_default());
        let Some(before) = self.rename(fx, &holder, &id) else {
            return Err(Error::UnknownMember);
        };
        self.update(fx, token, &id, &join);
        let is_stable = matches!(self.phase, Phase::Stable { .. });
        if !is_stable || self.select_protocol() != self.protocol {
            self.prepare_rebalance(fx);
            return Ok(());
        }
        let change = Change::Replaced(Box::new(Replaced {
            group: self.name.clone(),
            generation: self.generation,
            token,
            member: id,
            before: (holder, before),
            leader_before,
            supports_skip_assignment: join.supports_skip_assignment,
        }));
        fx.keep(&self.name, kept::encode(self, None), change);
        Ok(())
    }

    /// Gives the member `old` the id `new`; whoever waits under the old one is fenced. Returns
    /// the member as it was.
    fn rename(&mut self, fx: &mut Effects, old: &str, new: &str) -> Option<Member> {
        let mut member = self.members.remove(old)?;
        for token in [member.join.take(), member.sync.take()].into_iter().flatten() {
            fx.answer(token, Err(Error::FencedInstance));
        }
        member.touch(fx.now_ms);
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), new.to_owned());
        }
        if self.is_leader(old) {
            self.leader = Some(new.to_owned());
        }
        self.members.insert(new.to_owned(), member.clone());
        Some(member)
    }

    /// The new id of a static member is committed, or could not be kept. Where the group has
    /// moved on meanwhile, the join is answered with the next generation.
    pub(super) fn replaced(&mut self, fx: &mut Effects, change: Replaced, is_kept: bool) {
        let is_same =
            matches!(self.phase, Phase::Stable { .. }) && self.generation == change.generation;
        let Some(member) = self.members.get_mut(&change.member) else {
            return;
        };
        if !is_same || member.join != Some(change.token) {
            return;
        }
        member.join = None;
        member.is_new = false;
        member.touch(fx.now_ms);
        if !is_kept {
            self.put_back(fx, &change.member, change.before);
            fx.answer(change.token, Err(Error::CoordinatorNotAvailable));
            return;
        }
        let mut joined = self.joined(&change.member);
        if change.supports_skip_assignment {
            joined.skip_assignment = self.is_leader(&change.member);
        } else {
            // A stable group hands out no new assignment, so an older client must not take
            // itself for the leader and make one.
            joined.leader = change.leader_before;
            joined.members = Vec::new();
        }
        fx.answer(change.token, Ok(Answer::Join(joined)));
    }

    fn put_back(&mut self, fx: &mut Effects, id: &str, before: (String, Member)) {
        let (old, mut member) = before;
        self.rename(fx, id, &old);
        member.touch(fx.now_ms);
        self.members.insert(old, member);
    }
}
