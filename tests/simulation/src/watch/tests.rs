//! What is said of waits and of what grows.

use super::*;
use crate::moves::Wants;

/// A cluster without clients that has been well for a while.
fn calm() -> World {
    let mut world = World::new(1, Wants::steady());
    for broker in world.machines() {
        world.after(0, Event::Start(broker));
    }
    world.after(100, Event::StartOperator(0));
    assert_eq!(go_on(&mut world, 10_000), Ok(()));
    assert_eq!(world.troubled(), Some(None));
    world
}

fn go_on(world: &mut World, until_ms: u64) -> Result<(), String> {
    while world.now() < until_ms {
        world.step()?;
    }
    Ok(())
}

#[track_caller]
fn assert_finds(found: Result<(), String>, what: &str) {
    let violation = found.expect_err("a violation");
    assert!(violation.contains(what), "not `{what}`, but: {violation}");
}

#[test]
fn nobody_waits_for_long_while_it_is_calm() {
    let mut world = calm();
    world.clients[0].since_ms = world.now();
    world.after(0, Event::Watch);
    assert_eq!(go_on(&mut world, 40_000), Ok(()));

    let mut world = calm();
    world.clients[0].pending = true;
    world.clients[0].since_ms = world.now();
    world.after(0, Event::Watch);
    assert_eq!(go_on(&mut world, 10_000 + WAIT_MS_MAX), Ok(()));
    assert_finds(go_on(&mut world, 40_000), "nothing was stored for");
}

#[test]
fn while_more_is_wrong_than_one_broker_one_may_wait() {
    let mut world = calm();
    world.clients[0].pending = true;
    world.clients[0].since_ms = world.now();
    for broker in [0, 1] {
        world.broker(broker).is_full = true;
    }
    world.after(0, Event::Watch);
    assert_eq!(go_on(&mut world, 40_000), Ok(()));
}

#[test]
fn more_events_than_anyone_asked_for_are_found() {
    let mut world = calm();
    assert_eq!(world.watch_after(0), Ok(()));
    assert_eq!(world.watch_after(EVENTS_MAX * LOOK_MS / 1_000), Ok(()));
    assert_finds(world.watch_after(EVENTS_MAX * LOOK_MS / 1_000 + 1), "more than anyone asked for");
}

#[test]
fn what_waits_to_happen_is_bounded() {
    let mut world = calm();
    assert_eq!(world.watch_after(0), Ok(()));
    for _ in 0..=QUEUE_MAX {
        world.after(1_000, Event::Read);
    }
    assert_finds(world.watch_after(0), "events wait to happen");
}

#[test]
fn a_disk_that_holds_more_than_is_live_is_found() {
    let mut world = calm();
    assert_eq!(world.judge_room(), Ok(()));
    let room = u64::from(SHARDS) * (ROOM_BYTES + crate::broker::ASIDE_BYTES);
    let much = vec![0; usize::try_from(room + 1).expect("a few MiB")];
    world.brokers[0].disk.put(std::path::Path::new("/data/left"), &much);
    assert_finds(world.judge_room(), "would be enough");
}

impl World {
    /// Looks after so many events more.
    fn watch_after(&mut self, events: u64) -> Result<(), String> {
        self.events = self.watch.events + events;
        self.watch()
    }
}
