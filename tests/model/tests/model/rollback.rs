//! The record store is restored from a backup, once in every walk that gets that far.
//!
//! One operator is active, and may be replaced by one that starts from an old record. Epochs are
//! given out twice then, until enough brokers were heard; what is judged is the loss. What may
//! still be lost is in `docs/model.md`.

use holdfast_model::setup::Operators;
use holdfast_model::{Invariant, Setup};
use holdfast_protocol::FlushMode;

use crate::walks::holds;

#[test]
fn a_restored_store_loses_nothing_that_was_committed() {
    let mut setup = Setup::large(FlushMode::Sync, Operators::Shipped(1));
    setup.bounds.rollbacks = 1;
    setup.judged = &[Invariant::CommittedNeverLost, Invariant::LeaderHasAllCommitted];
    holds("restored store, Sync", setup);
}
