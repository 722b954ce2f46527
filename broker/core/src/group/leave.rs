//! Leave: members go, by themselves or taken out by an admin.

use holdfast_protocol::group::{Answer, Error, Leave, Leaver, Left};

use super::effects::Effects;
use super::state::{Group, Phase};
use super::{Coordinator, Token};

impl Coordinator {
    pub(super) fn leave(&mut self, token: Token, leave: Leave) {
        let name = leave.group;
        let answer = match self.find(&name) {
            Some((group, fx)) => group.leave(fx, leave.members),
            None => Ok(leave
                .members
                .into_iter()
                .map(|leaver| left(leaver, Err(Error::UnknownMember)))
                .collect()),
        };
        self.fx.answer(token, answer.map(Answer::Leave));
        self.settle(&name);
    }
}

fn left(leaver: Leaver, result: Result<(), Error>) -> Left {
    Left { member: leaver.member, instance: leaver.instance, result }
}

impl Group {
    fn leave(&mut self, fx: &mut Effects, leavers: Vec<Leaver>) -> Result<Vec<Left>, Error> {
        if matches!(self.phase, Phase::Dead) {
            return Err(Error::CoordinatorNotAvailable);
        }
        let members_before = self.members.len();
        let answer = leavers
            .into_iter()
            .map(|leaver| {
                let result = self.leave_one(fx, &leaver);
                left(leaver, result)
            })
            .collect();
        if self.members.len() < members_before {
            self.after_removal(fx);
        } else {
            // Ids that were never used may be gone, for which the group waited.
            self.complete_join_if_ready(fx);
        }
        Ok(answer)
    }

    fn leave_one(&mut self, fx: &mut Effects, leaver: &Leaver) -> Result<(), Error> {
        if self.pending.remove(&leaver.member).is_some() {
            return Ok(());
        }
        if leaver.member.is_empty() {
            let holder = leaver
                .instance
                .as_ref()
                .and_then(|instance| self.instances.get(instance).cloned())
                .ok_or(Error::UnknownMember)?;
            self.remove(fx, &holder);
            return Ok(());
        }
        self.check_member(&leaver.member, leaver.instance.as_deref())?;
        self.remove(fx, &leaver.member);
        Ok(())
    }
}
