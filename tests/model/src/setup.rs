//! What kind of cluster is checked, within which bounds, and which rules it does without.

use holdfast_core::replica::{self, Settings};
use holdfast_operator_core as operator;
use holdfast_protocol::FlushMode;

use crate::invariants::Invariant;

/// Brokers of the model, each of them a replica of its only shard.
pub const BROKERS: usize = 3;
/// The moment that it always is. What has an age is that much older.
pub const NOW_MS: u64 = 1_000_000;
/// How much time a tick of a replica takes: more than any of [`settings`].
pub const TICK_MS: u64 = 2;
/// How much time a tick of an operator takes: silence is death then, for it passes the
/// detection timeout.
pub const OPERATOR_TICK_MS: u64 = 3_000;
/// For how long a broker must have been there before it leads again, ms.
pub const MOVE_BACK_AFTER_MS: u64 = 2_000;
/// How much time an operator waits: for what it does not do at once.
pub const OPERATOR_WAIT_MS: u64 = 1_000;

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct Setup {
    /// When an entry counts.
    pub flush: FlushMode,
    /// Fewest replicas in sync.
    pub min_in_sync: u32,
    /// Who writes the record.
    pub operators: Operators,
    /// Entries that an answer carries at most.
    pub serve_entries_max: usize,
    /// How much may happen.
    pub bounds: Bounds,
    /// Rules taken away.
    pub missing: Missing,
    /// Which invariants are judged; a run goes on where another one is broken.
    pub judged: &'static [Invariant],
    /// Whether a run starts when the first epoch is committed everywhere.
    pub warm: bool,
}

/// Who writes the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operators {
    /// Whatever any number of stale operators could write: any member of the in-sync replicas is
    /// elected at any time, any is fenced down to the minimum, any wish for the present record
    /// is granted or refused.
    Arbitrary,
    /// So many shipped planners, each of which believes that it is the active one.
    Shipped(usize),
}

/// How often things may happen in a run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Entries of clients.
    pub entries: u8,
    /// Epochs ever written; their numbers have gaps.
    pub epochs: usize,
    /// Records ever written.
    pub records: usize,
    /// Messages on their way; one more is lost.
    pub messages: usize,
    /// Messages delivered and kept, to come again.
    pub repeats: u8,
    /// Processes killed: what was written stays.
    pub kills: u8,
    /// Power cuts: what was not flushed may go.
    pub power_cuts: u8,
    /// Volumes lost or rotten.
    pub volumes: u8,
    /// Restores of the record store from a backup.
    pub rollbacks: u8,
    /// Ticks of replicas: followers lag, wishes and fetches are repeated.
    pub ticks: u8,
    /// Writes of the store whose fate is unknown, operators replaced, sessions broken.
    pub operator_faults: u8,
}

/// Rules that are taken away.
#[derive(Clone, Debug, Default)]
pub struct Missing {
    /// Of a replica.
    pub core: replica::Rules,
    /// Of a planner.
    pub operator: operator::Rules,
    /// Of the shell around them.
    pub shell: Vec<Shell>,
}

/// Rules that the cores leave to the shell: the environment of the model keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// The incarnation is renewed whenever a loss can't be excluded (`broker/src/shard/open.rs`).
    Renewal,
    /// The store writes over the named version alone (`operator/src/store.rs`).
    CompareAndSwap,
    /// What was written and not flushed before the process stopped is made durable before it is
    /// offered again (`broker/log`, recovery).
    TailCopy,
    /// A failed flush ends the process, so that nothing counts as durable that is not.
    FlushStops,
    /// Damage below the durable checkpoint is rot: the replica is another one from then on. A
    /// torn tail is cut above it alone.
    RotLeaves,
    /// The arbitrary operator grants a wish for the present record alone, as planners do.
    PresentWish,
    /// The arbitrary operator fences down to the minimum and no further, as planners do.
    ArbitraryFloor,
}

impl Missing {
    /// Whether the shell keeps the rule.
    #[must_use]
    pub fn keeps(&self, rule: Shell) -> bool {
        !self.shell.contains(&rule)
    }
}

impl Setup {
    /// A small cluster with an arbitrary operator, for an exhaustive search.
    #[must_use]
    pub fn small(flush: FlushMode) -> Self {
        Self {
            flush,
            min_in_sync: 2,
            operators: Operators::Arbitrary,
            serve_entries_max: 4,
            bounds: Bounds {
                entries: 1,
                epochs: 2,
                records: 3,
                messages: 2,
                repeats: 0,
                kills: 0,
                power_cuts: 1,
                volumes: 0,
                rollbacks: 0,
                ticks: 1,
                operator_faults: 0,
            },
            missing: Missing::default(),
            judged: &Invariant::ALL,
            warm: true,
        }
    }

    /// A large one, for walks.
    #[must_use]
    pub fn large(flush: FlushMode, operators: Operators) -> Self {
        Self {
            flush,
            min_in_sync: 2,
            operators,
            serve_entries_max: 2,
            bounds: Bounds {
                entries: 12,
                epochs: 12,
                records: 60,
                messages: 8,
                repeats: 40,
                kills: 4,
                power_cuts: 5,
                volumes: 1,
                rollbacks: 0,
                ticks: 200,
                operator_faults: 30,
            },
            missing: Missing::default(),
            judged: &Invariant::ALL,
            warm: false,
        }
    }

    /// A large one whose record store is restored from a backup once. What is left out of what is
    /// judged depends on the record that was lost.
    #[must_use]
    pub fn restored(flush: FlushMode, operators: Operators) -> Self {
        let large = Self::large(flush, operators);
        let bounds = Bounds { rollbacks: 1, ..large.bounds };
        Self { bounds, judged: &Invariant::AFTER_RESTORE, ..large }
    }

    /// Whether the shard must serve again in the quiet. The arbitrary operator takes no inventory,
    /// so that a shard goes on after a restore is not asked of it.
    #[must_use]
    pub fn recovers(&self) -> bool {
        self.bounds.rollbacks == 0 || self.operators != Operators::Arbitrary
    }

    /// How replicas behave: everything that is only a matter of time may happen at every tick.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            lag_ms_max: TICK_MS - 1,
            idle_ms: 0,
            isr_retry_ms: TICK_MS,
            refetch_ms: 0,
            rules: self.missing.core,
            ..Settings::default()
        }
    }
}
