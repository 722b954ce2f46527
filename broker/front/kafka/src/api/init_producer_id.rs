//! `InitProducerId`: an id for an idempotent producer.

use std::sync::Arc;

use holdfast_service::Service;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Call;

pub(super) async fn handle<S: Service>(
    call: Arc<Call<S>>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = |code: Code| {
        InitProducerIdResponse::default()
            .with_error_code(code.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    if let Some(id) = request.transactional_id {
        // Clients take the first for final, and say so, rather than ask for ever.
        return refused(if id.is_empty() {
            Code::InvalidRequest
        } else {
            Code::TransactionalIdAuthorizationFailed
        });
    }
    // Without transactions a producer that had an id gets a new one, as Kafka does.
    match call.context().service.new_producer_id() {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        // The one retriable code that makes no client look for a coordinator of transactions.
        Err(_) => refused(Code::CoordinatorLoadInProgress),
    }
}
