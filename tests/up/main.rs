//! `holdfast up` as a person or a script meets it: the binary, real brokers, real signals.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod cluster;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use cluster::{Cluster, Disk, YAML, free_base, help, run, write_yaml};

#[test]
fn a_killed_broker_is_replaced_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(directory.path(), YAML);
    cluster.until("every replica is in sync", |status| status.in_sync(3));
    let was = cluster.status().pid(1).unwrap();

    cluster.kill_broker(1);
    cluster.until("another serves", |status| {
        status.0["lastFailover"]["from"] == 1 && status.serving()
    });
    let took_ms = cluster.status().0["lastFailover"]["durationMs"].as_u64().unwrap();
    // Figures are judged where many are taken, in tests/clients.
    println!("failover after kill -9: {took_ms} ms");

    cluster.until("it is back", |status| {
        status.in_sync(3) && status.pid(1).is_some_and(|pid| pid != was)
    });
    cluster.until("leaders are balanced", |status| {
        status.brokers().iter().all(|broker| broker["leads"] == 2)
    });
    let moves = cluster.status().0["moves"].as_array().unwrap().clone();
    for planned in moves.iter().filter(|each| each["planned"] == true) {
        println!("planned move: {} ms", planned["durationMs"]);
        assert!(planned["durationMs"].is_u64(), "{planned}");
    }

    let output = cluster.stop();
    assert!(output.contains("connection refused"), "{output}");
}

#[test]
fn what_runs_ends_with_its_parent_and_goes_on_in_the_next_run() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(directory.path(), YAML);
    let before = cluster.status();
    cluster.kill();
    for broker in before.brokers() {
        cluster::until_gone(broker["pid"].as_u64().unwrap());
    }

    let grown = YAML.replace("partitions: 6", "partitions: 8");
    let cluster = Cluster::start(directory.path(), &grown);
    let after = cluster.status();
    assert_eq!(before.0["topics"][0]["id"], after.0["topics"][0]["id"]);
    assert_eq!(after.0["topics"][0]["partitions"].as_array().unwrap().len(), 8);
    cluster.stop();

    let shrunk = YAML.replace("partitions: 6", "partitions: 4").replace("shards: 6", "shards: 7");
    let yaml = write_yaml(directory.path(), &shrunk);
    let (code, text) = run(&yaml, directory.path(), free_base());
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("spec.shards can't be changed"), "{text}");
    assert!(text.contains("Topic orders: spec.partitions can only grow"), "{text}");
    assert!(text.contains("cluster.yaml:"), "the file and the line: {text}");

    let yaml = write_yaml(directory.path(), &YAML.replace("local", "other"));
    let (code, text) = run(&yaml, directory.path(), free_base());
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("metadata.name: was local before"), "{text}");
}

#[test]
fn brokers_come_and_go_from_run_to_run_and_their_replicas_with_them() {
    let directory = tempfile::tempdir().unwrap();
    Cluster::start(directory.path(), YAML).stop();

    let four = YAML.replace("shards: 6", "shards: 6\n  brokers: 4");
    let cluster = Cluster::start(directory.path(), &four);
    cluster.until("the fourth has its share", |status| status.is_placed_on(4));
    cluster.stop();

    let cluster = Cluster::start(directory.path(), YAML);
    assert_eq!(cluster.status().brokers().len(), 4, "it runs while it holds replicas");
    cluster.until("the fourth holds nothing", |status| status.is_placed_on(3));
    let output = cluster.stop();
    assert!(output.contains("broker 3 holds it no more"), "{output}");

    let cluster = Cluster::start(directory.path(), YAML);
    assert_eq!(cluster.status().brokers().len(), 3);
    cluster.until("nothing is missed", |status| status.is_placed_on(3) && status.serving());
    cluster.stop();
}

#[test]
fn what_has_no_effect_is_said_and_a_frozen_broker_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let external = "shards: 6\n  paused: true\n  resources: {limits: {cpu: 1}}\n  \
                    listeners: {kafka: {external: {type: NodePort}}}";
    let cluster = Cluster::start(directory.path(), &YAML.replace("shards: 6", external));
    cluster.freeze_broker(2);
    let output = cluster.stop();
    let expected = "warning: no effect with holdfast up: spec.listeners.kafka.external, \
                    spec.resources, spec.paused";
    assert!(output.contains(expected), "{output}");
}

#[test]
fn help_tells_what_one_must_know() {
    let help = help();
    for word in ["--data", "--port-base", "--plain", "Ctrl-C", "9092", "127.0.0.1", "delete it"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn a_full_disk_is_said_plainly() {
    let directory = tempfile::tempdir().unwrap();
    let Some(_disk) = Disk::mount(directory.path(), "size=1m") else { return };
    let yaml = write_yaml(directory.path(), YAML);
    let (code, text) = run(&yaml, directory.path(), free_base());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is full (") && text.contains("free at least 16 MiB"), "{text}");
}

#[test]
fn a_disk_that_is_nearly_full_is_said_plainly() {
    let directory = tempfile::tempdir().unwrap();
    let Some(_disk) = Disk::mount(directory.path(), "size=64m") else { return };
    let cluster = Cluster::launch(directory.path(), YAML);
    cluster.until_said("is full: brokers take no messages while less than 128 MiB are free");
    cluster.stop();
}

#[test]
fn bad_yaml_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let yaml = write_yaml(directory.path(), &YAML.replace("partitions:", "partitons:"));
    let (code, text) = run(&yaml, directory.path(), free_base());
    assert_eq!(code, Some(2));
    assert!(text.contains("cluster.yaml") && text.contains("partitons"), "{text}");
    assert!(!directory.path().join("data").exists(), "nothing is made");
}

#[test]
fn a_directory_in_use_is_said_plainly() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(directory.path(), YAML);
    let yaml = write_yaml(directory.path(), YAML);
    let (code, text) = run(&yaml, directory.path(), free_base());
    assert_eq!(code, Some(1));
    assert!(text.contains("in use by another holdfast (process "), "{text}");
    assert!(cluster.status().serving(), "the other is not disturbed");
    cluster.stop();
}

#[test]
fn a_taken_port_is_said_plainly() {
    let directory = tempfile::tempdir().unwrap();
    let yaml = write_yaml(directory.path(), YAML);
    let base = free_base();
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, base + 101)).unwrap();
    let (code, text) = run(&yaml, directory.path(), base);
    assert_eq!(code, Some(1));
    let expected = format!("port {} is taken, and broker 1 needs it", base + 101);
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn a_broker_that_does_not_start_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let yaml = write_yaml(directory.path(), YAML);
    let broker = directory.path().join("data").join("broker-1");
    fs::create_dir_all(&broker).unwrap();
    fs::write(broker.join("data"), "in the way").unwrap();
    let (code, text) = run(&yaml, directory.path(), free_base());
    assert_eq!(code, Some(1));
    assert!(text.contains("broker 1 does not start"), "{text}");
    assert!(text.contains("broker-1/data"), "the log says why: {text}");
}
