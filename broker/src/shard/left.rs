//! What becomes of a replica that holds its shard no more: it gives its room back.
//!
//! Only where the record that it has persisted does not name its broker, neither as a replica nor in
//! sync: those who are named held all that is committed when that was written. The empty log has
//! another name, so that nobody takes it for the one that was; and since the record is kept, it goes
//! on telling that it knows better than an older one.

use holdfast_protocol::{Position, ShardId, mark};
use tracing::info;

use super::driver::Driver;
use super::effects::Effects;

/// It waits so long: a change of mind should not have to copy everything back, ms.
const KEPT_MS: u64 = 15_000;

impl<E: Effects> Driver<E> {
    /// Whether the record names this broker, as far as it is known; or the log may be all that is
    /// left of something, as it stopped rather than be cut.
    pub(super) fn is_named(&self) -> bool {
        let replica = self.core.replica();
        let me = replica.member().broker;
        // Every broker follows the catalog.
        self.shard == ShardId::CATALOG
            || replica.is_halted()
            || replica
                .record()
                .is_none_or(|record| record.replicas.contains(&me) || record.in_sync(me).is_some())
    }

    /// Gives the room of a log back that nobody counts on any more.
    pub(super) fn give_room_back(&mut self, now_ms: u64) {
        let is_empty = self.log.end() == Position(0);
        if is_empty || self.is_named() {
            self.left_ms = None;
            return;
        }
        if now_ms.saturating_sub(*self.left_ms.get_or_insert(now_ms)) < KEPT_MS {
            return;
        }
        mark!(RoomGivenBack);
        info!(shard = %self.shard, "this broker holds the shard no more: its log is given up");
        self.left_ms = None;
        self.begin_empty();
    }
}
