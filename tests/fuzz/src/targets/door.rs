//! Bytes on a connection to the Kafka door, in front of a broker in memory.
//!
//! Beside panics and memory: whatever came, what goes out are whole answers, each to a request
//! that was sent, in order; and a client on another connection is served after it as before.

use std::net::SocketAddr;

use holdfast_kafka::{Options, serve};
use holdfast_protocol::topic::{Cleanup, Declarer, Topic, TopicConfig};
use holdfast_service::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::memory::Memory;
use super::{KIB, MIB, samples};
use crate::{Target, repair};

/// The longest frame that this door takes, bytes: its length alone reserves so much.
const FRAME_BYTES_MAX: usize = 256 * KIB;
/// What one connection may take: its frames, and of each element of theirs what the decoder may
/// make of it; an input has room for fewer than 4,096.
const MEMORY_BYTES_MAX: usize = 8 * MIB;

pub(super) const TARGET: Target = Target {
    name: "kafka-door",
    run,
    repair: |input| repair::kafka(input),
    seeds,
    words: &[b"orders", b"compacted", b"readers", b"cleanup.policy"],
    input_bytes_max: 4 * KIB,
    memory_bytes_max: MEMORY_BYTES_MAX,
};

/// Every API in its newest and oldest version, and a few that go together.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        samples::all().iter().map(|sample| sample.frame.to_vec()).collect();
    seeds.push(produce());
    seeds.push([produce(), seeds[20].clone(), seeds[30].clone()].concat());
    seeds
}

/// A batch to the compacted topic, which is looked into.
fn produce() -> Vec<u8> {
    let mut request = samples::produce(9);
    let topic = &mut request.topic_data[0];
    topic.name.0 = samples::text("compacted");
    topic.partition_data[0].records = Some(super::record_batch::with_keys().into());
    samples::frame(9, samples::CORRELATION, &request).to_vec()
}

/// A door that is kept from one input to the next, with its clock standing still but for waits.
struct Door {
    runtime: Runtime,
    memory: Memory,
    address: SocketAddr,
    witness: Mutex<TcpStream>,
}

thread_local! {
    static DOOR: Door = Door::open();
}

fn run(input: &[u8]) {
    DOOR.with(|door| door.runtime.block_on(door.take(input)));
}

fn fresh() -> Memory {
    Memory::new().with_topic("orders", 2)
}

impl Door {
    fn open() -> Self {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime needs no more than this process has");
        let memory = fresh();
        let (address, witness) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
            let address = listener.local_addr().expect("it was bound");
            let options = Options { frame_bytes_max: FRAME_BYTES_MAX, ..Options::new("plain") };
            tokio::spawn(serve(memory.clone(), listener, options, CancellationToken::new()));
            (address, TcpStream::connect(address).await.expect("the door is open"))
        });
        Self { runtime, memory, address, witness: Mutex::new(witness) }
    }

    async fn take(&self, input: &[u8]) {
        // Nothing is left of the last input.
        let fresh = fresh();
        let compacted = Topic {
            id: fresh.new_topic_id(),
            name: "compacted".to_owned(),
            partitions: 1,
            config: TopicConfig { cleanup: Cleanup::Compact, ..TopicConfig::default() },
            declared_by: Declarer::Yaml,
        };
        let declared = fresh.declare_topic(compacted).await;
        assert!(declared.is_ok(), "{declared:?}");
        std::mem::swap(&mut *self.memory.state(), &mut *fresh.state());
        let mut client = TcpStream::connect(self.address).await.expect("the door is open");
        client.set_zero_linger().expect("it is a socket");
        let (mut answers, mut requests) = client.split();
        let mut answered = Vec::new();
        // The door may close before it has read everything, or read all and then close.
        let send = async {
            let _ = requests.write_all(input).await;
            let _ = requests.shutdown().await;
        };
        let receive = async {
            let mut piece = [0; 4096];
            while let Ok(count) = answers.read(&mut piece).await {
                if count == 0 {
                    break;
                }
                answered.extend_from_slice(&piece[..count]);
            }
        };
        tokio::join!(send, receive);
        are_answers(&answered, input);
        self.witness().await;
    }

    /// Another client is served.
    async fn witness(&self) {
        let mut witness = self.witness.lock().await;
        witness.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]).await.expect("sent");
        let length = witness.read_i32().await.expect("answered");
        let mut answer = vec![0; usize::try_from(length).expect("a length")];
        witness.read_exact(&mut answer).await.expect("whole");
        assert_eq!(answer[..6], [0, 0, 0, 7, 0, 0], "the witness is served");
    }
}

/// Whole answers, each to one of the requests, in their order.
fn are_answers(mut answered: &[u8], mut requests: &[u8]) {
    while let Some((length, rest)) = answered.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length)).expect("a length");
        // The connection may break off in the middle of what the client does not read any more,
        // but it reads to the end.
        let (answer, rest) = rest.split_at_checked(length).expect("answers are whole");
        answered = rest;
        let correlation = &answer[..4];
        loop {
            let (request, rest) = next_request(requests).expect("an answer to a request");
            requests = rest;
            if request.get(4..8) == Some(correlation) {
                break;
            }
        }
    }
    assert!(answered.is_empty(), "answers are whole");
}

fn next_request(requests: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = requests.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)
}
