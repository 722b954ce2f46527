//! Delete: groups without members go, with their cursors.

use holdfast_protocol::group::{Answer, DeleteGroups, Error};

use super::state::Phase;
use super::{Coordinator, KeepError, Token};

/// A deletion of several groups, of which some wait for the log.
#[derive(Debug)]
pub(super) struct Deletion {
    pub(super) token: Token,
    results: Vec<(String, Result<(), Error>)>,
    waiting: usize,
}

impl Coordinator {
    pub(super) fn delete_groups(&mut self, token: Token, delete: DeleteGroups) {
        let id = self.next_deletion;
        self.next_deletion += 1;
        let mut deletion =
            Deletion { token, results: Vec::with_capacity(delete.groups.len()), waiting: 0 };
        for (index, name) in delete.groups.into_iter().enumerate() {
            let result = self.delete_group(&name, (id, index));
            deletion.waiting += usize::from(result.is_ok());
            deletion.results.push((name, result));
        }
        self.finish_deletion(id, deletion);
    }

    fn delete_group(&mut self, name: &str, of: (u64, usize)) -> Result<(), Error> {
        self.fx.check_room()?;
        let (group, fx) = self.find(name).ok_or(Error::GroupIdNotFound)?;
        match group.phase {
            Phase::Dead => return Err(Error::GroupIdNotFound),
            Phase::Empty { .. } => group.drop_whole(fx, Some(of)),
            Phase::Preparing { .. } | Phase::Completing { .. } | Phase::Stable { .. } => {
                return Err(Error::NonEmptyGroup);
            }
        }
        self.settle(name);
        Ok(())
    }

    fn finish_deletion(&mut self, id: u64, deletion: Deletion) {
        if deletion.waiting > 0 {
            self.deletions.insert(id, deletion);
            return;
        }
        let answer = Answer::DeleteGroups(deletion.results);
        self.fx.answer(deletion.token, Ok(answer));
    }

    /// The drop of a whole group is committed, or failed.
    pub(super) fn deleted(
        &mut self,
        name: &str,
        of: Option<(u64, usize)>,
        kept: Result<(), KeepError>,
    ) {
        if kept.is_ok() {
            self.forget(name);
        } else if let Some((group, fx)) = self.find(name) {
            group.revive(fx);
        }
        self.settle(name);
        let Some((id, index)) = of else {
            return;
        };
        let Some(mut deletion) = self.deletions.remove(&id) else {
            return;
        };
        deletion.waiting -= 1;
        if let (Err(error), Some((_, result))) = (kept, deletion.results.get_mut(index)) {
            *result = Err(error.into());
        }
        self.finish_deletion(id, deletion);
    }
}
