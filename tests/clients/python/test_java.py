"""The Java client through Kafka's own tools (org.apache.kafka:kafka-tools), a JVM for each command."""

import json
import os
import re
import subprocess
import threading
import time

import faults
import pytest
from conftest import BOUND_S, await_leaders, hours_ago_ms, unique, wait_until
from harness import history, kafka, targets

TOOLS = "org.apache.kafka.tools."
# A tool runs for a second or two: compiling less and collecting with one thread makes it start sooner.
FLAGS = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-Xshare:auto"]


def command(tool, *words):
    return ["java", *FLAGS, "-cp", os.path.join(kafka.JARS, "*"), tool if tool.startswith("kafka.") else TOOLS + tool, *map(str, words)]


@pytest.fixture
def tool(bootstrap):
    def run(name, *words, fails=False, server="--bootstrap-server"):
        done = subprocess.run(
            command(name, server, bootstrap, *words), capture_output=True, text=True, timeout=BOUND_S * 2, check=False
        )
        assert fails == (done.returncode != 0), f"{name}: exit {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if fails else "")

    return run


class Verifiable:
    """A VerifiableProducer or VerifiableConsumer: a JSON line on its output for each thing that happens."""

    def __init__(self, name, *words):
        self.process = subprocess.Popen(
            command(name, *words), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.lines = []
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                self.lines.append(json.loads(line))

    def named(self, *names):
        return [line for line in self.lines[:] if line["name"] in names]

    def end(self):
        """Asks it to end in order, and waits for all that it still had to say."""
        self.process.terminate()
        self.process.wait(BOUND_S)
        self.thread.join(BOUND_S)
        return self

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def verifiable(bootstrap):
    started = []

    def start(name, *words):
        started.append(Verifiable(name, "--bootstrap-server", bootstrap, *words))
        return started[-1]

    yield start
    for each in started:
        each.abandon()


def records(consumer):
    return [(line["partition"], line["offset"], line["key"], line["value"]) for line in consumer.named("record_data")]


@pytest.mark.parametrize("acks", [0, 1, -1])
def test_acks(verifiable, topic, group, acks):
    producer = verifiable("VerifiableProducer", "--topic", topic, "--max-messages", 500, "--acks", acks)
    assert producer.process.wait(BOUND_S) == 0
    consumer = verifiable(
        "VerifiableConsumer", "--topic", topic, "--group-id", group, "--max-messages", 500, "--reset-policy", "earliest",
        "--verbose",
    )  # fmt: skip
    wait_until("all messages are consumed", lambda: len(records(consumer)) >= 500)
    assert [(offset, int(value)) for _, offset, _, value in records(consumer)] == [(i, i) for i in range(500)]


def assigned(consumer):
    """What a VerifiableConsumer holds, from what it said of each rebalance."""
    held = set()
    for line in consumer.named("partitions_assigned", "partitions_revoked"):
        partitions = {part["partition"] for part in line["partitions"]}
        held = held | partitions if line["name"] == "partitions_assigned" else held - partitions
    return held


@pytest.mark.parametrize("assignor", ["RangeAssignor", "CooperativeStickyAssignor"])
def test_group_rebalances(verifiable, make_topic, group, assignor):
    topic = make_topic(partitions=6)
    strategy = f"org.apache.kafka.clients.consumer.{assignor}"
    words = ["--topic", topic, "--group-id", group, "--session-timeout", 10_000, "--reset-policy", "earliest"]
    words += ["--verbose", "--assignment-strategy", strategy]

    def share(members, sizes):
        def settled():
            held = [assigned(member) for member in members]
            return [len(each) for each in held] == sizes and set().union(*held) == set(range(6))

        wait_until(f"the shares are {sizes}", settled)

    first = verifiable("VerifiableConsumer", *words)
    share([first], [6])
    second = verifiable("VerifiableConsumer", *words)
    share([first, second], [3, 3])
    producer = verifiable("VerifiableProducer", "--topic", topic, "--max-messages", 300, "--repeating-keys", 30)
    assert producer.process.wait(BOUND_S) == 0
    wait_until("every message came to a member", lambda: len(records(first)) + len(records(second)) >= 300)
    assert sorted(int(value) for *_, value in records(first) + records(second)) == list(range(300))
    first.end()
    share([second], [6])


def test_performance_tools_with_each_codec(tool, topic):
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        properties = ["--command-property", f"compression.type={codec}", "acks=all"]
        size = ["--num-records", 5_000, "--record-size", 200, "--throughput", -1]
        said = tool("ProducerPerformance", "--topic", topic, *size, *properties)
        assert re.search(r"^5000 records sent", said, re.MULTILINE), said
    read = tool("ConsumerPerformance", "--topic", topic, "--num-records", 25_000, "--timeout", 30_000, "--hide-header")
    assert int(read.splitlines()[-1].split(", ")[4]) == 25_000, read


def test_topic_command(tool, bootstrap):
    name = unique("java-topics")
    tool("TopicCommand", "--create", "--topic", name, "--partitions", 2, "--replication-factor", 3)
    await_leaders(bootstrap, name, 2)
    assert "already exists" in tool("TopicCommand", "--create", "--topic", name, fails=True)
    tool("TopicCommand", "--alter", "--topic", name, "--partitions", 4)
    await_leaders(bootstrap, name, 4)
    described = tool("TopicCommand", "--describe", "--topic", name)
    assert re.search(r"PartitionCount: 4\s+ReplicationFactor: 3", described), described
    assert name in tool("TopicCommand", "--list").split()
    tool("kafka.admin.ConfigCommand", "--alter", "--topic", name, "--add-config", "retention.ms=7200000")
    wait_until(
        "the new value is there",
        lambda: "retention.ms=7200000" in tool("kafka.admin.ConfigCommand", "--describe", "--topic", name),
    )
    tool("TopicCommand", "--delete", "--topic", name)
    wait_until("the topic is gone", lambda: name not in tool("TopicCommand", "--list").split())


def test_consumer_group_command(tool, verifiable, topic, group):
    producer = verifiable("VerifiableProducer", "--topic", topic, "--max-messages", 50)
    assert producer.process.wait(BOUND_S) == 0
    consumer = verifiable("VerifiableConsumer", "--topic", topic, "--group-id", group)
    wait_until("all is committed", lambda: consumer.named("offsets_committed") and
               consumer.named("offsets_committed")[-1]["offsets"][0]["offset"] == 50)  # fmt: skip
    groups = "consumer.group.ConsumerGroupCommand"
    described = tool(groups, "--describe", "--group", group).splitlines()
    (row,) = [line.split() for line in described if line.startswith(group)]
    assert row[:6] == [group, topic, "0", "50", "50", "0"], described
    assert "is not empty" in tool(groups, "--delete", "--group", group)
    consumer.end()
    wait_until("the group is empty", lambda: "Empty" in tool(groups, "--describe", "--group", group, "--state"))
    tool(groups, "--reset-offsets", "--group", group, "--topic", topic, "--to-offset", 30, "--execute")
    (row,) = [line.split() for line in tool(groups, "--describe", "--group", group).splitlines() if topic in line]
    assert row[3:6] == ["30", "50", "20"]
    tool(groups, "--delete-offsets", "--group", group, "--topic", topic)
    assert topic not in tool(groups, "--describe", "--group", group)
    assert group in tool(groups, "--list").split()
    tool(groups, "--delete", "--group", group)
    assert group not in tool(groups, "--list").split()


def test_offsets_and_deleted_records(tool, verifiable, topic, tmp_path):
    early = hours_ago_ms(1)
    words = ["--topic", topic, "--max-messages", 20, "--message-create-time", early]
    assert verifiable("VerifiableProducer", *words).process.wait(BOUND_S) == 0

    def offset(time):
        return tool("GetOffsetShell", "--topic", topic, "--time", time).strip()

    assert [offset(time) for time in ("earliest", "latest", early)] == [f"{topic}:0:{at}" for at in (0, 20, 0)]
    wanted = {"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 5}]}
    file = tmp_path / "records.json"
    file.write_text(json.dumps(wanted))
    assert "low_watermark: 5" in tool("DeleteRecordsCommand", "--offset-json-file", file)
    assert offset("earliest") == f"{topic}:0:5"


def sent_and_acked(producer):
    """The history of a VerifiableProducer: it sends the numbers from 0 on, and tells of each what became of it."""
    (told,) = producer.named("tool_data")
    events = [
        {"event": "sent", "key": str(seq % faults.KEYS), "seq": seq, "t": None} for seq in range(told["sent"])
    ]  # fmt: skip
    for line in producer.named("producer_send_success"):
        place = {"partition": line["partition"], "offset": line["offset"]}
        events.append({"event": "acked", "key": line["key"], "seq": int(line["value"]), **place,
                       "t": line["timestamp"] / 1000})  # fmt: skip
    return events


def test_kill_of_the_leader(cluster, verifiable, make_topic, group, figure, tmp_path):
    cluster.verb("heal")
    # The tool's own choice is not to retry, and so not to be idempotent.
    retrying = tmp_path / "producer.properties"
    retrying.write_text("retries=2147483647\nenable.idempotence=true\n")
    topic = make_topic(partitions=faults.PARTITIONS)
    words = ["--topic", topic, "--throughput", 1000, "--repeating-keys", faults.KEYS, "--command-config", retrying]
    producer = verifiable("VerifiableProducer", *words)
    consumer = verifiable("VerifiableConsumer", "--topic", topic, "--group-id", group, "--verbose")

    def acked(partition, since):
        lines = producer.named("producer_send_success")
        return sum(line["partition"] == partition and line["timestamp"] / 1000 > since for line in lines)

    used = [p for p in range(faults.PARTITIONS) if wait_until("the load runs", lambda: len(
        producer.named("producer_send_success")) > 1000) and acked(p, 0)]  # fmt: skip
    wait_until("the consumer reads", lambda: len(records(consumer)) > 300)
    strikes = []
    for _ in range(faults.ROUNDS):
        victim = cluster.leader(topic, used[0])
        hit = [p for p in cluster.led_by(topic, victim) if p in used]
        struck = float(cluster.verb("kill", victim))
        # More than could have been on their way when the broker was killed.
        wait_until("messages are acknowledged again", lambda: all(acked(p, struck + 0.1) >= 1500 for p in hit))
        strikes.append((struck, time.time(), hit))
        cluster.verb("restart", victim)
        cluster.verb("wait-healthy")
    before = len(producer.named("producer_send_success"))
    wait_until("the load goes on", lambda: len(producer.named("producer_send_success")) > before + 500)
    events = sent_and_acked(producer.end())
    assert producer.named("producer_send_error") == []
    total = len([event for event in events if event["event"] == "acked"])
    reads = {}

    def all_read():
        reads.update({(p, o): (key, int(value)) for p, o, key, value in records(consumer)})
        return len(reads) >= total

    wait_until("all is read", all_read)
    consumer.end()
    found = [
        {"event": "read", "key": key, "seq": seq, "partition": p, "offset": o}
        for (p, o), (key, seq) in sorted(reads.items())
    ]
    verdict = history.judge(events + found)
    assert verdict.problems == [], str(verdict)
    pauses = [
        max(history.longest_silence_s(events, p, struck, until) for p in hit) for struck, until, hit in strikes
    ]  # fmt: skip
    figure("java", targets.KILLED, [pause * 1000 for pause in pauses])
