//! One replica of one shard as the broker drives it: replication and state, joined.
//!
//! Inputs go in by `handle_*` and `append`/`command`; afterwards [`Shard::poll_output`] says what
//! to do, in order, and [`Shard::poll_change`] what those who watch may see. Entries above the
//! commit position wait as commands and touch the state only once they are committed, so that
//! nothing has to be taken back when a log is cut.

mod tail;
#[cfg(test)]
mod tests;
mod waiters;

use std::collections::VecDeque;

use bytes::Bytes;
use holdfast_protocol::entry::{Draft, Encoder, Entries, Kind};
use holdfast_protocol::{
    BrokerId, Epoch, Header, Incarnation, Offset, Position, ShardRecord, StreamId, Version,
    command, mark,
};
use prost::Message;

use crate::batch::{self, Batch};
use crate::replica::{Answer, Fault, Fetch, History, Outcome, Output, Replica};
use crate::state::{ApplyError, Change, Command, Sequence, State};

use tail::Tail;
pub use waiters::Waiters;

/// Uncommitted entries of one shard, above which nothing more is taken.
pub const UNCOMMITTED_ENTRIES_MAX: usize = 16_384;
/// Uncommitted bytes of one shard, above which nothing more is taken.
pub const UNCOMMITTED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Offset of its first message.
    pub offset: Offset,
    /// It counts as stored once the log is held, or committed, up to here.
    pub until: Position,
}

/// Why a leader takes nothing, or not this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This replica does not lead, or its epoch start is not committed yet.
    #[error("this replica does not lead")]
    NotLeader,
    /// Fewer replicas are in sync than min-ISR.
    #[error("fewer replicas are in sync than minInSyncReplicas demands")]
    NotEnoughReplicas,
    /// The bytes are not a batch.
    #[error(transparent)]
    Batch(#[from] batch::Error),
    /// Its sequence number does not follow.
    #[error("sequence {found} where {expected} follows")]
    Gap {
        /// First sequence number of the batch.
        found: i32,
        /// The one that would follow.
        expected: i32,
    },
    /// Its producer has a newer epoch.
    #[error("the producer's epoch is {current}")]
    Fenced {
        /// The newest epoch.
        current: i16,
    },
}

/// One replica of one shard.
#[derive(Debug)]
pub struct Shard {
    replica: Replica,
    state: State,
    /// Commands above the state's position, in the order of the log.
    pending: VecDeque<Command>,
    pending_bytes: u64,
    tail: Tail,
    /// Entries that this leader encoded but did not hand to the log yet.
    buffer: Encoder,
    next: Position,
    /// The commit position that the newest leader told first once it had committed something
    /// itself, and its epoch. After a loss an older one may have told of more than there is.
    told: Option<(Epoch, Position)>,
    outputs: VecDeque<Output>,
    changes: VecDeque<Change>,
}

impl Shard {
    /// A shard over a recovered log and the state of its checkpoint. The commands of the log
    /// above the checkpoint follow through [`Shard::replay`].
    #[must_use]
    pub fn new(mut replica: Replica, state: State) -> Self {
        replica.handle_recovered_state(state.position());
        let next = replica.end();
        Self {
            replica,
            state,
            pending: VecDeque::new(),
            pending_bytes: 0,
            tail: Tail::default(),
            buffer: Encoder::default(),
            next,
            told: None,
            outputs: VecDeque::new(),
            changes: VecDeque::new(),
        }
    }

    /// Takes the next command of the recovered log; below the commit position it is applied.
    pub fn replay(&mut self, command: Command) {
        self.keep_pending(command);
        self.apply_committed();
    }

    /// The replica.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The committed state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether the state is as new as anything was that was committed before this process began:
    /// what a crash left behind may know of less.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.replica.confirmed().is_some()
            || self.told.is_some_and(|(_, told)| self.state.position() >= told)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next thing that changed.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Whether so much waits to be committed that nothing more should be taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pending.len() >= UNCOMMITTED_ENTRIES_MAX || self.pending_bytes >= UNCOMMITTED_BYTES_MAX
    }

    /// One past the last entry that was taken or followed.
    #[must_use]
    pub fn next(&self) -> Position {
        self.next
    }

    /// Bytes of entries that were taken, and wait for [`Shard::finish`].
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Where a stream begins and how large it is, bytes, once the trims that wait are committed. The
    /// next trim is counted from there: two that are counted from the same start would have the
    /// stream seem smaller than it is.
    #[must_use]
    pub fn kept(&self, stream: StreamId) -> (Offset, u64) {
        self.tail.kept(&self.state, stream)
    }

    /// Whether a change of the catalog waits to be committed.
    #[must_use]
    pub fn catalog_is_changing(&self) -> bool {
        self.pending.iter().any(|c| matches!(c.header.kind, Kind::DeclareTopic | Kind::DeleteTopic))
    }

    /// Whether this replica may take commands now.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`], [`Refusal::NotEnoughReplicas`].
    pub fn accepts(&self) -> Result<Epoch, Refusal> {
        let epoch = self.replica.confirmed().ok_or(Refusal::NotLeader)?;
        if self.replica.may_commit() { Ok(epoch) } else { Err(Refusal::NotEnoughReplicas) }
    }

    /// Takes one batch of a client. [`Shard::finish`] hands what was taken to the log. Whether
    /// the ISR suffices is the caller's to ask first ([`Shard::accepts`]): a client that does
    /// not wait for it is served all the same.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is stored.
    pub fn append(&mut self, stream: StreamId, bytes: &[u8]) -> Result<Placed, Refusal> {
        let epoch = self.replica.confirmed().ok_or(Refusal::NotLeader)?;
        let batch = Batch::verify(bytes)?;
        if let Some(stamp) = batch.producer {
            match self.tail.check(&self.state, stream, stamp) {
                Sequence::Follows => {}
                Sequence::Repeated(offset) => {
                    mark!(BatchRepeated);
                    return Ok(Placed { offset, until: self.next });
                }
                Sequence::Gap(expected) => {
                    mark!(BatchGap);
                    return Err(Refusal::Gap { found: stamp.first, expected });
                }
                Sequence::Fenced(current) => return Err(Refusal::Fenced { current }),
            }
        }
        let offset = self.tail.end(&self.state, stream);
        let draft = Draft {
            kind: Kind::Append,
            stream,
            count: batch.count,
            offset,
            timestamp_ms: batch.timestamp_ms_max,
            body: bytes,
        };
        self.take(&draft, |body| batch::stamp(body, offset, epoch));
        Ok(Placed { offset, until: self.next })
    }

    /// Takes a command that is no batch.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is stored.
    pub fn command<M: Message>(&mut self, kind: Kind, body: &M) -> Result<Position, Refusal> {
        self.command_on(StreamId::default(), kind, body)
    }

    /// Takes a command on a stream.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is stored.
    pub fn command_on<M: Message>(
        &mut self,
        stream: StreamId,
        kind: Kind,
        body: &M,
    ) -> Result<Position, Refusal> {
        self.accepts()?;
        let body = body.encode_to_vec();
        self.take(&Draft { stream, ..Draft::command(kind, &body) }, |_| ());
        Ok(self.next)
    }

    /// Hands what was taken to the log and to the followers.
    pub fn finish(&mut self, now_ms: u64) {
        if self.buffer.is_empty() {
            return;
        }
        self.replica.handle_appended(self.buffer.take(), self.next, now_ms);
        self.settle(now_ms);
    }

    /// A newer consensus record. `false`: it is not newer, and was ignored.
    pub fn handle_record(&mut self, record: ShardRecord, now_ms: u64) -> bool {
        self.finish(now_ms);
        let led = self.replica.leads();
        let taken = self.replica.handle_record(record, now_ms);
        self.settle(now_ms);
        if self.replica.leads() != led {
            self.tail = Tail::over(&self.state, &self.pending);
        }
        if self.replica.wants_epoch_start().is_some() {
            self.start_epoch(now_ms);
        }
        taken
    }

    /// A follower fetches.
    pub fn handle_fetch(&mut self, from: BrokerId, fetch: Fetch, now_ms: u64) {
        self.finish(now_ms);
        self.replica.handle_fetch(from, fetch, now_ms);
        self.settle(now_ms);
    }

    /// The leader answers.
    pub fn handle_answer(&mut self, from: BrokerId, answer: Answer, now_ms: u64) {
        let told = if let Outcome::Data { committed, .. } = &answer.outcome {
            Some((answer.key.epoch, *committed))
        } else {
            None
        };
        self.replica.handle_answer(from, answer, now_ms);
        // A leader that has committed nothing in its own epoch may not know what was before.
        let began = self.replica.history().epochs().last().copied();
        if let (Some((epoch, committed)), Some((last, start))) = (told, began)
            && epoch == last
            && committed > start
            && self.told.is_none_or(|(of, _)| of < epoch)
        {
            self.told = Some((epoch, committed));
        }
        self.settle(now_ms);
    }

    /// The log is durable up to `position`.
    pub fn handle_durable(&mut self, position: Position, now_ms: u64) {
        self.replica.handle_durable(position, now_ms);
        self.settle(now_ms);
    }

    /// Time passes.
    pub fn handle_tick(&mut self, now_ms: u64) {
        self.replica.handle_tick(now_ms);
        self.settle(now_ms);
    }

    /// The operator refused the wish for another ISR.
    pub fn handle_isr_refused(&mut self, expected: Version, now_ms: u64) {
        self.replica.handle_isr_refused(expected, now_ms);
        self.settle(now_ms);
    }

    /// The connection to a leader stands.
    pub fn handle_connected(&mut self, broker: BrokerId, now_ms: u64) {
        self.replica.handle_connected(broker);
        self.settle(now_ms);
    }

    /// The connection to a follower is gone.
    pub fn handle_follower_gone(&mut self, broker: BrokerId) {
        self.replica.handle_follower_gone(broker);
    }

    /// Cleaning removed entries below `position`.
    pub fn handle_cleaned(&mut self, position: Position) {
        self.replica.handle_cleaned(position);
    }

    /// The log was set aside; it begins anew at `start` under another incarnation, filling in the
    /// given checkpoint.
    pub fn handle_bootstrap(
        &mut self,
        incarnation: Incarnation,
        start: Position,
        (state, history): (State, History),
        now_ms: u64,
    ) {
        self.pending.clear();
        self.pending_bytes = 0;
        let streams: Vec<StreamId> = self.state.streams().map(|(id, _)| *id).collect();
        self.changes.extend(streams.into_iter().map(Change::StreamGone));
        self.changes.extend(state.streams().map(|(id, _)| Change::Stream(*id)));
        self.changes.push_back(Change::Catalog);
        self.replica.handle_bootstrap(incarnation, start, state.position(), history);
        self.state = state;
        self.next = self.replica.end();
        self.settle(now_ms);
    }

    fn start_epoch(&mut self, now_ms: u64) {
        let member = self.replica.member();
        let body = command::EpochStart {
            leader: member.broker.0,
            incarnation: member.incarnation.0.to_vec().into(),
        }
        .encode_to_vec();
        self.next = self.replica.end();
        self.take(&Draft::command(Kind::EpochStart, &body), |_| ());
        self.finish(now_ms);
    }

    /// Encodes an entry at the end of the log; it is applied once committed.
    fn take(&mut self, draft: &Draft<'_>, finish: impl FnOnce(&mut [u8])) {
        let epoch = self.replica.leads().expect("only a leader takes commands");
        let header = self.buffer.push(draft, epoch, self.next, finish);
        // Only what waits is copied: of a batch no more than its head.
        let waits = match header.kind {
            Kind::Append => &draft.body[..draft.body.len().min(Command::BATCH_HEAD_LEN)],
            _ => draft.body,
        };
        let command = Command::new(header, &Bytes::copy_from_slice(waits));
        self.next = self.next.next();
        self.tail.note(&self.state, &command);
        self.keep_pending(command);
    }

    fn keep_pending(&mut self, command: Command) {
        if command.header.position >= self.state.position() {
            self.pending_bytes += u64::from(command.header.length);
            self.pending.push_back(command);
        }
    }

    /// Passes the replica's outputs on, keeps what waits, applies what is committed.
    fn settle(&mut self, _now_ms: u64) {
        while let Some(output) = self.replica.poll_output() {
            match &output {
                Output::Append(entries) => self.keep_followed(entries),
                Output::Truncate(to) => self.forget_from(*to),
                Output::Persist(_)
                | Output::Fetch(..)
                | Output::Serve { .. }
                | Output::Answer(..)
                | Output::Bootstrap(_)
                | Output::RequestIsr(_)
                | Output::Halt(_) => {}
            }
            self.outputs.push_back(output);
        }
        self.apply_committed();
    }

    fn keep_followed(&mut self, entries: &Entries) {
        // What a leader appends, it keeps when it takes it.
        if self.replica.leads().is_some() {
            return;
        }
        let mut at = 0;
        for header in entries.headers() {
            let body = entries.bytes().slice(at + Header::LEN..at + header.length as usize);
            // A slice of a small command would keep the whole answer in memory.
            let command = match header.kind {
                Kind::Append => Command::new(*header, &body),
                _ => Command::new(*header, &Bytes::copy_from_slice(&body)),
            };
            self.keep_pending(command);
            at += header.length as usize;
        }
        if !entries.is_empty() {
            self.next = self.replica.end();
        }
    }

    fn forget_from(&mut self, to: Position) {
        while self.pending.back().is_some_and(|command| command.header.position >= to) {
            if let Some(command) = self.pending.pop_back() {
                self.pending_bytes -= u64::from(command.header.length);
            }
        }
        self.next = to;
    }

    fn apply_committed(&mut self) {
        let committed = self.replica.committed();
        while self.pending.front().is_some_and(|command| command.header.position < committed) {
            let Some(command) = self.pending.pop_front() else {
                break;
            };
            let change = match self.state.apply(&command) {
                Ok(change) => change,
                Err(why) => {
                    // It stays the next to be applied: nothing goes past it.
                    self.halt_at(command, &why);
                    break;
                }
            };
            self.pending_bytes -= u64::from(command.header.length);
            self.tail.settled(&command);
            if change != Change::Nothing && self.changes.back() != Some(&change) {
                self.changes.push_back(change);
            }
        }
    }

    fn halt_at(&mut self, command: Command, why: &ApplyError) {
        let position = command.header.position;
        self.pending.push_front(command);
        if !self.replica.is_halted() {
            self.replica.halt(Fault::Apply { position, why: why.to_string() });
            self.outputs.extend(std::iter::from_fn(|| self.replica.poll_output()));
        }
    }
}
