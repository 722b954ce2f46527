//! What only the model of `tests/model` asks of a planner: to take rules away, and to forget the
//! absolute time, so that two planners which differ by the hour alone are one state.

use crate::planner::Planner;
use crate::policy::Time;
use crate::rules::Rules;

/// Moves moments so that what was `now` is `to`, and nothing is older than `age_ms_max`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shift {
    pub(crate) now: Time,
    pub(crate) to: Time,
    pub(crate) age_ms_max: u64,
}

impl Shift {
    pub(crate) fn apply(self, moment: &mut Time) {
        let age_ms = self.now.since(*moment).min(self.age_ms_max);
        *moment = Time(self.to.0.saturating_sub(age_ms));
    }
}

impl Planner {
    /// Keeps to these rules from here on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Makes the present moment `to`. What is older than `age_ms_max` is that old from here on,
    /// and completed failovers are forgotten: they decide nothing.
    pub fn shift_time(&mut self, to: Time, age_ms_max: u64) {
        let shift = Shift { now: self.now, to, age_ms_max };
        for broker in self.brokers.values_mut() {
            broker.shift_time(shift);
        }
        for shard in self.shards.values_mut() {
            if let Some(elected) = &mut shard.elected {
                shift.apply(elected);
            }
            if let Some(offered) = &mut shard.offered {
                shift.apply(offered);
            }
        }
        self.failovers.shift_time(shift);
        self.now = to;
    }
}
