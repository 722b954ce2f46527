//! `ListOffsets`.

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::{ListOffsetsRequest, TopicName};

use crate::client::{Client, Door, text};
use crate::memory::{EPOCH, Memory};
use crate::produce::produce;

async fn ask(client: &mut Client, version: i16, timestamp: i64) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(0)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(TopicName(text("orders")))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    let answer = client.call(version, &request).await;
    answer.topics[0].partitions[0].clone()
}

#[tokio::test]
async fn every_version_finds_bounds_and_timestamps() {
    let memory = Memory::new().with_topic("orders", 1);
    let door = Door::open(&memory).await;
    let mut client = door.client().await;
    let found = ask(&mut client, 7, -3).await;
    assert_eq!((found.error_code, found.offset), (0, -1));
    for (value, timestamp) in [("a", 1000), ("b", 5000), ("c", 3000)] {
        produce(&mut client, value, timestamp).await;
    }
    for version in 1..=10 {
        for (asked, offset, timestamp) in [
            (-1, 3, -1),
            (-2, 0, -1),
            (-3, 1, 5000),
            (-4, 0, -1),
            (-5, -1, -1),
            (0, 0, 1000),
            (1001, 1, 5000),
            (5001, -1, -1),
        ] {
            let found = ask(&mut client, version, asked).await;
            assert_eq!(found.error_code, 0, "version {version} timestamp {asked}");
            assert_eq!((found.offset, found.timestamp), (offset, timestamp));
            if version >= 4 && offset >= 0 {
                assert_eq!(found.leader_epoch, EPOCH as i32);
            }
        }
    }
    memory.state().is_ready = false;
    let found = ask(&mut client, 4, -1).await;
    assert_eq!(found.error_code, Code::LeaderNotAvailable.code());
    let found = ask(&mut client, 5, -1).await;
    assert_eq!(found.error_code, Code::OffsetNotAvailable.code());
}
