//! What Prometheus is told of the operator.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::names::Key;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Failure {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    method: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Policy {
    namespace: String,
    policy: String,
}

impl Policy {
    fn of(Key { namespace, name }: &Key) -> Self {
        Self { namespace: namespace.clone(), policy: name.clone() }
    }
}

/// Why a reconciliation failed, in a word.
pub(crate) trait Reason {
    fn reason(&self) -> &'static str;
}

impl Reason for crate::policy::Error {
    fn reason(&self) -> &'static str {
        crate::policy::Error::reason(self)
    }
}

impl Reason for crate::topic::Error {
    fn reason(&self) -> &'static str {
        crate::topic::Error::reason(self)
    }
}

impl Reason for crate::apply::Error {
    fn reason(&self) -> &'static str {
        "ApplyFailed"
    }
}

/// The operator's metrics.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    reconciled: Family<Kind, Counter>,
    seconds: Family<Kind, Counter<f64, AtomicU64>>,
    failed: Family<Failure, Counter>,
    requests: Family<Request, Counter>,
    active: Gauge,
    policies: Gauge,
    losses: Family<Policy, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("holdfast_operator");
        let metrics = Self {
            reconciled: Family::default(),
            seconds: Family::default(),
            failed: Family::default(),
            requests: Family::default(),
            active: Gauge::default(),
            policies: Gauge::default(),
            losses: Family::default(),
            registry: Mutex::default(),
        };
        registry.register("reconciles", "Reconciliations that ended", metrics.reconciled.clone());
        registry.register_with_unit(
            "reconcile",
            "Time spent in reconciliations",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Reconciliations that failed and are tried again",
            metrics.failed.clone(),
        );
        registry.register(
            "api_requests",
            "Requests to the API server, watches included",
            metrics.requests.clone(),
        );
        registry.register(
            "active",
            "1 where this operator holds the lease",
            metrics.active.clone(),
        );
        registry.register(
            "policies",
            "ReplicationPolicies whose brokers this operator calls",
            metrics.policies.clone(),
        );
        registry.register(
            "unacknowledged_losses",
            "Shards whose newest possible loss nobody has acknowledged",
            metrics.losses.clone(),
        );
        Self { registry: Mutex::new(registry), ..metrics }
    }

    /// A reconciliation ended.
    pub(crate) fn reconciled<E: Reason>(
        &self,
        kind: &'static str,
        took: Duration,
        error: Option<&E>,
    ) {
        self.reconciled.get_or_create(&Kind { kind }).inc();
        self.seconds.get_or_create(&Kind { kind }).inc_by(took.as_secs_f64());
        if let Some(error) = error {
            self.failed.get_or_create(&Failure { kind, reason: error.reason() }).inc();
        }
    }

    /// The API server answered.
    pub(crate) fn requested(&self, method: &str, code: u16) {
        self.requests.get_or_create(&Request { method: method.to_owned(), code }).inc();
    }

    pub(crate) fn set_active(&self, active: bool) {
        self.active.set(i64::from(active));
        if !active {
            // Another operator tells of them.
            self.losses.clear();
        }
    }

    /// How many shards of a policy have a loss that nobody has acknowledged.
    pub(crate) fn set_losses(&self, policy: &Key, shards: usize) {
        let shards = i64::try_from(shards).unwrap_or(i64::MAX);
        self.losses.get_or_create(&Policy::of(policy)).set(shards);
    }

    /// A policy is gone.
    pub(crate) fn forget_policy(&self, policy: &Key) {
        self.losses.remove(&Policy::of(policy));
    }

    pub(crate) fn set_policies(&self, policies: usize) {
        self.policies.set(i64::try_from(policies).unwrap_or(i64::MAX));
    }

    /// All of them, in the OpenMetrics text format.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String can't fail.
        let _: Result<(), _> = encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failed;

    impl Reason for Failed {
        fn reason(&self) -> &'static str {
            "Failed"
        }
    }

    #[test]
    fn every_metric_is_documented() {
        let docs = include_str!("../../../docs/operations.md");
        let metrics = Metrics::new();
        // Families without a member are not told.
        metrics.requested("GET", 200);
        metrics.reconciled("Topic", Duration::ZERO, Some(&Failed));
        metrics.set_losses(&Key::new("shop", "orders"), 1);
        let text = metrics.render();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<_> = types.filter_map(|line| line.split_once(' ')).collect();
        assert_eq!(names.len(), 7, "{text}");
        for (name, kind) in names {
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            assert!(docs.contains(&format!("`{name}`")), "docs/operations.md: {name}");
        }
    }

    #[test]
    fn losses_are_told_of_policies_that_are_there_by_the_operator_that_acts() {
        let metrics = Metrics::new();
        metrics.set_active(true);
        let (orders, audit) = (Key::new("shop", "orders"), Key::new("shop", "audit"));
        let told = |policy, losses| {
            let name = "holdfast_operator_unacknowledged_losses";
            let line = format!("{name}{{namespace=\"shop\",policy=\"{policy}\"}} {losses}\n");
            metrics.render().contains(&line)
        };
        metrics.set_losses(&orders, 2);
        metrics.set_losses(&audit, 0);
        assert!(told("orders", 2) && told("audit", 0));
        metrics.forget_policy(&audit);
        assert!(told("orders", 2) && !told("audit", 0));
        metrics.set_active(false);
        assert!(!told("orders", 2));
    }
}
