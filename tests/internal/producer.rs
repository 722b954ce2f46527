//! A client that produces one message after the other, and tries again as clients do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::cluster::TOPIC;

/// Pause before another try.
const RETRY: Duration = Duration::from_millis(10);
/// The longest that an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// What a client takes for passing: who leads changes, or has too few followers for a moment.
const RETRIABLE: [i16; 6] = [3, 5, 6, 7, 19, 20];
const PRODUCE_VERSION: i16 = 9;
const METADATA_VERSION: i16 = 9;

/// A steady load on one partition.
pub(crate) struct Producer {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    task: JoinHandle<Report>,
}

/// What a client sees while it runs.
#[derive(Default)]
struct Seen {
    acknowledged: AtomicU64,
    /// The longest time between two acknowledgements since it was asked last, microseconds.
    pause_us: AtomicU64,
}

/// What a client saw.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) acknowledged: u64,
    /// How often it had to try again, by reason.
    pub(crate) retries: BTreeMap<String, u64>,
    /// What no client tries again after.
    pub(crate) errors: Vec<String>,
}

impl Producer {
    pub(crate) fn start(brokers: Vec<SocketAddr>, partition: i32) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Seen>::default());
        let run = run(brokers, partition, Arc::clone(&stop), Arc::clone(&seen));
        Self { stop, seen, task: tokio::spawn(run) }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.seen.acknowledged.load(Ordering::SeqCst)
    }

    /// The longest time between two acknowledgements since this was asked last.
    pub(crate) fn longest_pause(&self) -> Duration {
        Duration::from_micros(self.seen.pause_us.swap(0, Ordering::SeqCst))
    }

    pub(crate) async fn stop(self) -> Report {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

async fn run(
    brokers: Vec<SocketAddr>,
    partition: i32,
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
) -> Report {
    let mut report = Report::default();
    let mut link: Option<Link> = None;
    let mut next = partition as usize;
    let mut last = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let tried = attempt(&mut link, brokers[next % brokers.len()], partition).await;
        match tried {
            Ok(()) => {
                report.acknowledged += 1;
                let pause_us = u64::try_from(last.elapsed().as_micros()).unwrap();
                last = Instant::now();
                seen.pause_us.fetch_max(pause_us, Ordering::SeqCst);
                seen.acknowledged.store(report.acknowledged, Ordering::SeqCst);
            }
            Err(Failure::Passing(why)) => {
                link = None;
                next += 1;
                *report.retries.entry(why).or_default() += 1;
                sleep(RETRY).await;
            }
            Err(Failure::Final(why)) => {
                report.errors.push(why);
                return report;
            }
        }
    }
    report
}

enum Failure {
    /// A client tries again.
    Passing(String),
    /// A client tells its owner.
    Final(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Passing(error.kind().to_string())
    }
}

/// Produces one message to the leader, which `any` broker names.
async fn attempt(link: &mut Option<Link>, any: SocketAddr, partition: i32) -> Result<(), Failure> {
    if link.is_none() {
        let leader = leader(&mut Link::open(any).await?, partition).await?;
        *link = Some(Link::open(leader).await?);
    }
    let Some(leader) = link else { return Ok(()) };
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![topic]);
    let answer = leader.call(PRODUCE_VERSION, &request).await?;
    match answer.responses[0].partition_responses[0].error_code {
        0 => Ok(()),
        code if RETRIABLE.contains(&code) => Err(Failure::Passing(format!("error {code}"))),
        code => Err(Failure::Final(format!("error {code}"))),
    }
}

async fn leader(link: &mut Link, partition: i32) -> Result<SocketAddr, Failure> {
    let topic = MetadataRequestTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    let answer = link.call(METADATA_VERSION, &request).await?;
    let unknown = || Failure::Passing("no leader".to_owned());
    let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let found = partitions.find(|p| p.partition_index == partition).ok_or_else(unknown)?;
    let broker = answer.brokers.iter().find(|b| b.node_id == found.leader_id);
    let broker = broker.ok_or_else(unknown)?;
    Ok(format!("{}:{}", broker.host.as_str(), broker.port).parse().unwrap())
}

struct Link(TcpStream);

impl Link {
    async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self(socket))
    }

    async fn call<Q: Request>(
        &mut self,
        version: i16,
        request: &Q,
    ) -> Result<Q::Response, Failure> {
        let mut body = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(Q::KEY)
            .with_request_api_version(version)
            .encode(&mut body, Q::header_version(version))
            .unwrap();
        request.encode(&mut body, version).unwrap();
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(body.len()).unwrap());
        frame.put(body);
        let exchange = async {
            self.0.write_all(&frame).await?;
            let length = self.0.read_i32().await?;
            let mut answer = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut answer).await?;
            Ok::<_, std::io::Error>(Bytes::from(answer))
        };
        let answer = timeout(ANSWER_MAX, exchange).await;
        let mut answer = answer.map_err(|_| Failure::Passing("no answer".to_owned()))??;
        ResponseHeader::decode(&mut answer, Q::Response::header_version(version)).unwrap();
        let decoded = Q::Response::decode(&mut answer, version).unwrap();
        assert!(!answer.has_remaining());
        Ok(decoded)
    }
}

fn batch() -> Bytes {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: 0,
        timestamp: 1_800_000_000_000,
        key: None,
        value: Some(Bytes::from_static(b"an order")),
        headers: IndexMap::new(),
    };
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &[record], &options).unwrap();
    bytes.freeze()
}
