//! How long shards were without a leader that serves, from the moment the loss was noticed.
//!
//! Shards that lost their leader for the same reason at the same moment are one failover: its
//! duration is that of the last of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use holdfast_protocol::{BrokerId, ShardId};

use crate::broker::Loss;
use crate::policy::Time;

/// How many completed failovers are remembered.
const RECENT_MAX: usize = 16;

/// Why leadership moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The leader is gone.
    Lost(Loss),
    /// The leader asked for it.
    Resigned,
    /// The leader's log is another one than was elected.
    LogReplaced,
    /// The leader's disk failed or is full.
    DiskFailed,
    /// Nobody led.
    Vacant,
    /// Planned: the leader is about to be stopped.
    Stopping,
    /// Planned: back to the preferred leader.
    Balance,
    /// Planned: the leader's replica goes to another broker.
    Moving,
}

impl Reason {
    /// Whether the operator chose the moment.
    #[must_use]
    pub fn is_planned(self) -> bool {
        matches!(self, Self::Stopping | Self::Balance | Self::Moving)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(loss) => loss.fmt(f),
            Self::Resigned => f.write_str("the leader resigned"),
            Self::LogReplaced => f.write_str("the leader's log was replaced"),
            Self::DiskFailed => f.write_str("the leader's disk failed"),
            Self::Vacant => f.write_str("no leader"),
            Self::Stopping => f.write_str("the leader is being stopped"),
            Self::Balance => f.write_str("back to the preferred leader"),
            Self::Moving => f.write_str("the leader's replica goes to another broker"),
        }
    }
}

/// A completed move of leadership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failover {
    /// Who led.
    pub from: BrokerId,
    /// Who leads now.
    pub to: Vec<BrokerId>,
    /// Why.
    pub reason: Reason,
    /// From the loss being noticed until the last of the new leaders served, ms.
    pub duration_ms: u64,
    /// How many shards moved.
    pub shards: usize,
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, reason, duration_ms, shards } = self;
        let shards = if *shards == 1 { "1 shard".to_owned() } else { format!("{shards} shards") };
        if to.as_slice() == [*from] {
            return write!(
                f,
                "{shards} served again by broker {from} after {duration_ms} ms: {reason}"
            );
        }
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        let to = to.join(",");
        write!(f, "{shards} moved from broker {from} to {to} in {duration_ms} ms: {reason}")
    }
}

/// What shards have in common that are one failover.
type Cause = (BrokerId, Reason, Time);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Group {
    to: BTreeSet<BrokerId>,
    shards: usize,
}

/// Failovers under way and those just completed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Failovers {
    open: BTreeMap<ShardId, Cause>,
    groups: BTreeMap<Cause, Group>,
    recent: VecDeque<Failover>,
}

impl Failovers {
    /// `shard` has lost its leader `from`. Counts from the first loss, where it is lost again
    /// before anyone serves.
    pub(crate) fn begin(&mut self, shard: ShardId, from: BrokerId, reason: Reason, now: Time) {
        let cause = (from, reason, now);
        let open = self.open.entry(shard).or_insert(cause);
        // A loss in the middle of a planned move is no longer a planned move.
        if open.1.is_planned() && !reason.is_planned() {
            *open = cause;
        }
    }

    /// Whether `shard` waits for a leader to serve.
    pub(crate) fn is_open(&self, shard: ShardId) -> bool {
        self.open.contains_key(&shard)
    }

    /// Whether `shard` was taken from `broker` and waits for another leader to serve.
    pub(crate) fn is_moved_from(&self, shard: ShardId, broker: BrokerId) -> bool {
        let cause = self.open.get(&shard);
        cause.is_some_and(|(from, reason, _)| *from == broker && reason.is_planned())
    }

    /// How many planned moves are under way.
    pub(crate) fn planned_open(&self) -> usize {
        let planned = |cause: &&Cause| cause.1.is_planned();
        self.open.values().filter(planned).count()
    }

    /// `leader` serves `shard`. Returns the failover that this completes.
    pub(crate) fn serving(
        &mut self,
        shard: ShardId,
        leader: BrokerId,
        now: Time,
    ) -> Option<Failover> {
        let cause = self.open.remove(&shard)?;
        let group = self.groups.entry(cause).or_default();
        group.to.insert(leader);
        group.shards += 1;
        if self.open.values().any(|other| *other == cause) {
            return None;
        }
        let group = self.groups.remove(&cause)?;
        let (from, reason, since) = cause;
        let failover = Failover {
            from,
            to: group.to.into_iter().collect(),
            reason,
            duration_ms: now.since(since),
            shards: group.shards,
        };
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(failover.clone());
        Some(failover)
    }

    /// Moves every moment, and forgets what is completed.
    #[cfg(feature = "ablation")]
    pub(crate) fn shift_time(&mut self, shift: crate::model::Shift) {
        for cause in self.open.values_mut() {
            shift.apply(&mut cause.2);
        }
        let groups = std::mem::take(&mut self.groups).into_iter().map(|(mut cause, group)| {
            shift.apply(&mut cause.2);
            (cause, group)
        });
        self.groups = groups.collect();
        self.recent.clear();
    }

    /// The newest completed ones, oldest first.
    pub(crate) fn recent(&self) -> impl DoubleEndedIterator<Item = &Failover> {
        self.recent.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_lost_together_are_one_failover_as_long_as_its_slowest() {
        let mut failovers = Failovers::default();
        let reason = Reason::Lost(Loss::Refused);
        for shard in 0..2 {
            failovers.begin(ShardId(shard), BrokerId(0), reason, Time(100));
        }
        failovers.begin(ShardId(0), BrokerId(1), Reason::Resigned, Time(110));
        assert_eq!(failovers.serving(ShardId(1), BrokerId(1), Time(120)), None);
        let done = failovers.serving(ShardId(0), BrokerId(2), Time(150));
        assert_eq!(
            done.unwrap().to_string(),
            "2 shards moved from broker 0 to 1,2 in 50 ms: connection refused"
        );
        assert_eq!(failovers.serving(ShardId(0), BrokerId(2), Time(160)), None);
        assert_eq!(failovers.recent().count(), 1);
    }
}
