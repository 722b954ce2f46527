//! `/metrics`, `/livez` and `/readyz`.

mod listener;

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use holdfast_protocol::ShardId;
use tokio::net::TcpListener;

use crate::node::Node;
use crate::shard::Report;

/// Serves until the broker stops.
pub(crate) async fn serve(node: Arc<Node>, listener: TcpListener) {
    let stopping = node.stopping.clone();
    let app = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node);
    let served = axum::serve(listener::Bounded::new(listener), app)
        .with_graceful_shutdown(stopping.cancelled_owned());
    if let Err(error) = served.await {
        tracing::warn!(%error, "the HTTP listener ended");
    }
}

/// Ready: an operator has told of the cluster, every shard here leads or follows, and clients are
/// served.
async fn ready(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let waiting: Vec<u32> = node
        .shards()
        .iter()
        .filter(|handle| handle.view.report().record.is_none())
        .map(|handle| handle.shard.0)
        .collect();
    if node.leaving.has_begun() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    if node.told().shards == 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, "no operator has called yet\n".to_owned());
    }
    if !waiting.is_empty() {
        let why = format!("shards without a record: {waiting:?}\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why);
    }
    if !node.serves_clients() {
        let why = "clients are turned away until the catalog has caught up\n";
        return (StatusCode::SERVICE_UNAVAILABLE, why.to_owned());
    }
    (StatusCode::OK, "ok\n".to_owned())
}

async fn metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let text = render(&node);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// All that there is to tell, in Prometheus' text format.
fn render(node: &Node) -> String {
    let reports: Vec<_> =
        node.shards().iter().map(|handle| (handle.shard, handle.view.report())).collect();
    let mut out = String::new();
    render_shards(&reports, &mut out);
    node.scrub.render(&mut out);
    node.render_doors(&mut out);
    out
}

/// One gauge a line and shard.
fn render_shards(reports: &[(ShardId, Report)], out: &mut String) {
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Report) -> u64| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (shard, report) in reports {
            let _ = writeln!(out, "{name}{{shard=\"{shard}\"}} {}", value(report));
        }
    };
    gauge("holdfast_shard_leading", "1 where this broker leads the shard and serves it", &|r| {
        u64::from(r.confirmed.is_some())
    });
    gauge("holdfast_shard_epoch", "Newest epoch of the shard that this broker has seen", &|r| {
        r.record.as_ref().map_or(0, |record| u64::from(record.epoch.0))
    });
    gauge("holdfast_shard_isr", "In-sync replicas of the shard, as last recorded", &|r| {
        r.record.as_ref().map_or(0, |record| record.isr.len() as u64)
    });
    gauge("holdfast_shard_end_position", "End of this replica's log", &|r| r.end.0);
    gauge("holdfast_shard_held_position", "Held: durable in Sync, written in Async", &|r| r.held.0);
    gauge("holdfast_shard_committed_position", "Commit position that this replica knows", &|r| {
        r.committed.0
    });
    gauge("holdfast_shard_failed", "1 where this replica can't go on", &|r| {
        u64::from(r.failure.is_some())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrub::Scrub;

    #[test]
    fn every_metric_is_documented() {
        let docs = include_str!("../../docs/operations.md");
        let mut text = String::new();
        render_shards(&[], &mut text);
        Scrub::default().render(&mut text);
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(names.len() > 10, "{text}");
        for name in names.into_iter().filter_map(|name| name.split(' ').next()) {
            assert!(docs.contains(&format!("`{name}`")), "docs/operations.md: {name}");
        }
    }
}
