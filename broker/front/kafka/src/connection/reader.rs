//! Takes requests off the socket, in order, within the bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use holdfast_service::Service;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::{End, Held, Slot};
use crate::api;
use crate::codec::Header;
use crate::context::Client;
use crate::metrics::Wait;
use crate::options::Options;

/// Bytes read from the socket at once where the frames are small.
const READ_BYTES: usize = 16 * 1024;

/// A request whose decoding takes less is not counted, bytes: every connection may have one.
const DECODED_BYTES_FREE: usize = 64 * 1024;

/// Reads requests until the connection ends, and says why it did.
pub(super) async fn run<S: Service, I: AsyncRead + Unpin>(
    client: Arc<Client<S>>,
    input: I,
    slots: mpsc::Sender<Slot>,
) -> End {
    let shutdown = client.context.shutdown.clone();
    let closed = slots.clone();
    tokio::select! {
        biased;
        () = shutdown.cancelled() => End::Shutdown,
        () = closed.closed() => End::Closed,
        end = read_all(client, input, slots) => end,
    }
}

async fn read_all<S: Service, I: AsyncRead + Unpin>(
    client: Arc<Client<S>>,
    input: I,
    slots: mpsc::Sender<Slot>,
) -> End {
    let mut input = BufReader::with_capacity(READ_BYTES, input);
    loop {
        let Ok(place) = slots.reserve().await else {
            return End::Closed;
        };
        let taken = async {
            let length = read_length(&client, &mut input).await?;
            let (frame, held) = read_frame(&client, &mut input, length).await?;
            dispatch(&client, frame, held).await
        };
        match taken.await {
            Ok(slot) => place.send(slot),
            Err(end) => return end,
        }
    }
}

/// Waits for the next frame; gives its length.
async fn read_length<S: Service, I: AsyncRead + Unpin>(
    client: &Client<S>,
    input: &mut BufReader<I>,
) -> Result<usize, End> {
    let options = &client.context.options;
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match timeout(options.idle_timeout, input.read(&mut length[have..])).await {
            Ok(Ok(0)) => return Err(End::Closed),
            Ok(Ok(count)) => have += count,
            Ok(Err(error)) => return Err(End::Broken(error)),
            // A client that waits for an answer, such as that a rebalance is over, is not idle.
            Err(_) if client.bytes.available_permits() < options.connection_bytes_max => {}
            Err(_) => return Err(End::Idle(options.idle_timeout)),
        }
    }
    let length = i32::from_be_bytes(length);
    let most = options.frame_bytes_max;
    usize::try_from(length)
        .ok()
        .filter(|length| (Header::LEN..=most).contains(length))
        .ok_or(End::FrameLength { length, most })
}

/// Reads the rest of a frame once there is room for it.
async fn read_frame<S: Service, I: AsyncRead + Unpin>(
    client: &Client<S>,
    input: &mut BufReader<I>,
    length: usize,
) -> Result<(Bytes, Held), End> {
    let options = &client.context.options;
    let mut held = Held::default();
    let asked = Instant::now();
    held.take(&client.bytes, length.min(options.connection_bytes_max)).await?;
    held.take(&client.context.door_bytes, length.min(options.door_bytes_max)).await?;
    options.metrics.waited(Wait::Memory, asked.elapsed());
    options.metrics.received(length + size_of::<i32>());
    let slowest = length as u64 / Options::FRAME_BYTES_PER_SECOND_LEAST;
    let patience = options.frame_timeout + Duration::from_secs(slowest);
    // Pages are the kernel's until bytes are written to them: a length alone takes no memory.
    let mut frame = BytesMut::with_capacity(length);
    let whole = async {
        let mut rest = input.take(length as u64);
        while frame.len() < length {
            if rest.read_buf(&mut frame).await? == 0 {
                return Err(End::Closed);
            }
        }
        Ok(())
    };
    timeout(patience, whole).await.map_err(|_| End::Stalled(length))??;
    Ok((frame.freeze(), held))
}

/// Checks a frame and begins what it asks for.
async fn dispatch<S: Service>(
    client: &Arc<Client<S>>,
    frame: Bytes,
    mut held: Held,
) -> Result<Slot, End> {
    let request = api::Request::read(frame)?;
    let decoded = request.decoded_bytes();
    if decoded > DECODED_BYTES_FREE {
        let most = client.context.options.decoded_bytes_max;
        held.take(&client.context.decoded_bytes, decoded.min(most)).await?;
    }
    let begun = (request.key(), Instant::now());
    let reply = api::begin(client, request).await?;
    // An append is handed to its shard here, which takes no more than it can.
    client.context.options.metrics.waited(Wait::Shard, begun.1.elapsed());
    Ok(Slot { reply, begun, held })
}

impl Held {
    async fn take(&mut self, bound: &Arc<Semaphore>, bytes: usize) -> Result<(), End> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = Arc::clone(bound).acquire_many_owned(bytes).await;
        self.0.push(permit.map_err(|_| End::Shutdown)?);
        Ok(())
    }
}
