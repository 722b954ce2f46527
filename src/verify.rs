//! `holdfast verify`: writes messages to a topic and reads them back, as any Kafka client would.
//!
//! It is what `helm test` runs, since the image holds nothing else. It tells whether a client can
//! find the leaders, have messages acknowledged by all in-sync replicas, and read them again; it is
//! no client library, and proves nothing about faults (see tests/e2e). Every request has a
//! connection of its own.

mod wire;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FetchRequest, MetadataRequest, MetadataResponse, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use tokio::time::{Instant, sleep};

use wire::ask;

/// Versions that are spoken: old enough for any broker of today to know.
const METADATA_VERSION: i16 = 9;
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;

/// How long to wait before what failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a broker may take to have a batch acknowledged, milliseconds.
const ACKNOWLEDGE_MS: i32 = 10_000;
/// Most bytes asked of a partition in one fetch.
const FETCH_BYTES: i32 = 1024 * 1024;
/// Most messages a partition.
const MESSAGES_MAX: u32 = 10_000;

/// Write messages to a topic and read them back, to see that a cluster serves clients.
///
/// Goes on trying until the timeout. The messages stay in the topic.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Addresses to begin with, as any Kafka client wants them.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', required = true)]
    bootstrap: Vec<String>,
    /// Topic to write to; it must be there, or come within the timeout.
    #[arg(long)]
    topic: String,
    /// Messages for each of its partitions, 1 to 10000.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MESSAGES_MAX)))]
    messages: u32,
    /// When to give up, such as 60s or 3m.
    #[arg(long, default_value = "60s", value_parser = seconds)]
    timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let number: u64 = number.parse().map_err(|_| "write a number and s or m, such as 60s")?;
    match unit {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("write a number and s or m, such as 60s".to_owned()),
    }
}

/// One partition, and the address of its leader.
struct Partition {
    index: i32,
    leader: String,
}

/// Runs until everything was read back, or time is up.
///
/// # Errors
/// The last thing that went wrong, when time is up; at once where what was read is not what was
/// written.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + arguments.timeout;
    let run = uuid::Uuid::new_v4();
    let partitions = until(deadline, "find the leaders", || partitions(&arguments)).await?;
    println!("{} has {} partitions, each with a leader", arguments.topic, partitions.len());
    for index in partitions.iter().map(|partition| partition.index) {
        let messages: Vec<String> =
            (0..arguments.messages).map(|n| format!("{run} {index} {n}")).collect();
        let (messages, arguments) = (&messages, &arguments);
        let offset = until(deadline, "write", || async move {
            let leader = leader(arguments, index).await?;
            produce(&leader, &arguments.topic, messages).await
        })
        .await?;
        let read = until(deadline, "read", || async move {
            let leader = leader(arguments, index).await?;
            fetch(&leader, &arguments.topic, offset, messages.len()).await
        })
        .await?;
        ensure!(read == *messages, "partition {index}: other messages were read than were written");
        println!(
            "partition {index}: {} messages written and read, from offset {offset}",
            read.len()
        );
    }
    println!("verified");
    Ok(ExitCode::SUCCESS)
}

/// Tries until it succeeds or time is up.
async fn until<T, F>(
    deadline: Instant,
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mut told = String::new();
    loop {
        let error = match tokio::time::timeout_at(deadline, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => bail!("can't {what}: time is up; the last problem: {told}"),
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(error).with_context(|| format!("can't {what}, and time is up"));
        }
        let text = format!("{error:#}");
        if text != told {
            eprintln!("can't {what} yet: {text}");
            told = text;
        }
        sleep(PAUSE).await;
    }
}

/// Asks one bootstrap address after the other.
async fn metadata(arguments: &Arguments) -> anyhow::Result<MetadataResponse> {
    let topic = MetadataRequestTopic::default().with_name(Some(name(&arguments.topic)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false);
    let mut problem = anyhow::anyhow!("no bootstrap address");
    for address in &arguments.bootstrap {
        match ask(address, METADATA_VERSION, &request).await {
            Ok(answer) => return Ok(answer),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

async fn partitions(arguments: &Arguments) -> anyhow::Result<Vec<Partition>> {
    let answer = metadata(arguments).await?;
    let topic = answer.topics.first().context("no topic in the answer")?;
    refused(topic.error_code).with_context(|| format!("topic {}", arguments.topic))?;
    ensure!(!topic.partitions.is_empty(), "topic {} has no partitions", arguments.topic);
    let mut found: Vec<Partition> =
        topic.partitions.iter().map(|one| led(one, &answer)).collect::<anyhow::Result<_>>()?;
    found.sort_by_key(|partition| partition.index);
    Ok(found)
}

fn led(
    partition: &MetadataResponsePartition,
    answer: &MetadataResponse,
) -> anyhow::Result<Partition> {
    let index = partition.partition_index;
    refused(partition.error_code).with_context(|| format!("partition {index}"))?;
    let leader = answer.brokers.iter().find(|broker| broker.node_id == partition.leader_id);
    let leader = leader.with_context(|| format!("partition {index} has no leader"))?;
    Ok(Partition { index, leader: format!("{}:{}", leader.host.as_str(), leader.port) })
}

/// Who leads a partition now.
async fn leader(arguments: &Arguments, index: i32) -> anyhow::Result<Partition> {
    let mut found = partitions(arguments).await?.into_iter();
    found
        .find(|partition| partition.index == index)
        .with_context(|| format!("no partition {index}"))
}

/// Writes the messages as one batch, acknowledged by all in-sync replicas; tells its offset.
async fn produce(to: &Partition, topic: &str, messages: &[String]) -> anyhow::Result<i64> {
    let data =
        PartitionProduceData::default().with_index(to.index).with_records(Some(batch(messages)?));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(ACKNOWLEDGE_MS)
        .with_topic_data(vec![topic]);
    let answer = ask(&to.leader, PRODUCE_VERSION, &request).await?;
    let partition = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    let partition = partition.context("no partition in the answer")?;
    refused(partition.error_code)?;
    Ok(partition.base_offset)
}

/// Reads `count` messages from an offset on, or fewer where there are no more yet: an error.
async fn fetch(
    from: &Partition,
    topic: &str,
    offset: i64,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let mut read = Vec::with_capacity(count);
    let mut next = offset;
    while read.len() < count {
        let partition = FetchPartition::default()
            .with_partition(from.index)
            .with_fetch_offset(next)
            .with_partition_max_bytes(FETCH_BYTES);
        let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_wait_ms(1000)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES)
            .with_topics(vec![topic]);
        let answer = ask(&from.leader, FETCH_VERSION, &request).await?;
        refused(answer.error_code)?;
        let partition = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let partition = partition.context("no partition in the answer")?;
        refused(partition.error_code)?;
        let mut bytes = partition.records.unwrap_or_default();
        let records =
            RecordBatchDecoder::decode_all(&mut bytes)?.into_iter().flat_map(|set| set.records);
        let before = read.len();
        for record in records.filter(|record| record.offset >= next).take(count - before) {
            read.push(String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned());
        }
        ensure!(
            read.len() > before,
            "only {before} of {count} messages are there from offset {offset} on"
        );
        next = offset + i64::try_from(read.len())?;
    }
    Ok(read)
}

/// The messages as one uncompressed batch.
fn batch(messages: &[String]) -> anyhow::Result<Bytes> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let timestamp = i64::try_from(now.as_millis())?;
    let records: Vec<Record> = (0_i32..)
        .zip(messages)
        .map(|(offset, message)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: offset.into(),
            // What does not follow in sequence would become a batch of its own.
            sequence: offset,
            timestamp,
            key: None,
            value: Some(Bytes::copy_from_slice(message.as_bytes())),
            headers: [].into_iter().collect(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options)?;
    Ok(bytes.freeze())
}

/// An error for Kafka's error code, by its name.
fn refused(code: i16) -> anyhow::Result<()> {
    match kafka_protocol::ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => bail!("refused: {error}"),
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
