//! What only the model of `tests/model` asks of a replica: to forget the absolute time, so that
//! two replicas which differ by the hour alone are one state.

use super::{Replica, Role};

impl Replica {
    /// Makes what was `now_ms` be `to_ms`. What is older than `age_ms_max` is that old from here
    /// on. Nothing that a replica decides depends on more, where `age_ms_max` is past every
    /// setting.
    pub fn shift_time(&mut self, now_ms: u64, to_ms: u64, age_ms_max: u64) {
        let shift = |moment: &mut u64| {
            let age_ms = now_ms.saturating_sub(*moment).min(age_ms_max);
            *moment = to_ms.saturating_sub(age_ms) + moment.saturating_sub(now_ms);
        };
        match &mut self.role {
            Role::Leader(leader) => {
                shift(&mut leader.since_ms);
                for progress in leader.followers.values_mut() {
                    shift(&mut progress.caught_up_ms);
                    shift(&mut progress.end_at_fetch.1);
                }
                if let Some(proposal) = &mut leader.proposal {
                    shift(&mut proposal.sent_ms);
                }
                // Once it is over, it is as if it had never been.
                if leader.quiet_until_ms <= now_ms {
                    leader.quiet_until_ms = 0;
                } else {
                    shift(&mut leader.quiet_until_ms);
                }
            }
            Role::Follower(follower) => {
                follower.refused_ms.iter_mut().for_each(shift);
                follower.unanswered_ms.iter_mut().for_each(shift);
            }
            Role::Idle | Role::Halted => {}
        }
    }
}
