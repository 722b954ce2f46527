//! `ElectLeaders`: asks for elections, which here are the operator's.
//!
//! It moves leaders back to balance by itself, and elects for a shard without a leader as soon as
//! the policy allows. So there is nothing that a client could add: a partition that has a leader
//! needs no election, and for one without the answer says why there is none.

use std::sync::Arc;

use holdfast_protocol::topic::{Catalog, Topic};
use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use super::leaders::Leaders;
use crate::context::wire_id;
use crate::topics::Refusal;

/// First version with an error of its own, and with kinds of elections.
const KINDS: i16 = 1;

/// The kinds of elections, by Kafka's numbers.
mod kind {
    pub(super) const PREFERRED: i8 = 0;
    pub(super) const UNCLEAN: i8 = 1;
}

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let context = call.context();
    let mut answer = ElectLeadersResponse::default();
    let unclean = match request.election_type {
        kind::PREFERRED => false,
        kind::UNCLEAN => true,
        _ if call.version() >= KINDS => {
            answer.error_code = Code::InvalidRequest.code();
            return answer;
        }
        _ => false,
    };
    let known = |catalog: &Catalog| {
        let mut topics = request.topic_partitions.iter().flatten();
        topics.all(|asked| catalog.by_name(&asked.topic).is_some())
    };
    let catalog = context.catalog_with(known).await;
    let cluster = context.service.cluster();
    let election = Election { leaders: Leaders::new(context, &cluster), unclean };
    answer.replica_election_results = match request.topic_partitions {
        Some(asked) => asked
            .into_iter()
            .map(|asked| {
                let topic = catalog.by_name(&asked.topic).map(AsRef::as_ref);
                let elect = |index: &i32| (*index, election.outcome(topic, *index));
                result(asked.topic, asked.partitions.iter().map(elect))
            })
            .collect(),
        None => election.all(&catalog),
    };
    answer
}

struct Election<'a, S> {
    leaders: Leaders<'a, S>,
    unclean: bool,
}

impl<S: Service> Election<'_, S> {
    /// Every partition but those that need none, as Kafka does where all are asked for.
    fn all(&self, catalog: &Catalog) -> Vec<ReplicaElectionResult> {
        let needy = |topic: &Topic| {
            let outcomes = (0..topic.partitions).map(wire_id);
            let outcomes = outcomes.map(|index| (index, self.outcome(Some(topic), index)));
            let needy = outcomes.filter(|(_, refusal)| refusal.code != Code::ElectionNotNeeded);
            result(TopicName(StrBytes::from_string(topic.name.clone())), needy)
        };
        let results = catalog.topics().map(|topic| needy(topic));
        results.filter(|result| !result.partition_result.is_empty()).collect()
    }

    /// Why there is no election.
    fn outcome(&self, topic: Option<&Topic>, index: i32) -> Refusal {
        let partition = u32::try_from(index).ok();
        let found = topic.zip(partition).filter(|(topic, index)| *index < topic.partitions);
        let Some((topic, index)) = found else {
            let message = "there is no such topic or partition";
            return Refusal::new(Code::UnknownTopicOrPartition, message);
        };
        let led = self.leaders.of(topic, index);
        if led.leader.0 >= 0 {
            let message = "the partition has a leader; the operator keeps leaders balanced";
            return Refusal::new(Code::ElectionNotNeeded, message);
        }
        if self.unclean {
            let message = "an unclean election is the policy's to allow: failover.uncleanElection";
            return Refusal::new(Code::EligibleLeadersNotAvailable, message);
        }
        let message = "no replica can lead now; the operator elects as soon as one can";
        Refusal::new(Code::PreferredLeaderNotAvailable, message)
    }
}

fn result(
    topic: TopicName,
    outcomes: impl Iterator<Item = (i32, Refusal)>,
) -> ReplicaElectionResult {
    let partitions = outcomes.map(|(index, refusal)| {
        PartitionResult::default()
            .with_partition_id(index)
            .with_error_code(refusal.code.code())
            .with_error_message(Some(refusal.text()))
    });
    ReplicaElectionResult::default().with_topic(topic).with_partition_result(partitions.collect())
}
