//! An operator that has just begun takes the word of brokers for how long another one is silent.

use holdfast_operator_core::{Action, Input, Planner, Time};
use holdfast_protocol::BrokerId;

use crate::{connect_at, drain, record, starting_at};

/// When the operator began, ms.
const BEGAN: u64 = 10_000;

/// A planner that begins while the first broker, which leads, does not answer it; the others tell
/// for how long that has not answered them.
fn planner(unanswered_ms: [u64; 2]) -> Planner {
    let mut planner = starting_at(record(1, &[0, 1]), Time(BEGAN));
    for (id, for_ms) in [1, 2].into_iter().zip(unanswered_ms) {
        connect_at(&mut planner, id, (0, 0), false, Time(BEGAN));
        let silence = Input::Unanswered { broker: BrokerId(0), for_ms };
        planner.handle(silence, Time(BEGAN));
    }
    assert_eq!(elected(&mut planner), None);
    planner
}

/// Who is elected.
fn elected(planner: &mut Planner) -> Option<BrokerId> {
    drain(planner).into_iter().find_map(|action| match action {
        Action::Write { record, .. } => record.leader.map(|leader| leader.broker),
        Action::Send { .. } | Action::Read { .. } | Action::Redial { .. } | Action::Tell(_) => None,
    })
}

/// When somebody is elected, ms after the operator began; the others are heard all the time.
fn elected_after_ms(planner: &mut Planner) -> u64 {
    let moment = (0..10_000).step_by(100).find(|passed| {
        let now = Time(BEGAN + passed);
        for id in [1, 2] {
            planner.handle(Input::Heard { broker: BrokerId(id) }, now);
        }
        elected(planner).is_some()
    });
    moment.expect("a silent broker is dead at some time")
}

#[test]
fn what_no_other_broker_hears_is_dead_as_soon_as_it_had_time_to_answer() {
    assert_eq!(elected_after_ms(&mut planner([4000, 3600])), 500);
    assert_eq!(elected_after_ms(&mut planner([3600, 4000])), 500);
    // Silence goes on from what the others saw.
    assert_eq!(elected_after_ms(&mut planner([1000, 1000])), 2000);
    assert_eq!(elected_after_ms(&mut planner([2000, 1000])), 2000);
    assert_eq!(elected_after_ms(&mut planner([0, 0])), 3000);
}

#[test]
fn what_one_other_broker_hears_is_not_dead() {
    assert_eq!(elected_after_ms(&mut planner([9000, 0])), 3000);
    assert_eq!(elected_after_ms(&mut planner([0, 9000])), 3000);
}

#[test]
fn what_the_operator_hears_itself_counts_more() {
    let mut planner = planner([9000, 9000]);
    connect_at(&mut planner, 0, (0, 0), false, Time(BEGAN + 400));
    planner.handle(Input::Unanswered { broker: BrokerId(0), for_ms: 9000 }, Time(BEGAN + 401));
    planner.handle(Input::Tick, Time(BEGAN + 3399));
    assert_eq!(elected(&mut planner), None);
    planner.handle(Input::Tick, Time(BEGAN + 3400));
    let gone = drain(&mut planner);
    assert!(gone.contains(&Action::Redial { broker: BrokerId(0) }), "{gone:?}");
}
