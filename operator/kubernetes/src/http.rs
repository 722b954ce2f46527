//! `/metrics`, `/livez` and `/readyz` of the operator.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::metrics::Metrics;

/// How far the operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It has not heard from the API server yet.
    Starting,
    /// Another operator is active, and this one would take over.
    Waiting,
    /// It is active, and reads what there is.
    Reading,
    /// It is active.
    Active,
}

#[derive(Clone)]
struct Served {
    metrics: Arc<Metrics>,
    readiness: watch::Receiver<Readiness>,
}

/// Serves until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: watch::Receiver<Readiness>,
    stop: CancellationToken,
) {
    let app = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Served { metrics, readiness });
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        warn!("the HTTP listener ended: {error}");
    }
}

/// Ready: active, or waiting to be.
async fn ready(State(served): State<Served>) -> impl IntoResponse {
    match *served.readiness.borrow() {
        Readiness::Active => (StatusCode::OK, "active\n"),
        Readiness::Waiting => (StatusCode::OK, "another operator is active\n"),
        Readiness::Reading => (StatusCode::OK, "active, reading what there is\n"),
        Readiness::Starting => {
            (StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n")
        }
    }
}

async fn render(State(served): State<Served>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], served.metrics.render())
}
