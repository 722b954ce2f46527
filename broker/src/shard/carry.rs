//! Carrying out what the core says, in its order, and telling those who wait.

use holdfast_core::replica::{Output, Replica};
use holdfast_core::state::Change;
use holdfast_log::Meta;
use holdfast_protocol::{FlushMode, Header, Position, ShardId, ShardRecord, control, mark};
use prost::Message;
use tracing::{error, info, warn};

use super::driver::Driver;
use super::effects::Effects;
use super::{Image, open};
use crate::peer::ANSWER_BYTES_MAX;

impl<E: Effects> Driver<E> {
    /// Carries out everything that the core wants done, then tells who watches.
    pub(super) fn carry_out(&mut self) {
        while let Some(output) = self.core.poll_output() {
            self.carry(output);
        }
        self.flush();
        self.publish_changes();
        if self.shard == ShardId::CATALOG && self.core.is_current() {
            self.effects.catalog_is_current();
        }
        self.settle_waits();
        if self.put_report() {
            self.effects.tell_report();
        }
        self.follow_leadership();
    }

    fn carry(&mut self, output: Output) {
        let shard = self.shard;
        match output {
            Output::Persist(record) => {
                if self.persist(record) {
                    let now = self.effects.now_ms();
                    self.core.handle_durable(self.log.durable(), now);
                }
            }
            Output::Append(entries) => match self.log.append(&entries) {
                Ok(()) => {}
                Err(error) if error.is_fatal() => self.effects.stop_process(&error),
                Err(error) => self.step_back(&error),
            },
            Output::Truncate(to) => {
                warn!(%shard, %to, end = %self.log.end(), "the leader's log parts from this one: cutting, the suffix is set aside");
                let cut = E::blocking(|| self.log.truncate(to));
                match cut {
                    Ok(()) => {}
                    Err(error) if error.is_fatal() => self.effects.stop_process(&error),
                    Err(error) => self.step_back(&error),
                }
            }
            // What the log can't take is not asked for; the core asks again, and so it goes on once
            // the failure is past.
            Output::Fetch(..) if self.failure.is_some() => {}
            Output::Fetch(to, fetch) => self.effects.send_fetch(to, fetch),
            Output::Serve { to, key, end, committed } => {
                if !self.effects.hears(to) {
                    return;
                }
                match self.view.reader.read_from(key.position, ANSWER_BYTES_MAX) {
                    Ok(entries) => {
                        let next = next_after(&entries).unwrap_or(end);
                        let answer = Replica::data(key, entries, next, committed);
                        self.effects.send_answer(to, answer);
                    }
                    Err(error) => {
                        mark!(ServeFailed);
                        error!(%shard, %error, "the log can't be read for a follower");
                        if error.is_rot() {
                            self.found_rot(error.to_string());
                        } else {
                            self.failure = Some(error.to_string());
                        }
                    }
                }
            }
            Output::Answer(to, answer) => self.effects.send_answer(to, answer),
            Output::Bootstrap(from) => self.fetch_checkpoint(from),
            Output::RequestIsr(request) => {
                info!(%shard, epoch = %request.epoch, isr = ?members(&request.isr), "asking for other in-sync replicas");
                self.effects.request_isr(request);
            }
            Output::Halt(fault) => {
                error!(%shard, %fault, "this replica stops; a person must look");
                self.failure = Some(fault.to_string());
            }
        }
    }

    /// Keeps the newest record on the volume. Entries that counted as held in Async must be
    /// durable before the replica calls itself Sync. Whether that was so, and they are now.
    fn persist(&mut self, record: ShardRecord) -> bool {
        let shard = self.shard;
        let was_async = !self.log.meta().record.is_empty() && self.persisted_async();
        let meta = Meta {
            record: control::ShardRecord::from(&record).encode_to_vec(),
            committed: self.core.replica().committed().min(self.log.end()),
            ..self.log.meta().clone()
        };
        let flush_first = was_async && record.flush == FlushMode::Sync;
        let kept = E::blocking(|| {
            if flush_first {
                self.log.flush()?;
            }
            self.log.write_meta(&meta)
        });
        if let Err(error) = kept {
            // Without the record on the disk the replica might lead the same epoch twice.
            self.effects.stop_process(&error);
        }
        let leader = record.leader.map(|member| member.broker.0);
        info!(%shard, version = %record.version, epoch = %record.epoch, ?leader, isr = ?members(&record.isr), "record");
        self.effects.publish_records(std::slice::from_ref(&record));
        flush_first
    }

    fn persisted_async(&self) -> bool {
        control::ShardRecord::decode(self.log.meta().record.as_slice())
            .is_ok_and(|record| record.flush() == control::FlushMode::Async)
    }

    /// The log did not take what the core believes it did (the disk is full): the core begins
    /// anew from what the log holds, and leads nothing until it is elected again.
    fn step_back(&mut self, error: &holdfast_log::Error) {
        let shard = self.shard;
        warn!(%shard, %error, "the log takes nothing more; this replica steps back");
        self.failure = Some(error.to_string());
        if let Some(epoch) = self.core.replica().leads() {
            mark!(LeaderResigned);
            self.effects.resign(epoch, error.to_string());
        }
        self.give_up_waits();
        self.led = None;
        // The new core takes what the log holds for durable, as after a start.
        if let Err(error) = E::blocking(|| self.log.flush()) {
            self.effects.stop_process(&error);
        }
        // Rot in it is no reason to begin without one: entries below it may have been cleaned. The
        // next start finds it, and renews the replica.
        let checkpoint = match self.log.checkpoint() {
            Ok(checkpoint) => checkpoint,
            Err(error) => self.effects.stop_process(&error),
        };
        // What was committed stays applied: topics must not vanish while a disk is full.
        let committed = self.core.replica().committed();
        match open::recover(&self.effects, shard, &self.log, checkpoint, committed) {
            Ok(core) => self.core = core,
            Err(error) => {
                error!(%shard, %error, "the replica can't be recovered; stopping");
                self.effects.stop_process(&error)
            }
        }
        self.publish_all();
    }

    fn fetch_checkpoint(&mut self, from: holdfast_protocol::BrokerId) {
        if self.building {
            return;
        }
        self.building = true;
        self.effects.fetch_checkpoint(from);
    }

    /// Sets the log aside and begins it anew from a checkpoint of the leader.
    pub(super) fn build(&mut self, image: Image) {
        self.building = false;
        let shard = self.shard;
        // One that comes too late must not take the place of a log that may be in sync by now.
        if !self.core.replica().wants_bootstrap() {
            mark!(BuildTooLate);
            return;
        }
        mark!(BuiltAnew);
        let position = image.state.position();
        info!(%shard, %position, start = %image.log_start, "building this replica from the leader's checkpoint");
        let epochs = image.history.epochs().to_vec();
        let start = image.log_start.min(position);
        // What was here is set aside: under the old name it could be taken for more than it is.
        let incarnation = open::new_incarnation(&mut self.effects);
        let meta = Meta { incarnation, committed: Position(0), ..self.log.meta().clone() };
        let built = E::blocking(|| {
            self.log.write_meta(&meta)?;
            self.log.reset(start, epochs, position)?;
            self.log.install_checkpoint(position, &image.bytes)
        });
        if let Err(error) = built {
            self.effects.stop_process(&error);
        }
        let now = self.effects.now_ms();
        self.core.handle_bootstrap(incarnation, start, (image.state, image.history), now);
        self.publish_all();
    }

    fn publish_changes(&mut self) {
        while let Some(change) = self.core.poll_change() {
            match change {
                Change::Stream(id) => {
                    self.view.put_stream(id, self.core.state().stream(id));
                }
                Change::StreamGone(id) => self.view.put_stream(id, None),
                Change::Catalog => self.publish_catalog(),
                Change::Group | Change::Nothing => {}
            }
        }
    }

    /// Publishes everything there is and nothing else, after a start or a new build.
    pub(super) fn publish_all(&mut self) {
        while self.core.poll_change().is_some() {}
        for (id, _) in self.view.sizes() {
            if self.core.state().stream(id).is_none() {
                self.view.put_stream(id, None);
            }
        }
        for (id, stream) in self.core.state().streams() {
            self.view.put_stream(*id, Some(stream));
        }
        self.publish_catalog();
        if let Some(record) = self.core.replica().record() {
            self.effects.publish_records(std::slice::from_ref(record));
        }
        self.put_report();
        self.effects.tell_report();
    }

    /// Lets the newest report be seen. `true`: the operator should know at once.
    fn put_report(&self) -> bool {
        let failure = self.failure.as_deref().or(self.rot_to_report());
        self.view.put_report(&self.core, failure)
    }

    fn publish_catalog(&self) {
        if self.shard == ShardId::CATALOG {
            self.effects.publish_catalog(self.core.state().catalog().clone());
        }
    }
}

/// The position after the last of some whole entries.
fn next_after(entries: &[u8]) -> Option<Position> {
    let mut rest = entries;
    let mut next = None;
    while let Ok(header) = Header::peek(rest) {
        next = Some(header.position.next());
        rest = rest.get(header.length as usize..)?;
    }
    next
}

fn members(isr: &[holdfast_protocol::Member]) -> Vec<u32> {
    isr.iter().map(|member| member.broker.0).collect()
}
