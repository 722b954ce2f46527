//! The rows of the replication table, rule by rule: what is taken away, and what breaks then.
//!
//! The table is in `docs/model.md`. Where a rule is the shell's, the environment of the model
//! stands for it ([`Shell`]).

use std::fmt;

use holdfast_core::replica::Rule;
use holdfast_operator_core::Rule as Planning;
use holdfast_protocol::FlushMode::{self, Async, Sync};

use crate::Cluster;
use crate::invariants::Invariant::{self, *};
use crate::quiet::Unrest::{self, *};
use crate::setup::{Operators, Setup, Shell};

/// Rules that are taken away together.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The row of the table, in few words.
    pub row: &'static str,
    /// What is taken away.
    pub without: &'static str,
    /// Of a replica.
    pub core: &'static [Rule],
    /// Of a planner.
    pub operator: &'static [Planning],
    /// Of the shell, or of the arbitrary operator.
    pub shell: &'static [Shell],
    /// What becomes of the cluster.
    pub verdict: Verdict,
}

/// What becomes of a cluster without a rule.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// In this mode, with these operators, the walk from this seed breaks the invariant, or one
    /// soon after it does.
    Breaks(FlushMode, Operators, Invariant, u64),
    /// Nothing breaks; but in this mode, with these operators, the quiet after the walk from this
    /// seed, or from one soon after it, does not bring this, for this reason. With all rules every
    /// walk ends well, as other tests show.
    Stuck(FlushMode, Operators, Unrest, u64, &'static str),
    /// Nothing breaks, for this reason.
    Holds(&'static str),
}

/// As the table in `docs/model.md` says it.
impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breaks(flush, operators, invariant, _) => {
                write!(out, "{invariant:?} ({flush:?}, {})", told(*operators))
            }
            Self::Stuck(flush, operators, unrest, _, why) => {
                let operators = told(*operators);
                write!(out, "nothing, but {unrest:?} in the quiet ({flush:?}, {operators}): {why}")
            }
            Self::Holds(why) => write!(out, "nothing: {why}"),
        }
    }
}

fn told(operators: Operators) -> &'static str {
    match operators {
        Operators::Arbitrary => "arbitrary operator",
        Operators::Shipped(1) => "one operator",
        Operators::Shipped(_) => "two operators",
    }
}

impl Row {
    /// The cluster without these rules, in which only these invariants are judged.
    #[must_use]
    pub fn cluster(
        &self,
        flush: FlushMode,
        operators: Operators,
        judged: &'static [Invariant],
    ) -> Cluster {
        let mut setup = Setup { judged, ..Setup::large(flush, operators) };
        let missing = &mut setup.missing;
        for rule in self.core {
            missing.core = missing.core.and_without(*rule);
        }
        for rule in self.operator {
            missing.operator = missing.operator.and_without(*rule);
        }
        missing.shell = self.shell.to_vec();
        // It is only there for a store that goes back.
        let rules = self.operator.iter();
        let restores = rules
            .clone()
            .any(|rule| matches!(rule, Planning::Inventory | Planning::LeaveDead))
            || self.core.iter().any(|rule| matches!(rule, Rule::IgnoreForks | Rule::TakenRecord));
        setup.bounds.rollbacks = u8::from(restores);
        Cluster { setup }
    }
}

const ANY: Operators = Operators::Arbitrary;
const TWO: Operators = Operators::Shipped(2);
const ONE: Operators = Operators::Shipped(1);

/// All rows.
pub const ROWS: &[Row] = &[
    Row {
        row: "fetches carry incarnation, epoch, position, last epoch",
        without: "the epoch check on fetches",
        core: &[Rule::FetchEpoch],
        operator: &[],
        shell: &[],
        verdict: Verdict::Holds(
            "a follower that has not taken the leader's record is given that in place of entries; \
             together with that it is noticed, in the next row",
        ),
    },
    Row {
        row: "fetches carry incarnation, epoch, position, last epoch",
        without: "the epoch check on fetches and the wait for the record to be taken",
        core: &[Rule::FetchEpoch, Rule::TakenRecord],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Sync, TWO, LogMatching, 15),
    },
    Row {
        row: "fetches carry incarnation, epoch, position, last epoch",
        without: "the epoch check on fetches and the epoch start",
        core: &[Rule::FetchEpoch, Rule::EpochStart],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, ANY, LeaderHasAllCommitted, 110),
    },
    Row {
        row: "fetches carry incarnation, epoch, position, last epoch",
        without: "the drop of answers to a log that moved",
        core: &[Rule::DropMoved],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, TWO, LeaderHasAllCommitted, 384),
    },
    Row {
        row: "fetches carry incarnation, epoch, position, last epoch",
        without: "the last entry's epoch in what an answer must match",
        core: &[Rule::MatchLastEpoch],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, ANY, LeaderHasAllCommitted, 89),
    },
    Row {
        row: "cut by the epoch history",
        without: "the epoch history",
        core: &[Rule::EpochHistory],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Sync, TWO, LeaderHasAllCommitted, 3),
    },
    Row {
        row: "no cut below the commit position",
        without: "the refusal of such a cut",
        core: &[Rule::RefuseCut],
        operator: &[],
        shell: &[],
        verdict: Verdict::Holds(
            "a second line of defence: while the other rules hold, nobody asks for such a \
             cut; together with one of them it is noticed, in the next row",
        ),
    },
    Row {
        row: "no cut below the commit position",
        without: "the refusal of such a cut and the drop of answers to a log that moved",
        core: &[Rule::RefuseCut, Rule::DropMoved],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, TWO, NoTruncateBelowCommitted, 16),
    },
    Row {
        row: "committed is on the whole maximal ISR",
        without: "every member but the leader",
        core: &[Rule::EveryMember],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Sync, TWO, LeaderHasAllCommitted, 0),
    },
    Row {
        row: "committed is on the whole maximal ISR",
        without: "the proposed membership in the union",
        core: &[Rule::Union],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, TWO, LeaderHasAllCommitted, 245),
    },
    Row {
        row: "committed is on the whole maximal ISR",
        without: "the match of incarnations when counting",
        core: &[Rule::Incarnation],
        operator: &[],
        shell: &[],
        verdict: Verdict::Stuck(
            Async,
            ANY,
            NotInSync,
            30,
            "a renewed log has to join anew to be able to lead, and its leader does not see that; what \
             is counted was held when it was counted, and a log under another name is elected by \
             no planner and leads by no broker; without those it is noticed, in a row below. \
             Planners that see the other log take it out by themselves",
        ),
    },
    Row {
        row: "committed is on the whole maximal ISR",
        without: "the minimum when committing",
        core: &[Rule::StrictMinimum],
        operator: &[],
        shell: &[],
        verdict: Verdict::Holds(
            "the recorded ISR is never below the minimum but after an unclean election, \
             which the model leaves out; together with that rule it is noticed, in a row below",
        ),
    },
    Row {
        row: "the ISR never shrinks below the minimum",
        without: "the minimum of the ISR, in leader and operator",
        core: &[Rule::Floor],
        operator: &[Planning::Floor],
        shell: &[Shell::ArbitraryFloor],
        verdict: Verdict::Breaks(Sync, TWO, IsrNeverBelowMinimum, 0),
    },
    Row {
        row: "the ISR never shrinks below the minimum",
        without: "the minimum of the ISR, in the leader alone",
        core: &[Rule::Floor],
        operator: &[],
        shell: &[],
        verdict: Verdict::Stuck(
            Sync,
            TWO,
            NotInSync,
            0,
            "planners refuse such a wish; but it is wished for over and over, and stands in \
             the way of better ones",
        ),
    },
    Row {
        row: "the ISR never shrinks below the minimum",
        without: "the minimum of the ISR and when committing",
        core: &[Rule::Floor, Rule::StrictMinimum],
        operator: &[Planning::Floor],
        shell: &[Shell::ArbitraryFloor],
        verdict: Verdict::Breaks(Sync, TWO, MinCopies, 0),
    },
    Row {
        row: "who joins has what is committed",
        without: "the commit position and epoch start in joining",
        core: &[Rule::JoinAtCommit],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, TWO, LeaderHasAllCommitted, 452),
    },
    Row {
        row: "incarnations",
        without: "the renewal after a possible loss",
        core: &[],
        operator: &[],
        shell: &[Shell::Renewal],
        verdict: Verdict::Breaks(Async, TWO, LeaderHasAllCommitted, 13),
    },
    Row {
        row: "incarnations",
        without: "the renewal after a possible loss",
        core: &[],
        operator: &[],
        shell: &[Shell::Renewal],
        verdict: Verdict::Breaks(Async, TWO, OnlyProvenAreElected, 1),
    },
    Row {
        row: "incarnations",
        without: "incarnations everywhere",
        core: &[Rule::Incarnation, Rule::OwnIncarnation],
        operator: &[Planning::MatchIncarnation],
        shell: &[],
        verdict: Verdict::Breaks(Async, TWO, LeaderHasAllCommitted, 1),
    },
    Row {
        row: "a new leader begins with an epoch start",
        without: "the epoch start",
        core: &[Rule::EpochStart],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Sync, TWO, LeaderHasAllCommitted, 40),
    },
    Row {
        row: "a new leader begins with an epoch start",
        without: "the wait for the epoch start before answering",
        core: &[Rule::AnswerConfirmed],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Sync, TWO, ConsistentRead, 4),
    },
    Row {
        row: "a failed flush stops the process; the tail is copied",
        without: "the end of the process after a failed flush",
        core: &[],
        operator: &[],
        shell: &[Shell::FlushStops],
        verdict: Verdict::Breaks(Sync, TWO, LeaderHasAllCommitted, 187),
    },
    Row {
        row: "a failed flush stops the process; the tail is copied",
        without: "the copy of the tail at the start",
        core: &[],
        operator: &[],
        shell: &[Shell::TailCopy],
        verdict: Verdict::Breaks(Sync, TWO, LeaderHasAllCommitted, 35),
    },
    Row {
        row: "rot is not a torn tail",
        without: "the new name after rot",
        core: &[],
        operator: &[],
        shell: &[Shell::RotLeaves],
        verdict: Verdict::Breaks(Sync, TWO, LeaderHasAllCommitted, 149),
    },
    Row {
        row: "an unanswered compare-and-swap is unknown",
        without: "the union until a newer record is seen",
        core: &[Rule::KeepProposal],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, TWO, LeaderHasAllCommitted, 3205),
    },
    Row {
        row: "an unanswered compare-and-swap is unknown",
        without: "the read after an unknown write",
        core: &[],
        operator: &[Planning::ReadUnknown],
        shell: &[],
        verdict: Verdict::Holds(
            "the next write expects what was read before, and whatever is in the store by then stands \
             in its way; the read spares a plan that is made for nothing",
        ),
    },
    Row {
        row: "writes name the version read; brokers ignore older records",
        without: "compare-and-swap",
        core: &[],
        operator: &[],
        shell: &[Shell::CompareAndSwap],
        verdict: Verdict::Breaks(Sync, TWO, LeaderHasAllCommitted, 689),
    },
    Row {
        row: "writes name the version read; brokers ignore older records",
        without: "the version that a wish names",
        core: &[],
        operator: &[Planning::OldWish],
        shell: &[Shell::PresentWish],
        verdict: Verdict::Breaks(Sync, TWO, LeaderHasAllCommitted, 3868),
    },
    Row {
        row: "writes name the version read; brokers ignore older records",
        without: "the version that a wish names",
        core: &[],
        operator: &[Planning::OldWish],
        shell: &[],
        verdict: Verdict::Breaks(Sync, TWO, OperatorIrrelevance, 5),
    },
    Row {
        row: "writes name the version read; brokers ignore older records",
        without: "the deafness to older records, and to those that do not follow",
        core: &[Rule::IgnoreOld, Rule::IgnoreForks],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, TWO, LeaderHasAllCommitted, 96),
    },
    Row {
        row: "writes name the version read; brokers ignore older records",
        without: "the deafness to older records, and to those that do not follow",
        core: &[Rule::IgnoreOld, Rule::IgnoreForks],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, TWO, EpochNeverRegresses, 0),
    },
    Row {
        row: "writes name the version read; brokers ignore older records",
        without: "the inventory after a restore of the store",
        core: &[],
        operator: &[Planning::Inventory],
        shell: &[],
        verdict: Verdict::Breaks(Sync, ONE, LeaderHasAllCommitted, 5569),
    },
    Row {
        row: "a record tells what it follows",
        without: "the deafness to records that do not follow the one that was taken",
        core: &[Rule::IgnoreForks],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Sync, ANY, CommittedNeverLost, 47),
    },
    Row {
        row: "a record tells what it follows",
        without: "the wait until all in sync have taken the record of their leader",
        core: &[Rule::TakenRecord],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, TWO, CommittedNeverLost, 14267),
    },
    Row {
        row: "a record tells what it follows",
        without: "the proof that nothing was committed on a branch that is left",
        core: &[],
        operator: &[Planning::LeaveDead],
        shell: &[],
        verdict: Verdict::Breaks(Sync, TWO, NoTruncateBelowCommitted, 3372),
    },
    Row {
        row: "election: a live member, matching, the most complete, a new epoch",
        without: "the ISR as the only candidates",
        core: &[],
        operator: &[Planning::ElectInSync],
        shell: &[],
        verdict: Verdict::Breaks(Sync, TWO, LeaderHasAllCommitted, 23),
    },
    Row {
        row: "election: a live member, matching, the most complete, a new epoch",
        without: "the match of incarnations in the planner",
        core: &[],
        operator: &[Planning::MatchIncarnation],
        shell: &[],
        verdict: Verdict::Stuck(
            Async,
            TWO,
            NoLeader,
            8,
            "the broker that is elected by mistake does not lead under another name",
        ),
    },
    Row {
        row: "election: a live member, matching, the most complete, a new epoch",
        without: "the match of incarnations in the elected broker",
        core: &[Rule::OwnIncarnation],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Async, ANY, LeaderHasAllCommitted, 16),
    },
    Row {
        row: "election: a live member, matching, the most complete, a new epoch",
        without: "the match of incarnations in both",
        core: &[Rule::OwnIncarnation],
        operator: &[Planning::MatchIncarnation],
        shell: &[],
        verdict: Verdict::Breaks(Async, TWO, LeaderHasAllCommitted, 36),
    },
    Row {
        row: "election: a live member, matching, the most complete, a new epoch",
        without: "leading only a newer epoch",
        core: &[Rule::NewEpoch],
        operator: &[],
        shell: &[],
        verdict: Verdict::Breaks(Sync, TWO, OneLeaderPerEpoch, 15),
    },
    Row {
        row: "election: a live member, matching, the most complete, a new epoch",
        without: "the most complete first",
        core: &[],
        operator: &[Planning::MostComplete],
        shell: &[],
        verdict: Verdict::Holds(
            "any member has all that is committed; the most complete one spares the others \
             a cut, and keeps what was not committed yet",
        ),
    },
];
