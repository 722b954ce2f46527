//! The planner in a world where brokers crash, messages arrive late, writes end unknown and
//! operators change, in random order: whatever happens, the invariants hold, and once everybody
//! is back there is a leader wherever one is possible.

// A test stops where something is not as it must be.
#![allow(clippy::unwrap_used)]

mod broker;
mod rules;
mod world;

use holdfast_protocol::UncleanElection;
use proptest::prelude::*;
use world::World;

/// Something that happens. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Crash {
        broker: u32,
    },
    Start {
        broker: u32,
        lossy: bool,
    },
    Connect {
        broker: u32,
    },
    Break {
        broker: u32,
    },
    Refuse {
        broker: u32,
    },
    /// A broker takes its next message.
    Deliver {
        broker: u32,
    },
    /// The planner takes the next thing that a broker said.
    Hear {
        broker: u32,
    },
    /// The store takes its next call.
    Store {
        end: StoreEnd,
    },
    /// The entries of a shard's leader reach its connected replicas, as far as they go.
    Append {
        shard: u32,
        replicas: u8,
    },
    AskIsr {
        shard: u32,
        members: u8,
    },
    Resign {
        shard: u32,
    },
    Fail {
        broker: u32,
        failed: bool,
    },
    PrepareStop {
        broker: u32,
    },
    Wait {
        ms: u64,
    },
    /// The operator is replaced by one that knows the store alone.
    Replace,
    /// And by one that is told that other brokers stay, or to have so many replicas.
    Want {
        staying: u32,
        replicas: u32,
    },
    /// The store goes back to a record that it had before.
    RollBack {
        shard: u32,
        by: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum StoreEnd {
    Done,
    /// It happened, and nobody was told.
    Lost,
    /// It did not happen, and nobody was told.
    Never,
}

fn step() -> impl Strategy<Value = Step> {
    let broker = || 0..4u32;
    let shard = || 0..2u32;
    let end = prop_oneof![
        6 => Just(StoreEnd::Done),
        1 => Just(StoreEnd::Lost),
        1 => Just(StoreEnd::Never),
    ];
    prop_oneof![
        2 => broker().prop_map(|broker| Step::Crash { broker }),
        3 => (broker(), any::<bool>()).prop_map(|(broker, lossy)| Step::Start { broker, lossy }),
        4 => broker().prop_map(|broker| Step::Connect { broker }),
        1 => broker().prop_map(|broker| Step::Break { broker }),
        2 => broker().prop_map(|broker| Step::Refuse { broker }),
        12 => broker().prop_map(|broker| Step::Deliver { broker }),
        12 => broker().prop_map(|broker| Step::Hear { broker }),
        10 => end.prop_map(|end| Step::Store { end }),
        4 => (shard(), 0..16u8).prop_map(|(shard, replicas)| Step::Append { shard, replicas }),
        5 => (shard(), 0..16u8).prop_map(|(shard, members)| Step::AskIsr { shard, members }),
        1 => shard().prop_map(|shard| Step::Resign { shard }),
        1 => (broker(), any::<bool>()).prop_map(|(broker, failed)| Step::Fail { broker, failed }),
        1 => broker().prop_map(|broker| Step::PrepareStop { broker }),
        4 => (0..2000u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Replace),
        1 => (3..5u32, 2..5u32).prop_map(|(staying, replicas)| {
            Step::Want { staying, replicas: replicas.min(staying) }
        }),
    ]
}

fn steps(roll_back: bool) -> impl Strategy<Value = Vec<Step>> {
    let back = (0..2u32, 1..4usize).prop_map(|(shard, by)| Step::RollBack { shard, by });
    let any = if roll_back { prop_oneof![60 => step(), 1 => back].boxed() } else { step().boxed() };
    proptest::collection::vec(any, 0..300)
}

fn unclean() -> impl Strategy<Value = UncleanElection> {
    prop_oneof![Just(UncleanElection::Never), Just(UncleanElection::AllReported)]
}

fn run(steps: &[Step], unclean: UncleanElection, started: bool) -> World {
    let mut world = World::new(unclean);
    if started {
        world.settle();
        world.expect_leaders();
    }
    for step in steps {
        world.take(step);
    }
    world.settle();
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_invariants_hold(steps in steps(false), unclean in unclean(), started in any::<bool>()) {
        let world = run(&steps, unclean, started);
        world.expect_leaders();
        world.expect_placement();
    }

    #[test]
    fn a_store_that_goes_back_is_put_right(steps in steps(true), unclean in unclean()) {
        let mut world = run(&steps, unclean, true);
        // An operator that reads the store anew notices what no write has met yet.
        world.take(&Step::Replace);
        world.settle();
        world.expect_agreement();
        world.expect_leaders();
    }

    #[test]
    fn the_same_events_give_the_same_plan(steps in steps(true), unclean in unclean()) {
        let (one, other) = (run(&steps, unclean, true), run(&steps, unclean, true));
        prop_assert_eq!(one.trace(), other.trace());
    }
}
