//! A Queue: refused by name until this version serves them.

use std::sync::Arc;

use holdfast_api::Queue;
use holdfast_api::queue::QueueStatus;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;

use crate::apply::Error;
use crate::conditions::{READY, RECONCILING, STALLED, Wanted, conditions};
use crate::context::Context;

/// Says that the Queue is not served.
///
/// # Errors
/// Where the status can't be written.
pub(crate) async fn reconcile(queue: Arc<Queue>, ctx: Arc<Context>) -> Result<Action, Error> {
    let started = std::time::Instant::now();
    let result = write(&queue, &ctx).await;
    ctx.metrics.reconciled("Queue", started.elapsed(), result.as_ref().err());
    result.map(|()| Action::await_change())
}

async fn write(queue: &Queue, ctx: &Context) -> Result<(), Error> {
    if queue.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let message = "this version of Holdfast serves Topics only: the Queue is kept as it is and \
                   holds no messages";
    let wanted = [
        Wanted::new(READY, false, "QueuesNotServed", message),
        Wanted::new(RECONCILING, false, "QueuesNotServed", ""),
        Wanted::new(STALLED, true, "QueuesNotServed", message),
    ];
    let before = ctx.queue_status.current(queue, queue.status.as_ref()).unwrap_or_default();
    let generation = queue.metadata.generation;
    let status = QueueStatus {
        observed_generation: generation,
        conditions: conditions(&wanted, &before.conditions, generation, Timestamp::now()),
        ..QueueStatus::default()
    };
    if status == before {
        return Ok(());
    }
    ctx.queue_status.write(queue, status).await
}
