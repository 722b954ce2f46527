//! What a door counts, for `/metrics`.
//!
//! Labels are the names of APIs that are served and of bounds that make clients wait: what
//! clients send never becomes a label, so that nobody can make them grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use crate::codec::{APIS, Api};

/// Upper bounds of the buckets of request times, microseconds.
const BUCKETS_US: [u64; 12] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

/// A wait that is shorter is none, microseconds.
const WAIT_US_MIN: u64 = 1_000;

/// What one door counts since it opened.
#[derive(Debug)]
pub struct Metrics {
    connections: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    faults: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    waited_memory_us: AtomicU64,
    waited_shard_us: AtomicU64,
    apis: [Requests; APIS.len()],
}

/// Requests of one API.
#[derive(Debug, Default)]
struct Requests {
    buckets: [AtomicU64; BUCKETS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
    closed: AtomicU64,
}

/// What made a client wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The door's or the connection's memory for requests.
    Memory,
    /// A shard that has as much to do as it takes.
    Shard,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections: AtomicU64::default(),
            accepted: AtomicU64::default(),
            refused: AtomicU64::default(),
            faults: AtomicU64::default(),
            received: AtomicU64::default(),
            sent: AtomicU64::default(),
            waited_memory_us: AtomicU64::default(),
            waited_shard_us: AtomicU64::default(),
            apis: std::array::from_fn(|_| Requests::default()),
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Metrics {
    pub(crate) fn opened(&self) {
        add(&self.accepted, 1);
        add(&self.connections, 1);
    }

    /// A connection ended; by a fault of the client, or not.
    pub(crate) fn ended(&self, is_fault: bool) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        add(&self.faults, u64::from(is_fault));
    }

    pub(crate) fn refused(&self) {
        add(&self.refused, 1);
    }

    pub(crate) fn received(&self, bytes: usize) {
        add(&self.received, bytes as u64);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        add(&self.sent, bytes as u64);
    }

    pub(crate) fn waited(&self, wait: Wait, time: Duration) {
        let time = micros(time);
        if time >= WAIT_US_MIN {
            let counter = match wait {
                Wait::Memory => &self.waited_memory_us,
                Wait::Shard => &self.waited_shard_us,
            };
            add(counter, time);
        }
    }

    /// A request has its answer, or closes its connection.
    pub(crate) fn answered(&self, api: ApiKey, time: Duration, closes: bool) {
        let Some(at) = APIS.iter().position(|served| served.key == api) else { return };
        let (requests, time) = (&self.apis[at], micros(time));
        if let Some(bucket) = BUCKETS_US.iter().position(|bound| time <= *bound) {
            add(&requests.buckets[bucket], 1);
        }
        add(&requests.count, 1);
        add(&requests.sum_us, time);
        add(&requests.closed, u64::from(closes));
    }
}

/// One number of every door.
struct Plain {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: fn(&Metrics) -> &AtomicU64,
}

const fn plain(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: fn(&Metrics) -> &AtomicU64,
) -> Plain {
    Plain { name, kind, help, of }
}

const PLAIN: [Plain; 6] = [
    plain("connections", "gauge", "Open connections", |m| &m.connections),
    plain("accepted_total", "counter", "Connections taken", |m| &m.accepted),
    plain("refused_total", "counter", "Connections closed as too many", |m| &m.refused),
    plain("faults_total", "counter", "Connections closed for a client's fault", |m| &m.faults),
    plain("received_bytes_total", "counter", "Bytes of requests", |m| &m.received),
    plain("sent_bytes_total", "counter", "Bytes of answers", |m| &m.sent),
];

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Adds what the doors counted to `out`, in Prometheus' text format, by the names of listeners.
pub fn render(doors: &BTreeMap<String, Arc<Metrics>>, out: &mut String) {
    for Plain { name, kind, help, of } in &PLAIN {
        let name = format!("holdfast_kafka_{name}");
        head(out, &name, kind, help);
        for (listener, metrics) in doors {
            let _ = writeln!(out, "{name}{{listener=\"{listener}\"}} {}", get(of(metrics)));
        }
    }
    let name = "holdfast_kafka_throttled_seconds_total";
    head(out, name, "counter", "Time that clients were made to wait");
    for (listener, metrics) in doors {
        for (bound, counter) in
            [("memory", &metrics.waited_memory_us), ("shard", &metrics.waited_shard_us)]
        {
            let time = seconds(get(counter));
            let _ = writeln!(out, "{name}{{listener=\"{listener}\",bound=\"{bound}\"}} {time}");
        }
    }
    let used = || {
        doors.iter().flat_map(|(listener, metrics)| {
            let used = APIS.iter().zip(&metrics.apis).filter(|(_, r)| get(&r.count) > 0);
            used.map(move |(api, requests)| (labels(listener, api), requests))
        })
    };
    let name = "holdfast_kafka_request_seconds";
    head(
        out,
        name,
        "histogram",
        "From the last byte of a request to its answer, waits for data included",
    );
    for (labels, requests) in used() {
        requests.render(name, &labels, out);
    }
    let name = "holdfast_kafka_request_errors_total";
    head(out, name, "counter", "Requests that closed their connection");
    for (labels, requests) in used() {
        let _ = writeln!(out, "{name}{{{labels}}} {}", get(&requests.closed));
    }
}

fn labels(listener: &str, api: &Api) -> String {
    format!("listener=\"{listener}\",api=\"{:?}\"", api.key)
}

impl Requests {
    fn render(&self, name: &str, labels: &str, out: &mut String) {
        let mut below = 0;
        for (bound, bucket) in BUCKETS_US.iter().zip(&self.buckets) {
            below += get(bucket);
            let bound = seconds(*bound);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let count = get(&self.count).max(below);
        let sum = seconds(get(&self.sum_us));
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }
}

/// Microseconds as seconds.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_request_once_and_sums_up() {
        let metrics = Metrics::default();
        for time_ms in [0, 3, 3, 70_000] {
            metrics.answered(ApiKey::Fetch, Duration::from_millis(time_ms), time_ms > 9);
        }
        metrics.waited(Wait::Shard, Duration::from_millis(1500));
        metrics.waited(Wait::Memory, Duration::from_micros(1));
        let mut text = String::new();
        let doors = [("external", Metrics::default()), ("internal", metrics)];
        let doors = doors.map(|(name, metrics)| (name.to_owned(), Arc::new(metrics)));
        render(&BTreeMap::from(doors), &mut text);
        let labels = "{listener=\"internal\",api=\"Fetch\"";
        for line in [
            format!("holdfast_kafka_request_seconds_bucket{labels},le=\"0.000500\"}} 1"),
            format!("holdfast_kafka_request_seconds_bucket{labels},le=\"0.005000\"}} 3"),
            format!("holdfast_kafka_request_seconds_bucket{labels},le=\"+Inf\"}} 4"),
            format!("holdfast_kafka_request_seconds_sum{labels}}} 70.006000"),
            format!("holdfast_kafka_request_errors_total{labels}}} 1"),
            "holdfast_kafka_throttled_seconds_total{listener=\"internal\",bound=\"memory\"} 0.000000"
                .to_owned(),
            "holdfast_kafka_throttled_seconds_total{listener=\"internal\",bound=\"shard\"} 1.500000"
                .to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let headers = text.matches("# TYPE holdfast_kafka_request_seconds ").count();
        assert_eq!(headers, 1, "however many doors");
        assert!(!text.contains("Produce"), "what was never asked takes no lines");
        let docs = include_str!("../../../../docs/operations.md");
        for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        {
            assert!(docs.contains(&format!("`{name}`")), "docs/operations.md: {name}");
        }
    }
}
