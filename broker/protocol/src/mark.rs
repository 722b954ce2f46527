//! Marks on interesting lines, so that a simulation can tell which of them it has reached.
//!
//! `mark!(Name)` stands on a line that only a certain mix of faults gets to. With the feature
//! `marks`, which only the simulated cluster turns on, it counts for the thread that passes by;
//! without it, it is nothing. [`Mark::ALL`] is the whole list: one that no seed reaches fails
//! the simulation's own test, and one that is taken from its line does not go unnoticed.

/// Declares the marks, once, with what each line means.
macro_rules! marks {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// An interesting line of the shipped code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Mark {
            $($(#[$doc])+ $name,)+
        }

        impl Mark {
            /// Every mark.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

marks! {
    // Replication (`holdfast-core`).
    /// A leader tells a follower where their logs part, by its epoch history.
    LogsPart,
    /// A follower cuts entries that were never committed.
    CutUncommitted,
    /// A cut below the commit position is refused, and the replica stops.
    CutRefused,
    /// A cut below the commit position after a recorded unclean election: built anew instead.
    CutAfterUnclean,
    /// An answer comes when the log has moved on, and is dropped.
    AnswerTooLate,
    /// An entry that this release does not know, or one damaged on its way, is not taken.
    EntryNotTaken,
    /// A replica that is being built follows the leader over a gap.
    GapFollowed,
    /// A replica that is being built meets an unclean election of after its checkpoint.
    CheckpointOutdated,
    /// A follower is so far behind that the leader no longer has what it needs.
    CheckpointNeeded,
    /// A leader refuses a fetch of an older epoch.
    EpochFenced,
    /// A fetch comes before the record of its epoch, and waits.
    FetchEarly,
    /// A record older than the newest one seen is ignored.
    RecordOld,
    /// A follower gets a newer record from its leader, not from the operator.
    RecordFromLeader,
    /// A leader that started anew does not lead its epoch again.
    LedBefore,
    /// A newer record takes leadership from this replica.
    SteppedDown,
    /// At the minimum, one member takes the place of another.
    IsrSwapped,
    /// A wish for other in-sync replicas has no answer, and is repeated.
    WishRepeated,
    /// A refused wish is withdrawn, as another copy of it may still be written.
    WishWithdrawn,
    /// A newer record settles a wish whose fate was unknown.
    WishSettled,
    /// Fewer replicas are in sync than the minimum: nothing is committed.
    BelowMinimum,
    /// A producer sends a batch again that is there already.
    BatchRepeated,
    /// A producer's sequence number does not follow.
    BatchGap,
    /// A member of an older generation is refused.
    GenerationFenced,
    /// A commit of offsets comes while the group rebalances.
    CommitInRebalance,

    // A shard's driver (`holdfast-broker`).
    /// The log takes nothing more: a leader resigns and steps back.
    LeaderResigned,
    /// Those who wait for a commit are told that leadership ended.
    LeadershipLost,
    /// A replica is built anew from the leader's checkpoint.
    BuiltAnew,
    /// The checkpoint comes when it is no longer wanted.
    BuildTooLate,
    /// A replica that holds its shard no more gives its room back.
    RoomGivenBack,
    /// The incarnation is renewed: the log was damaged.
    RenewedDamaged,
    /// The incarnation is renewed: the machine stopped, and unflushed entries may be lost.
    RenewedLossy,
    /// The incarnation is renewed: the replica was being built when it stopped.
    RenewedUnfilled,
    /// The incarnation is renewed: the volume was put back to an older state.
    RenewedRolledBack,
    /// The log can't be read for a follower.
    ServeFailed,
    /// A checkpoint could not be written.
    CheckpointFailed,
    /// A follower holds cleaning up.
    CleaningHeldUp,
    /// Retention drops messages.
    Retained,

    // The log (`holdfast-log`).
    /// What was never durable is cut from the end of the log.
    TailTorn,
    /// What was durable once is damaged.
    RotFound,
    /// The index of a sealed segment is made again.
    IndexMadeAgain,
    /// A segment without live entries is deleted.
    SegmentDeleted,
    /// A segment is rewritten without its dead entries.
    SegmentRewritten,
    /// A reader asks a segment for what cleaning has removed from it meanwhile.
    CleanedUnderReader,
    /// The suffix of a log that is cut is set aside.
    SuffixSetAside,
    /// A segment is left over from a log that was set aside.
    SegmentLeftOver,
    /// A write or flush failed: nothing more is taken.
    LogFailed,

    // The operator (`holdfast-operator-core`).
    /// Whether a record was written is unknown.
    WriteUnknown,
    /// It was not, and is written again.
    WrittenAgain,
    /// It was: the store has it.
    WriteFound,
    /// Another operator's record is there.
    WriteLost,
    /// An election that may lose messages.
    UncleanElection,
    /// Nobody can lead.
    Vacated,
    /// Lost members are taken out of the in-sync replicas.
    Fenced,
    /// The store went back in time.
    StoreWentBack,
    /// The newest record that anyone knows is the record again.
    RecordAdopted,
    /// Too few replicas have told what they know for anything to be written.
    NotVouchedFor,
    /// The leader is another process than the one that was elected.
    LeaderRestarted,
    /// A broker counts a start again that is remembered.
    VolumeRolledBack,
    /// A wish for other in-sync replicas names an old record.
    WishOld,
    /// Leadership goes back to balance.
    MovedBack,
    /// Newcomers are named beside those who hold a shard.
    ReplicasNamed,
    /// Leadership goes to one who stays before others leave.
    LeaderMovedOff,
    /// Those who are not to hold a shard any more leave.
    ReplicasLeft,
}

#[cfg(feature = "marks")]
mod counting {
    use std::cell::Cell;

    use super::Mark;

    thread_local! {
        static REACHED: [Cell<u64>; Mark::ALL.len()] =
            const { [const { Cell::new(0) }; Mark::ALL.len()] };
    }

    /// Counts that this thread has reached a mark. Behind `mark!`.
    pub fn reach(mark: Mark) {
        REACHED.with(|reached| {
            let count = &reached[mark as usize];
            count.set(count.get() + 1);
        });
    }

    /// How often this thread has reached each mark since it last asked; those it did.
    #[must_use]
    pub fn take() -> Vec<(Mark, u64)> {
        REACHED.with(|reached| {
            let all = Mark::ALL.iter().map(|mark| (*mark, reached[*mark as usize].take()));
            all.filter(|(_, count)| *count > 0).collect()
        })
    }
}

#[cfg(feature = "marks")]
pub use counting::{reach, take};

/// Counts that this line was reached; nothing in a build without the feature `marks`.
#[cfg(feature = "marks")]
#[macro_export]
macro_rules! mark {
    ($name:ident) => {
        $crate::mark::reach($crate::mark::Mark::$name)
    };
}

/// Counts that this line was reached; nothing in a build without the feature `marks`.
#[cfg(not(feature = "marks"))]
#[macro_export]
macro_rules! mark {
    ($name:ident) => {{
        // The name is checked all the same.
        const _: $crate::mark::Mark = $crate::mark::Mark::$name;
    }};
}
