//! The record store is restored from a backup, once in every walk that gets that far.
//!
//! Operators may be replaced by ones that start from old records, and two may be active across the
//! restore. Numbers are given out twice then; names are not, and a record tells what it follows.

use holdfast_model::setup::Operators;
use holdfast_model::{Cluster, Setup, walk};
use holdfast_protocol::FlushMode;

use crate::walks::{SEEDS, STEPS, holds};

/// Without any inventory: what competes with a record that is in force is never in force itself. That
/// such a shard goes on is not asked.
#[test]
fn of_two_forks_one_is_in_force_whatever_operators_write() {
    for flush in [FlushMode::Sync, FlushMode::Async] {
        let cluster = Cluster { setup: Setup::restored(flush, Operators::Arbitrary) };
        let start = cluster.start();
        for seed in 0..SEEDS {
            let walk = walk::walk(&cluster, &start, seed, STEPS);
            assert_eq!(walk.broken(), None, "restored store, {flush:?}, arbitrary, seed {seed}");
        }
    }
}

fn restored(flush: FlushMode, operators: usize) -> Setup {
    Setup::restored(flush, Operators::Shipped(operators))
}

#[test]
fn a_restored_store_loses_nothing_that_was_committed() {
    holds("restored store, Sync", restored(FlushMode::Sync, 1));
    holds("restored store, Async", restored(FlushMode::Async, 1));
    holds("restored store, Sync, two operators", restored(FlushMode::Sync, 2));
    holds("restored store, Async, two operators", restored(FlushMode::Async, 2));
}
