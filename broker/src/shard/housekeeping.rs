//! What a shard does by itself from time to time: checkpoints, retention, cleaning.

use std::collections::HashMap;

use holdfast_core::state::State;
use holdfast_log::Checkpointed;
use holdfast_protocol::entry::Kind;
use holdfast_protocol::topic::{Cleanup, TopicConfig};
use holdfast_protocol::{Header, Offset, Position, StreamId, command, mark};
use tracing::{debug, warn};

use super::driver::Driver;
use super::effects::Effects;

/// Entries after which a checkpoint is written.
const CHECKPOINT_ENTRIES: u64 = 50_000;
/// Bytes of the log after which a checkpoint is written.
const CHECKPOINT_BYTES: u64 = 64 * 1024 * 1024;
/// How often retention is looked at, ms.
const RETENTION_MS: u64 = 5_000;
/// How often the log is cleaned, ms.
const CLEAN_MS: u64 = 10_000;
/// Of topics that were deleted, so many cursors of a group, of so many groups, go in one pass.
const CURSORS_AT_ONCE: usize = 1_000;
const GROUPS_AT_ONCE: usize = 100;
/// Entries looked at in one pass of retention over one stream.
const RETENTION_ENTRIES_MAX: usize = 10_000;
/// A full disk is tried again after this, ms.
const FAILURE_RETRY_MS: u64 = 2_000;

/// When what was last done.
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    checkpointing: bool,
    /// Where streams begin by the checkpoint that is being written.
    starting: Starts,
    /// And by the one that is on the disk, where this process wrote it.
    starts: Starts,
    checkpoint_ms: u64,
    checkpoint_bytes: u64,
    retention_ms: u64,
    clean_ms: u64,
    failed_ms: u64,
    /// The checkpoint on the disk is not what was written.
    pub(super) checkpoint_is_rotten: bool,
}

/// Where each stream begins, by a state.
#[derive(Debug, Default)]
struct Starts {
    position: Position,
    of: HashMap<StreamId, Offset>,
}

impl Starts {
    fn new(state: &State) -> Self {
        let of = state.streams().map(|(id, stream)| (*id, stream.start)).collect();
        Self { position: state.position(), of }
    }

    /// Whether nothing of a batch is left.
    fn are_past(&self, batch: &Header) -> bool {
        let end = batch.offset.plus(u64::from(batch.count));
        self.of.get(&batch.stream).is_none_or(|start| end <= *start)
    }
}

impl<E: Effects> Driver<E> {
    /// Does what is due.
    pub(super) fn keep_house(&mut self, now_ms: u64) {
        self.checkpoint_if_due(now_ms);
        self.mend(now_ms);
        self.give_room_back(now_ms);
        if now_ms.saturating_sub(self.housekeeping.retention_ms) >= RETENTION_MS {
            self.housekeeping.retention_ms = now_ms;
            self.drop_deleted();
            self.retain();
        }
        if now_ms.saturating_sub(self.housekeeping.clean_ms) >= CLEAN_MS {
            self.housekeeping.clean_ms = now_ms;
            self.clean();
        }
        if self.failure.is_some() {
            if self.housekeeping.failed_ms == 0 {
                self.housekeeping.failed_ms = now_ms;
            } else if now_ms - self.housekeeping.failed_ms >= FAILURE_RETRY_MS
                && !self.core.replica().is_halted()
            {
                // Another try will show whether there is room again.
                self.failure = None;
                self.housekeeping.failed_ms = 0;
            }
        }
    }

    fn checkpoint_if_due(&mut self, now_ms: u64) {
        let position = self.core.state().position();
        let last = self.log.checkpoint_position().unwrap_or_default();
        let rotten = self.housekeeping.checkpoint_is_rotten;
        if self.housekeeping.checkpointing
            || position <= last && !(rotten && position == last)
            || self.core.replica().is_bootstrapping()
        {
            return;
        }
        let entries = position.0 - last.0;
        let bytes = self.log.bytes().abs_diff(self.housekeeping.checkpoint_bytes);
        let age_ms = now_ms.saturating_sub(self.housekeeping.checkpoint_ms);
        let due = rotten
            || entries >= CHECKPOINT_ENTRIES
            || bytes >= CHECKPOINT_BYTES
            || age_ms >= self.effects.checkpoint_age_ms() && self.housekeeping.checkpoint_ms > 0;
        if self.housekeeping.checkpoint_ms == 0 {
            self.housekeeping.checkpoint_ms = now_ms;
        }
        if !due {
            return;
        }
        self.housekeeping.checkpoint_ms = now_ms;
        self.housekeeping.checkpoint_bytes = self.log.bytes();
        let bytes = self.core.state().encode(self.core.replica().history());
        match self.log.checkpoint_job(position, bytes) {
            Ok(job) => {
                self.housekeeping.checkpointing = true;
                self.housekeeping.starting = Starts::new(self.core.state());
                self.effects.start_checkpoint(job);
            }
            Err(error) => warn!(shard = %self.shard, %error, "no checkpoint"),
        }
    }

    /// A checkpoint is on the disk.
    pub(super) fn checkpointed(&mut self, done: Checkpointed) {
        self.housekeeping.checkpointing = false;
        self.housekeeping.starts = std::mem::take(&mut self.housekeeping.starting);
        let noted = E::blocking(|| self.log.checkpointed(done));
        match noted {
            Ok(()) => {
                if std::mem::take(&mut self.housekeeping.checkpoint_is_rotten) {
                    self.effects.count_rot_repaired();
                }
            }
            Err(error) if error.is_fatal() => self.effects.stop_process(&error),
            Err(error) => warn!(shard = %self.shard, %error, "the checkpoint is not noted"),
        }
        // It comes with a flush.
        let (durable, now) = (self.log.durable(), self.effects.now_ms());
        self.core.handle_durable(durable, now);
    }

    /// A checkpoint could not be written; the next is as due as if there had been none.
    pub(super) fn checkpoint_failed(&mut self) {
        mark!(CheckpointFailed);
        self.housekeeping.checkpointing = false;
        self.log.checkpoint_failed();
    }

    /// Frees what is dead by the checkpoint and below it, but nothing that a follower still fetches.
    /// What is dead by newer entries only may live again: in Async mode those may be lost.
    fn clean(&mut self) {
        let replica = self.core.replica();
        // One that is away and out of the in-sync replicas holds nothing up: it takes a checkpoint.
        let followed = replica
            .followers()
            .filter(|(member, _)| {
                let in_sync = replica.record().is_some_and(|r| r.isr.contains(member));
                in_sync || self.effects.hears(member.broker)
            })
            .map(|(_, position)| position)
            .min();
        let checkpoint = self.log.checkpoint_position().unwrap_or_default();
        let below = followed.map_or(checkpoint, |position| position.min(checkpoint));
        if below < checkpoint {
            mark!(CleaningHeldUp);
        }
        let starts = &self.housekeeping.starts;
        if below == Position(0) || replica.is_bootstrapping() || starts.position != checkpoint {
            return;
        }
        let is_dead = |header: &Header| match header.kind {
            Kind::Append => starts.are_past(header),
            // The checkpoint stands for every other command below it.
            Kind::EpochStart
            | Kind::TrimStream
            | Kind::DropStream
            | Kind::CommitOffsets
            | Kind::DropOffsets
            | Kind::KeepGroup
            | Kind::DeclareTopic
            | Kind::DeleteTopic => true,
        };
        let cleaned = E::blocking(|| self.log.clean(below, is_dead));
        match cleaned {
            Ok(cleaned) => {
                if cleaned.bytes > 0 {
                    debug!(shard = %self.shard, ?cleaned, "cleaned");
                }
            }
            Err(error) if error.is_fatal() => self.effects.stop_process(&error),
            Err(error) if error.is_rot() => self.found_rot(error.to_string()),
            Err(error) => warn!(shard = %self.shard, %error, "the log can't be cleaned"),
        }
        self.core.handle_cleaned(self.log.clean_point());
    }

    /// Drops the streams of topics that were deleted, and what groups have read of them.
    fn drop_deleted(&mut self) {
        if self.core.accepts().is_err() {
            return;
        }
        let catalog = self.effects.catalog();
        let groups = self.core.state().groups();
        let read = groups.filter_map(|(group, kept)| {
            let streams = kept.cursors.keys().filter(|id| catalog.is_deleted(id.topic));
            let wire = |id: &StreamId| command::Stream {
                topic: id.topic.0.to_vec().into(),
                partition: id.partition,
            };
            let streams: Vec<_> = streams.take(CURSORS_AT_ONCE).map(wire).collect();
            let group = group.clone();
            (!streams.is_empty()).then_some(command::DropOffsets {
                group,
                streams,
                group_too: false,
            })
        });
        let read: Vec<_> = read.take(GROUPS_AT_ONCE).collect();
        for command in read {
            let _ = self.core.command(Kind::DropOffsets, &command);
        }
        let streams = self.core.state().streams().map(|(id, _)| *id);
        let gone: Vec<StreamId> = streams.filter(|id| catalog.is_deleted(id.topic)).collect();
        for id in gone {
            // Refused, it is tried again with the next pass.
            let _ = self.core.command_on(id, Kind::DropStream, &command::DropStream {});
        }
    }

    /// Drops what is older, or more, than the topics keep.
    fn retain(&mut self) {
        if self.core.accepts().is_err() {
            return;
        }
        let catalog = self.effects.catalog();
        let streams: Vec<StreamId> = self.core.state().streams().map(|(id, _)| *id).collect();
        for id in streams {
            let Some(topic) = catalog.topics().by_id(id.topic) else { continue };
            if topic.config.cleanup == Cleanup::Compact {
                continue;
            }
            let Some(to) = self.retention_start(id, &topic.config) else { continue };
            mark!(Retained);
            debug!(shard = %self.shard, topic = %topic.name, partition = id.partition, %to, "retention");
            let _ = self.trim(id, to);
        }
    }

    /// The first offset to keep, where that is past the present start.
    fn retention_start(&self, id: StreamId, config: &TopicConfig) -> Option<Offset> {
        let stream = self.core.state().stream(id)?;
        let oldest_ms = config.retention_ms.map(|age| {
            self.effects.wall_ms().saturating_sub(i64::try_from(age).unwrap_or(i64::MAX))
        });
        // What waits to be dropped is not there to be counted, or dropped, again.
        let (first, mut bytes) = self.core.kept(id);
        let mut start = first;
        for _ in 0..RETENTION_ENTRIES_MAX {
            let header = self.view.reader.locate(id, start).ok().flatten()?;
            let end = header.offset.plus(u64::from(header.count));
            let old = oldest_ms
                .is_some_and(|oldest| header.timestamp_ms >= 0 && header.timestamp_ms < oldest);
            let too_much = config
                .retention_bytes
                .is_some_and(|max| bytes.saturating_sub(u64::from(header.length)) >= max);
            if !(old || too_much) || end > stream.end {
                break;
            }
            bytes = bytes.saturating_sub(u64::from(header.length));
            start = end;
            if start == stream.end {
                break;
            }
        }
        (start > first).then_some(start)
    }

    /// Size of the entries of a stream wholly below `to` that no trim drops yet, bytes. Of very many
    /// entries the first are counted and the others taken to be like those that are left.
    ///
    /// # Errors
    /// Where the log can't be read.
    pub(super) fn bytes_below(&self, id: StreamId, to: Offset) -> Result<u64, holdfast_log::Error> {
        let Some(end) = self.core.state().stream(id).map(|stream| stream.end) else {
            return Ok(0);
        };
        let (start, all) = self.core.kept(id);
        if to >= end {
            return Ok(all);
        }
        let (mut at, mut bytes) = (start, 0);
        for _ in 0..RETENTION_ENTRIES_MAX {
            let Some(header) = self.view.reader.locate(id, at)? else { break };
            let next = header.offset.plus(u64::from(header.count));
            if next > to {
                return Ok(bytes);
            }
            bytes += u64::from(header.length);
            at = next;
        }
        let (below, left) = (to.0.saturating_sub(at.0), end.0.saturating_sub(at.0).max(1));
        let rest = u128::from(all.saturating_sub(bytes)) * u128::from(below) / u128::from(left);
        Ok(bytes + u64::try_from(rest).unwrap_or(0))
    }
}
