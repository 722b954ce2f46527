//! `DescribeCluster`: the brokers, and which one leads the catalog.

use std::sync::Arc;

use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use super::Call;
use crate::{authorized, topics};

/// Endpoints for clients, by Kafka's numbers; there are no others.
const BROKERS: i8 = 1;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        let message = "this is an endpoint of brokers; there are none of controllers";
        return DescribeClusterResponse::default()
            .with_error_code(Code::MismatchedEndpointType.code())
            .with_error_message(Some(StrBytes::from_static_str(message)));
    }
    let context = call.context();
    let cluster = context.service.cluster();
    let brokers = context.endpoints(&cluster).into_iter().map(|endpoint| {
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(endpoint.broker))
            .with_host(endpoint.host)
            .with_port(endpoint.port)
    });
    let mut answer = DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(cluster.cluster_id.clone()))
        .with_controller_id(BrokerId(topics::controller(context, &cluster)))
        .with_brokers(brokers.collect());
    if request.include_cluster_authorized_operations {
        answer.cluster_authorized_operations = authorized::CLUSTER;
    }
    answer
}
