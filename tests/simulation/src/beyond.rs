//! More than can be made good: two of three volumes are put back to an older state, and nothing
//! tells so: the copies were made in the very start that is remembered last, and the operator, who
//! knew what was committed, is another one since. Then what the third holds must not be lost
//! quietly: it refuses to be cut, stops, and says so.

use holdfast_protocol::{FlushMode, Offset, ShardId, UncleanElection};

use crate::client::placed;
use crate::event::Event;
use crate::moves::Wants;
use crate::world::{BROKERS, Outcome, QUIET_MS, SHARDS, World, finished};

/// When the copies are made, when they are put back, and when all is over, ms.
const COPIED_MS: u64 = 8_000;
const PUT_BACK_MS: u64 = 14_000;
const END_MS: u64 = 30_000;
/// The third comes back so much later, that the others elect a leader without it, ms.
const AWAY_MS: u64 = 6_000;

/// Runs a seed of this.
///
/// # Errors
/// What was lost, or that nobody stopped.
pub fn run_beyond(seed: u64) -> Result<Outcome, String> {
    let mut world = World::new(seed, Wants::steady());
    world.shape.flush = FlushMode::Sync;
    world.shape.unclean = UncleanElection::Never;
    world.begin_cluster();
    world.run_until(COPIED_MS)?;
    let third = u32::try_from(world.dice.below(u64::from(BROKERS))).unwrap_or(0);
    let others: Vec<u32> = (0..BROKERS).filter(|broker| *broker != third).collect();
    let copies: Vec<_> =
        others.iter().map(|broker| world.brokers[*broker as usize].disk.snapshot()).collect();
    world.run_until(PUT_BACK_MS)?;
    for broker in 0..BROKERS {
        world.broker(broker).disk.kill();
        world.end_process(broker);
    }
    world.losses.untold = true;
    world.stop_operator(0);
    world.after(100, Event::StartOperator(0));
    for (broker, copy) in others.iter().zip(&copies) {
        world.broker(*broker).disk.restore(copy);
        world.after(100, Event::Start(*broker));
    }
    world.after(AWAY_MS, Event::Start(third));
    world.run_until(END_MS)?;
    world.quieten();
    while !world.has_stopped(third) {
        if world.now() > END_MS + QUIET_MS {
            return Err(format!("broker {third} does not stop: {}", world.ill()));
        }
        world.step()?;
    }
    world.judge_somewhere()?;
    Ok(finished(world, 0))
}

impl World {
    fn run_until(&mut self, ms: u64) -> Result<(), String> {
        while self.now() < ms {
            self.step()?;
        }
        Ok(())
    }

    /// Whether a broker has stopped for good in every shard, and says why.
    fn has_stopped(&self, broker: u32) -> bool {
        let process = self.brokers[broker as usize].process.as_ref();
        process.is_some_and(|process| {
            process.drivers.values().all(|driver| {
                driver.core().replica().is_halted() && driver.view().report().failure.is_some()
            })
        })
    }

    /// That every acknowledged message is in some replica's log.
    fn judge_somewhere(&self) -> Result<(), String> {
        for client in &self.clients {
            let mut found = Vec::new();
            for shard in (0..SHARDS).map(ShardId).filter(|shard| *shard == client.shard) {
                for broker in &self.brokers {
                    let Some(process) = &broker.process else { continue };
                    let reader = &process.drivers[&shard].view().reader;
                    let all = Offset(u64::MAX);
                    let held = reader.read_stream(client.stream, Offset(0), all, usize::MAX, true);
                    let held = held.map_err(|error| error.to_string())?;
                    found.extend(held.iter().map(placed));
                }
            }
            self.checker.judge_somewhere(client.stream, &found)?;
        }
        Ok(())
    }
}
