//! Every gRPC message of the operator's and the peers' protocols: decoded, and held to what the
//! receiver asks of it.

use holdfast_broker::driver::wire as peers;
use holdfast_operator::convert;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::{BrokerId, ShardRecord, TopicId, command, control, peer};
use prost::Message;

use super::{KIB, MIB, replica};
use crate::{Target, repair};

/// A message of two bytes may be a struct of some 200 in memory, and is held twice: as it came,
/// and as the core has it.
const MEMORY_BYTES_MAX: usize = 4 * MIB;

pub(super) const TARGET: Target = Target {
    name: "grpc-messages",
    run,
    repair: repair::nothing,
    seeds,
    words: &[],
    input_bytes_max: 8 * KIB,
    memory_bytes_max: MEMORY_BYTES_MAX,
};

fn seeds() -> Vec<Vec<u8>> {
    let record = replica::record(3, Some(0));
    let tagged = |what: u8, message: Vec<u8>| [vec![what], message].concat();
    let to_broker = |message| control::ToBroker { message: Some(message) }.encode_to_vec();
    let from_broker = |message| control::FromBroker { message: Some(message) }.encode_to_vec();
    use control::{from_broker, to_broker};
    let certificates = control::CertificatesInUse {
        authorities: vec![vec![1; 32].into(), vec![2; 32].into()],
        leaf: vec![3; 32].into(),
    };
    let beat = control::Heartbeat { sequence: 1, certificates: Some(certificates.clone()) };
    let hello = control::BrokerHello { certificates: Some(certificates), ..Default::default() };
    let records = control::Records { records: vec![(&record).into()] };
    let topic = command::Topic {
        id: vec![7; 16].into(),
        name: "orders".to_owned(),
        partitions: 3,
        config: Some(command::TopicConfig::default()),
        declared_by: 0,
    };
    vec![
        tagged(0, to_broker(to_broker::Message::Records(records))),
        tagged(0, to_broker(to_broker::Message::Cluster(replica::cluster()))),
        tagged(1, from_broker(from_broker::Message::Reports(replica::reports()))),
        tagged(1, from_broker(from_broker::Message::Hello(hello))),
        tagged(1, from_broker(from_broker::Message::Heartbeat(beat))),
        tagged(2, replica::fetches().encode_to_vec()),
        tagged(3, replica::answers().encode_to_vec()),
        tagged(4, control::DeclareTopicRequest { topic: Some(topic) }.encode_to_vec()),
        tagged(5, control::DeleteTopicRequest { id: vec![7; 16].into() }.encode_to_vec()),
    ]
}

fn run(input: &[u8]) {
    let Some((what, bytes)) = input.split_first() else {
        return;
    };
    match what % 8 {
        0 => to_broker(bytes),
        1 => {
            if let Ok(message) = control::FromBroker::decode(bytes) {
                drop(convert::certificates(&message));
                let _ = convert::input(BrokerId(1), message);
            }
        }
        2 => {
            use peer::to_leader::Message as Wire;
            if let Ok(peer::ToLeader { message: Some(Wire::Fetches(asked)) }) =
                peer::ToLeader::decode(bytes)
            {
                asked.fetches.iter().for_each(|fetch| drop(peers::fetch_from_wire(fetch)));
            }
        }
        3 => {
            if let Ok(message) = peer::ToFollower::decode(bytes) {
                message
                    .answers
                    .into_iter()
                    .for_each(|answer| drop(peers::answer_from_wire(answer)));
            }
        }
        4 => {
            if let Ok(control::DeclareTopicRequest { topic: Some(topic) }) =
                control::DeclareTopicRequest::decode(bytes)
            {
                let _ = Topic::try_from(topic);
            }
        }
        5 => {
            if let Ok(request) = control::DeleteTopicRequest::decode(bytes) {
                let _ = TopicId::from_slice(&request.id);
            }
        }
        6 => drop(peer::CheckpointPiece::decode(bytes)),
        _ => drop(control::DescribeAnswer::decode(bytes)),
    }
}

fn to_broker(bytes: &[u8]) {
    use control::to_broker::Message as Wire;
    match control::ToBroker::decode(bytes).ok().and_then(|message| message.message) {
        Some(Wire::Records(records)) => {
            for wire in records.records {
                if let Ok(record) = ShardRecord::try_from(wire) {
                    let again = ShardRecord::try_from(control::ShardRecord::from(&record));
                    assert_eq!(again, Ok(record), "a record survives the wire");
                }
            }
        }
        Some(Wire::IsrAnswer(answer)) => drop(answer.record.map(ShardRecord::try_from)),
        _ => {}
    }
}
