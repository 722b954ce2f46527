//! The record store is restored from a backup, once in every walk that gets that far.
//!
//! Operators may be replaced by ones that start from old records, and two may be active across the
//! restore. Versions are given out twice then; epochs are not, for their number says who leads.
//! What may still be lost is in `docs/model.md`.

use holdfast_model::setup::Operators;
use holdfast_model::{Cluster, Invariant, Setup, walk};
use holdfast_protocol::FlushMode;

use crate::walks::{SEEDS, STEPS, holds};

fn restored(flush: FlushMode, operators: usize, judged: &'static [Invariant]) -> Setup {
    let mut setup = Setup::large(flush, Operators::Shipped(operators));
    setup.bounds.rollbacks = 1;
    Setup { judged, ..setup }
}

#[test]
fn a_restored_store_loses_nothing_that_was_committed() {
    let judged = &[
        Invariant::CommittedNeverLost,
        Invariant::LeaderHasAllCommitted,
        Invariant::OneLeaderPerEpoch,
        Invariant::LogMatching,
    ];
    holds("restored store, Sync", restored(FlushMode::Sync, 1, judged));
    holds("restored store, Async", restored(FlushMode::Async, 1, judged));
}

/// What two operators write over a restored store may end in logs that fork; then a shard stops,
/// and says so. That it goes on in the quiet is not asked here.
#[test]
fn an_epoch_is_led_once_whatever_two_operators_read() {
    for flush in [FlushMode::Sync, FlushMode::Async] {
        let judged = &[Invariant::OneLeaderPerEpoch, Invariant::LogMatching];
        let cluster = Cluster { setup: restored(flush, 2, judged) };
        let start = cluster.start();
        for seed in 0..SEEDS {
            let broken = walk::walk(&cluster, &start, seed, STEPS).broken();
            assert_eq!(broken, None, "restored store, {flush:?}, two operators, seed {seed}");
        }
    }
}
