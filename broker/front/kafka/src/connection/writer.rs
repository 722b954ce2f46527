//! Writes answers, in the order of the requests.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::FutureExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{End, Held, Reply, Slot};
use crate::metrics::Metrics;

/// Answers that are ready are written together up to so many bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// Pieces handed to the kernel at once; it takes 1024.
const PIECES_MAX: usize = 64;

/// Writes answers until the queue ends, `stop` is cancelled or the client is gone.
pub(super) async fn run<O: AsyncWrite + Unpin>(
    output: O,
    queue: mpsc::Receiver<Slot>,
    write_timeout: Duration,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
) -> Result<(), End> {
    let writer = Writer {
        output,
        write_timeout,
        metrics,
        pieces: VecDeque::new(),
        bytes: 0,
        held: Vec::new(),
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        ended = writer.write_all(queue) => ended,
    }
}

struct Writer<O> {
    output: O,
    write_timeout: Duration,
    metrics: Arc<Metrics>,
    /// What is to be written.
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Given back once it is written.
    held: Vec<(Held, Option<OwnedSemaphorePermit>)>,
}

impl<O: AsyncWrite + Unpin> Writer<O> {
    async fn write_all(mut self, mut queue: mpsc::Receiver<Slot>) -> Result<(), End> {
        loop {
            let mut slot = match queue.try_recv() {
                Ok(slot) => slot,
                Err(TryRecvError::Disconnected) => return self.flush().await,
                Err(TryRecvError::Empty) => {
                    self.flush().await?;
                    match queue.recv().await {
                        Some(slot) => slot,
                        None => return Ok(()),
                    }
                }
            };
            let reply = match (&mut slot.reply).now_or_never() {
                Some(reply) => reply,
                None => {
                    self.flush().await?;
                    slot.reply.await
                }
            };
            let (api, begun) = slot.begun;
            self.metrics.answered(api, begun.elapsed(), matches!(reply, Reply::Close(_)));
            self.push(reply, slot.held).await?;
        }
    }

    async fn push(&mut self, reply: Reply, held: Held) -> Result<(), End> {
        let (frame, records) = match reply {
            Reply::Answer(frame) => (frame, None),
            Reply::Records(frame, permit) => (frame, permit),
            Reply::Nothing => return Ok(()),
            Reply::Close(reason) => {
                self.flush().await?;
                return Err(End::Refused(reason));
            }
        };
        let pieces = frame.into_pieces();
        self.bytes += pieces.iter().map(Bytes::len).sum::<usize>();
        self.pieces.extend(pieces);
        self.held.push((held, records));
        if self.bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        while let Some(first) = self.pieces.front() {
            if first.is_empty() {
                self.pieces.pop_front();
                continue;
            }
            let slices: Vec<IoSlice<'_>> =
                self.pieces.iter().take(PIECES_MAX).map(|piece| IoSlice::new(piece)).collect();
            let written = timeout(self.write_timeout, self.output.write_vectored(&slices))
                .await
                .map_err(|_| End::Idle(self.write_timeout))??;
            if written == 0 {
                return Err(End::Closed);
            }
            self.metrics.sent(written);
            self.advance(written);
        }
        self.bytes = 0;
        self.held.clear();
        Ok(())
    }

    /// Drops what was written.
    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.pieces.front_mut() {
            let of_first = written.min(first.len());
            first.advance(of_first);
            written -= of_first;
            if !first.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
    }
}
