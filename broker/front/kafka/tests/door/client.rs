//! A client made of the kafka-protocol crate, and the door that it talks to.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use holdfast_kafka::{Options, serve};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::memory::Memory;
use crate::samples::frame;

/// Nothing here takes so long, however slow the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<std::io::Result<()>>,
}

impl Door {
    pub(crate) async fn open(memory: &Memory) -> Self {
        Self::open_with(memory, Options::new("plain")).await
    }

    pub(crate) async fn open_with(memory: &Memory, options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve(memory.clone(), listener, options, shutdown.clone()));
        Self { address, shutdown, served }
    }

    pub(crate) async fn client(&self) -> Client {
        Client { socket: TcpStream::connect(self.address).await.unwrap(), correlation: 100 }
    }
}

pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    correlation: i32,
}

impl Client {
    /// Sends a request and waits for its answer.
    pub(crate) async fn call<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        self.send(version, request).await;
        let expected = self.correlation;
        let (correlation, answer) = self.receive::<Q>(version).await;
        assert_eq!(correlation, expected);
        answer
    }

    /// Sends a request, and does not wait. Gives its correlation id.
    pub(crate) async fn send<Q: Request>(&mut self, version: i16, request: &Q) -> i32 {
        self.correlation += 1;
        let frame = frame(version, self.correlation, request);
        self.socket.write_all(&frame).await.unwrap();
        self.correlation
    }

    /// Waits for the answer to a request of this type.
    pub(crate) async fn receive<Q: Request>(&mut self, version: i16) -> (i32, Q::Response) {
        let mut frame = self.receive_bytes().await.expect("the door answers");
        let header_version = Q::Response::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).unwrap();
        let answer = Q::Response::decode(&mut frame, version).unwrap();
        assert!(!frame.has_remaining(), "{} bytes too many", frame.len());
        (header.correlation_id, answer)
    }

    /// Waits for any answer; `None` where the door closes the connection.
    pub(crate) async fn receive_bytes(&mut self) -> Option<Bytes> {
        let receive = async {
            let length = self.socket.read_i32().await.ok()?;
            let mut frame = vec![0; usize::try_from(length).unwrap()];
            self.socket.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        };
        timeout(PATIENCE, receive).await.expect("an answer in time")
    }

    /// Whether the door closes the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.receive_bytes().await.is_none()
    }
}

/// A batch of messages with these values and timestamps.
pub(crate) fn batch(messages: &[(&str, i64)]) -> Bytes {
    let records: Vec<Record> = messages
        .iter()
        .zip(0..)
        .map(|((value, timestamp), offset)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset,
            // One batch holds what follows in sequence.
            sequence: i32::try_from(offset).unwrap(),
            timestamp: *timestamp,
            key: None,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: IndexMap::new(),
        })
        .collect();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.freeze()
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Waits until `holds`.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it holds in time");
}
