//! What a seed decides of the cluster itself.

use holdfast_protocol::{FlushMode, UncleanElection};

use crate::dice::Dice;

/// Which of the bits that choose doors are for the members of groups.
const MEMBERS_FROM: usize = 32;
/// Which of them is the administrator's.
const ADMIN: usize = 63;

/// The policy, the topics, and how often something goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) flush: FlushMode,
    pub(crate) unclean: UncleanElection,
    /// In Async mode the log is flushed so often, ms.
    pub(crate) flush_interval_ms: u64,
    /// What the topics keep that do not keep everything, bytes a partition.
    pub(crate) retention_bytes: u64,
    /// Between one fault and the next there is at most this, ms.
    pub(crate) pace_ms: u64,
    /// Which producers and members of groups, a bit each, go through the Kafka door, and whether
    /// the administrator does.
    doors: u64,
}

impl Shape {
    pub(crate) fn draw(dice: &Dice) -> Self {
        // As a policy has them where it says nothing else.
        let (flush, unclean) = if dice.chance(350) {
            (FlushMode::Async, UncleanElection::AllReported)
        } else {
            (FlushMode::Sync, UncleanElection::Never)
        };
        let flush_interval_ms = dice.pick(&[100, 1_000, 5_000]).copied().unwrap_or(100);
        let retention_bytes = dice.between(20_000, 100_000);
        let pace_ms = if dice.chance(250) { 40_000 } else { 4_000 };
        let doors = dice.next();
        Self { flush, unclean, flush_interval_ms, retention_bytes, pace_ms, doors }
    }

    /// Whether a producer goes through the Kafka door; others hand their batches to the driver.
    pub(crate) fn uses_door(&self, producer: usize) -> bool {
        self.doors >> (producer % MEMBERS_FROM) & 1 == 1
    }

    /// Whether a member of a group goes through the Kafka door; others ask the driver.
    pub(crate) fn joins_by_door(&self, member: usize) -> bool {
        self.doors >> (MEMBERS_FROM + member % 16) & 1 == 1
    }

    /// Whether the administrator goes through the Kafka door.
    pub(crate) fn administers_by_door(&self) -> bool {
        self.doors >> ADMIN & 1 == 1
    }

    pub(crate) fn is_async(&self) -> bool {
        self.flush == FlushMode::Async
    }
}
