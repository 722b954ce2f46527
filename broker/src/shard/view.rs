//! What others may see of a shard without asking its actor.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use holdfast_core::Shard;
use holdfast_core::state::Stream;
use holdfast_log::LogReader;
use holdfast_protocol::{Epoch, Incarnation, Offset, Position, ShardRecord, StreamId};
use holdfast_service::{ReadError, StreamOffsets};
use tokio::sync::watch;

/// What the operator is told of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Of its log.
    pub incarnation: Incarnation,
    /// The newest that it has kept.
    pub record: Option<ShardRecord>,
    /// The epoch that it leads, confirmed or not.
    pub leads: Option<Epoch>,
    /// The epoch that it leads and may answer in.
    pub confirmed: Option<Epoch>,
    /// One past its last entry.
    pub end: Position,
    /// Of its last entry.
    pub last_epoch: Epoch,
    /// What it knows to be committed.
    pub committed: Position,
    /// Up to here it holds the log: durable in Sync, written in Async.
    pub held: Position,
    /// Why it can't go on.
    pub failure: Option<String>,
}

impl Report {
    /// Whether the operator should know at once, rather than with the next heartbeat.
    fn is_news(&self, before: &Self) -> bool {
        (self.incarnation, self.leads, self.confirmed)
            != (before.incarnation, before.leads, before.confirmed)
            || self.failure != before.failure
    }
}

/// A stream as readers see it.
#[derive(Clone, Debug, Default)]
struct StreamView {
    start: Offset,
    end: Offset,
    bytes: u64,
    epochs: Vec<(Epoch, Offset)>,
}

/// What others may see of a shard.
#[derive(Debug)]
pub struct View {
    /// Reads the log.
    pub reader: LogReader,
    report: Mutex<Report>,
    streams: RwLock<HashMap<StreamId, StreamView>>,
    progress: Mutex<HashMap<StreamId, watch::Sender<Offset>>>,
}

impl View {
    pub(super) fn new(reader: LogReader) -> Self {
        Self {
            reader,
            report: Mutex::default(),
            streams: RwLock::default(),
            progress: Mutex::default(),
        }
    }

    /// What the operator is told.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this broker leads, confirmed or not.
    pub fn leads(&self) -> bool {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).leads.is_some()
    }

    /// The epoch in which this broker leads and may answer.
    pub fn leading(&self) -> Result<Epoch, ReadError> {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        match (report.confirmed, report.leads) {
            (Some(epoch), _) => Ok(epoch),
            (None, Some(_)) => Err(ReadError::NotReady),
            (None, None) => Err(ReadError::NotLeader),
        }
    }

    /// The bounds of a stream, where this broker leads.
    pub fn offsets(&self, stream: StreamId) -> Result<StreamOffsets, ReadError> {
        let epoch = self.leading()?;
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let (start, end) =
            streams.get(&stream).map_or_else(Default::default, |view| (view.start, view.end));
        Ok(StreamOffsets { start, end, epoch })
    }

    /// What every stream of the shard takes in the log, bytes, whether this broker leads or not.
    pub fn sizes(&self) -> Vec<(StreamId, u64)> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.iter().map(|(id, view)| (*id, view.bytes)).collect()
    }

    /// What a stream takes in the log, bytes.
    pub fn bytes(&self, stream: StreamId) -> u64 {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.get(&stream).map_or(0, |view| view.bytes)
    }

    /// Where the largest epoch at or below `epoch` ends in a stream.
    pub fn epoch_end(
        &self,
        stream: StreamId,
        epoch: Epoch,
    ) -> Result<Option<(Epoch, Offset)>, ReadError> {
        self.leading()?;
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        Ok(streams.get(&stream).and_then(|view| {
            let stream = Stream { end: view.end, epochs: view.epochs.clone(), ..Stream::default() };
            stream.end_of(epoch)
        }))
    }

    /// Changes whenever something of the stream does.
    pub fn progress(&self, stream: StreamId) -> Result<watch::Receiver<Offset>, ReadError> {
        let mut progress = self.lock_progress();
        // Under the lock, so that a leader that steps down either sees this or is seen by it.
        let offsets = self.offsets(stream)?;
        let sender = progress.entry(stream).or_insert_with(|| watch::channel(offsets.end).0);
        Ok(sender.subscribe())
    }

    /// Puts a stream's new bounds in place and wakes who waits for them.
    pub(super) fn put_stream(&self, id: StreamId, stream: Option<&Stream>) {
        {
            let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
            match stream {
                Some(stream) => {
                    let view = streams.entry(id).or_default();
                    view.start = stream.start;
                    view.end = stream.end;
                    view.bytes = stream.bytes;
                    if view.epochs != stream.epochs {
                        view.epochs.clone_from(&stream.epochs);
                    }
                }
                None => {
                    streams.remove(&id);
                }
            }
        }
        let mut progress = self.lock_progress();
        match stream {
            Some(stream) => {
                if let Some(sender) = progress.get(&id) {
                    sender.send_replace(stream.end);
                }
            }
            None => {
                progress.remove(&id);
            }
        }
    }

    /// Puts the newest report in place. `true`: the operator should know at once.
    pub(super) fn put_report(&self, shard: &Shard, failure: Option<&str>) -> bool {
        let replica = shard.replica();
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let same_record = report.record.as_ref().map(|record| record.version)
            == replica.record().map(|record| record.version);
        let record = if same_record { report.record.take() } else { replica.record().cloned() };
        let next = Report {
            incarnation: replica.member().incarnation,
            record,
            leads: replica.leads(),
            confirmed: replica.confirmed(),
            end: replica.end(),
            last_epoch: replica.last_epoch(),
            committed: replica.committed(),
            held: replica.held(),
            failure: failure.map(ToOwned::to_owned),
        };
        let news = next.is_news(&report);
        let stepped_down = report.confirmed.is_some() && next.confirmed != report.confirmed;
        *report = next;
        drop(report);
        if stepped_down {
            self.lock_progress().clear();
        }
        news
    }

    /// Nobody is there any more to say more: the replica leads nothing and can't go on.
    pub(super) fn put_fault(&self, why: String) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        (report.leads, report.confirmed, report.failure) = (None, None, Some(why));
        drop(report);
        // Who waits for more looks again, and is told that this broker does not lead.
        self.lock_progress().clear();
    }

    fn lock_progress(&self) -> MutexGuard<'_, HashMap<StreamId, watch::Sender<Offset>>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
