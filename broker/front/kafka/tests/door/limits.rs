//! Malformed frames, bounds, and the end.

use std::time::Duration;

use holdfast_kafka::Options;
use kafka_protocol::messages::ApiVersionsRequest;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::client::{Client, Door, batch};
use crate::memory::Memory;
use crate::{produce, samples};

async fn is_served(client: &mut Client) -> bool {
    client.call(0, &ApiVersionsRequest::default()).await.error_code == 0
}

#[tokio::test]
async fn malformed_frames_close_their_connection_and_no_other() {
    let memory = Memory::new().with_topic("orders", 1);
    let door = Door::open(&memory).await;
    let mut witness = door.client().await;
    for bytes in [
        &[0x7f, 0xff, 0xff, 0xff][..],                       // a frame of 2 GiB
        &[0xff, 0xff, 0xff, 0xff],                           // a negative length
        &[0, 0, 0, 3, 0, 18, 0],                             // no whole header
        &[0, 0, 0, 10, 0, 71, 0, 0, 0, 0, 0, 1, 0xff, 0xff], // telemetry
        &[0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff],  // Produce 2
        &[0, 0, 0, 10, 0, 0, 0, 99, 0, 0, 0, 1, 0xff, 0xff], // Produce 99
        &[0, 0, 0, 10, 0, 3, 0, 0, 0, 0, 0, 1, 0x7f, 0xff],  // a client id of 32 KiB
        &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff], // topics
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00", // TLS
    ] {
        let mut client = door.client().await;
        client.socket.write_all(bytes).await.unwrap();
        assert!(client.is_closed().await, "{bytes:?}");
        assert!(is_served(&mut witness).await);
    }
}

#[tokio::test]
async fn answers_before_a_malformed_frame_are_still_sent() {
    let memory = Memory::new().with_topic("orders", 1);
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    client.send(0, &ApiVersionsRequest::default()).await;
    client.socket.write_all(&[0xff; 4]).await.unwrap();
    client.receive::<ApiVersionsRequest>(0).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn requests_larger_than_the_bounds_on_memory_pass_alone() {
    let memory = Memory::new().with_topic("orders", 1);
    let mut options = Options::new("plain");
    options.connection_bytes_max = 1000;
    options.door_bytes_max = 2000;
    options.decoded_bytes_max = 10;
    options.fetched_bytes_max = 10;
    options.requests_in_flight_max = 2;
    let door = Door::open_with(&memory, options).await;
    let mut clients = [door.client().await, door.client().await, door.client().await];
    let large = produce::request("orders", Uuid::nil(), 0, batch(&[(&"x".repeat(5000), 1)]));
    for _ in 0..3 {
        for client in &mut clients {
            client.send(9, &large).await;
        }
    }
    for client in &mut clients {
        for _ in 0..3 {
            let (_, answer) = client.receive::<kafka_protocol::messages::ProduceRequest>(9).await;
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
    }
}

#[tokio::test]
async fn connections_are_bounded_and_idle_ones_end() {
    let memory = Memory::new();
    let mut options = Options::new("plain");
    options.connections_max = 1;
    options.idle_timeout = Duration::from_millis(50);
    let door = Door::open_with(&memory, options).await;
    let mut first = door.client().await;
    assert!(is_served(&mut first).await);
    let mut second = door.client().await;
    assert!(second.is_closed().await);
    assert!(first.is_closed().await);
}

#[tokio::test]
async fn a_begun_frame_has_to_be_finished() {
    let memory = Memory::new();
    let mut options = Options::new("plain");
    options.frame_timeout = Duration::from_millis(50);
    let door = Door::open_with(&memory, options).await;
    let mut client = door.client().await;
    client.socket.write_all(&[0, 0, 0, 20, 0, 18]).await.unwrap();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn the_door_closes_on_long_polls_too() {
    let memory = Memory::new().with_topic("orders", 1);
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    let mut fetch = samples::fetch(12);
    fetch.max_wait_ms = 200_000;
    fetch.min_bytes = 1;
    client.send(12, &fetch).await;
    let mut other = door.client().await;
    assert!(is_served(&mut other).await);
    door.shutdown.cancel();
    door.served.await.unwrap().unwrap();
    // The poll is answered or not, depending on whether it was read in time; then it is over.
    let _ = client.receive_bytes().await;
    assert!(client.is_closed().await);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the pieces in which requests arrive, they are answered in order.
    #[test]
    fn framing_survives_any_cut(cuts in proptest::collection::vec(1_usize..60, 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let memory = Memory::new();
            let door = Door::open(&memory).await;
            let mut client = door.client().await;
            let frames = (0..10).map(|id| samples::frame(3, id, &samples::api_versions(3)));
            let bytes: Vec<u8> = frames.flatten().collect();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                client.socket.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            for id in 0..10 {
                assert_eq!(client.receive::<ApiVersionsRequest>(3).await.0, id);
            }
        });
    }

    /// No bytes make the door do worse than close.
    #[test]
    fn no_bytes_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), key in 0_u8..80) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let memory = Memory::new();
            let door = Door::open(&memory).await;
            let mut client = door.client().await;
            let mut frame = u32::try_from(bytes.len() + 8).unwrap().to_be_bytes().to_vec();
            frame.extend([0, key, 0, bytes.first().copied().unwrap_or(0) % 14, 0, 0, 0, 1]);
            frame.extend(bytes);
            client.socket.write_all(&frame).await.unwrap();
            client.socket.shutdown().await.unwrap();
            while client.receive_bytes().await.is_some() {}
            let mut witness = door.client().await;
            assert!(is_served(&mut witness).await);
        });
    }
}
