"""kafka-python."""

import threading
import time

import pytest
from conftest import BOUND_S, REPLICAS, await_leaders, hours_ago_ms, unique, wait_until
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import (
    GroupSubscribedToTopicError,
    InvalidPartitionsError,
    NoError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import OffsetAndMetadata


@pytest.fixture
def close():
    """Closes the clients of a test, also when it fails."""
    opened = []

    def keep(client):
        opened.append(client)
        return client

    yield keep
    for client in opened:
        client.close()


@pytest.fixture
def producer(bootstrap, close):
    return lambda **config: close(KafkaProducer(bootstrap_servers=bootstrap.split(","), **config))


@pytest.fixture
def consumer(bootstrap, close):
    defaults = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "heartbeat_interval_ms": 300}
    return lambda *topics, **config: close(
        KafkaConsumer(*topics, bootstrap_servers=bootstrap.split(","), **{**defaults, **config})
    )


@pytest.fixture
def control(bootstrap, close):
    return close(KafkaAdminClient(bootstrap_servers=bootstrap.split(",")))


def send(sender, topic, values, **options):
    futures = [sender.send(topic, value, **options) for value in values]
    sender.flush(BOUND_S)
    return [future.get(BOUND_S) for future in futures]


def take(reader, count):
    messages = []
    deadline = time.monotonic() + BOUND_S
    while len(messages) < count:
        assert time.monotonic() < deadline, f"only {len(messages)} of {count} messages came"
        for batch in reader.poll(100).values():
            messages += batch
    return messages


@pytest.fixture
def read(consumer):
    def run(topic, count, partition=0):
        reader = consumer()
        reader.assign([TopicPartition(topic, partition)])
        reader.seek_to_beginning()
        return take(reader, count)

    return run


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_acks(producer, read, topic, acks):
    sent = [f"message {i}".encode() for i in range(200)]
    send(producer(acks=acks, enable_idempotence=False), topic, sent)
    assert [message.value for message in read(topic, 200)] == sent


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compression(producer, read, topic, codec):
    sent = [b"compressible " * 100 + str(i).encode() for i in range(200)]
    send(producer(compression_type=codec, linger_ms=20), topic, sent)
    assert [message.value for message in read(topic, 200)] == sent


def test_idempotent(producer, read, topic):
    reports = send(producer(enable_idempotence=True, batch_size=64), topic, [str(i).encode() for i in range(300)])
    assert [report.offset for report in reports] == list(range(300))
    assert [int(message.value) for message in read(topic, 300)] == list(range(300))


def test_keys_headers_and_nulls(producer, read, topic):
    headers = [("a", b"1"), ("a", b""), ("ключ", bytes(range(256)))]
    sender = producer()
    send(sender, topic, [b"value"], key=b"key", headers=headers)
    send(sender, topic, [None], key=b"tombstone")
    first, second = read(topic, 2)
    assert (first.key, first.value, [tuple(header) for header in first.headers]) == (b"key", b"value", headers)
    assert (second.key, second.value) == (b"tombstone", None)


def test_timestamps(producer, consumer, read, topic):
    start = hours_ago_ms(1)
    sender = producer()
    for minute in range(10):
        send(sender, topic, [b"x"], timestamp_ms=start + minute * 60_000)
    assert [message.timestamp for message in read(topic, 10)] == [start + minute * 60_000 for minute in range(10)]
    reader, at = consumer(), TopicPartition(topic, 0)
    found = [reader.offsets_for_times({at: start + ms})[at] for ms in (-1, 0, 1, 9 * 60_000)]
    assert [(place.offset, place.timestamp - start) for place in found] == [(0, 0), (0, 0), (1, 60_000), (9, 540_000)]
    assert reader.offsets_for_times({at: start + 9 * 60_000 + 1})[at] is None
    assert (reader.beginning_offsets([at])[at], reader.end_offsets([at])[at]) == (0, 10)


class Member:
    """A group member with a thread of its own: kafka-python's poll waits until the whole group has rejoined."""

    def __init__(self, consumer, topic, group):
        self.reader = consumer(topic, group_id=group, session_timeout_ms=10_000, metadata_max_age_ms=1000)
        self.partitions, self.values = frozenset(), []
        self.leaving = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self):
        while not self.leaving.is_set():
            for batch in self.reader.poll(50).values():
                self.values += [int(message.value) for message in batch]
            self.partitions = frozenset(p.partition for p in self.reader.assignment())
        self.reader.close()

    def leave(self):
        self.leaving.set()
        self.thread.join(BOUND_S)


@pytest.fixture
def members():
    joined = []
    yield joined
    for member in joined:
        member.leave()


def test_group_rebalances(producer, consumer, make_topic, group, members):
    topic = make_topic(partitions=4)

    def shared(shares):
        def settled():
            owned = [p for member in members for p in member.partitions]
            return sorted(len(m.partitions) for m in members) == shares and sorted(owned) == [0, 1, 2, 3]

        wait_until(f"the shares are {shares}", settled)

    for shares in ([4], [2, 2], [1, 1, 2]):
        members.append(Member(consumer, topic, group))
        shared(shares)
    sender = producer()
    for i in range(80):
        sender.send(topic, str(i).encode(), partition=i % 4)
    sender.flush(BOUND_S)
    wait_until("every message came to a member", lambda: sum(len(m.values) for m in members) >= 80)
    assert sorted(v for member in members for v in member.values) == list(range(80))
    members.pop(1).leave()
    shared([2, 2])
    members.pop(0).leave()
    shared([4])


def test_commit_and_go_on(producer, consumer, topic, group):
    send(producer(), topic, [str(i).encode() for i in range(20)])
    first = consumer(topic, group_id=group)
    take(first, 20)
    first.commit({TopicPartition(topic, 0): OffsetAndMetadata(12, "half-way", -1)})
    first.close()
    second = consumer(topic, group_id=group)
    assert [int(message.value) for message in take(second, 8)] == list(range(12, 20))
    committed = second.committed(TopicPartition(topic, 0), metadata=True)
    assert (committed.offset, committed.metadata) == (12, "half-way")


def test_admin_topics_and_configs(control, bootstrap):
    name = unique("kafka-python-topics")
    wanted = {"num_partitions": 2, "replication_factor": REPLICAS, "configs": {"retention.ms": "3600000"}}
    control.create_topics({name: wanted})
    await_leaders(bootstrap, name, 2)
    with pytest.raises(TopicAlreadyExistsError):
        control.create_topics({name: wanted})
    control.create_partitions({name: 5})
    await_leaders(bootstrap, name, 5)
    with pytest.raises(InvalidPartitionsError):
        control.create_partitions({name: 4})

    def retention():
        return control.describe_configs([ConfigResource("TOPIC", name)])["topic"][name]["retention.ms"]["value"]

    assert retention() == "3600000"
    changed = control.alter_configs([ConfigResource("TOPIC", name, {"retention.ms": "7200000"})])
    assert changed["topic"][name] == "OK"
    wait_until("the new value is there", lambda: retention() == "7200000")
    assert len(control.describe_topics([name])[0]["partitions"]) == 5
    control.delete_topics([name])
    wait_until("the topic is gone", lambda: name not in control.list_topics())
    with pytest.raises(UnknownTopicOrPartitionError):
        control.delete_topics([name])
    assert len(control.describe_cluster()["brokers"]) == 3


def test_admin_groups(control, consumer, make_topic, group):
    topic = make_topic(partitions=2)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    member = consumer(topic, group_id=group)
    wait_until("the member has its partitions", lambda: member.poll(20) is not None and len(member.assignment()) == 2)
    member.commit({first: OffsetAndMetadata(0, "", -1), second: OffsetAndMetadata(0, "", -1)})
    described = control.describe_groups([group])[group]
    assert (described["group_state"], len(described["members"])) == ("Stable", 1)
    assert control.delete_group_offsets(group, [first])[first] is GroupSubscribedToTopicError
    assert control.delete_groups([group])[group] == "NonEmptyGroupError"
    member.close()
    wait_until("the group is empty", lambda: control.describe_groups([group])[group]["group_state"] == "Empty")
    assert group in [listed["group_id"] for listed in control.list_groups()]
    assert control.alter_group_offsets(group, {second: OffsetAndMetadata(7, "", -1)})[second] is NoError
    assert control.delete_group_offsets(group, [first])[first] is NoError
    assert {p: found.offset for p, found in control.list_group_offsets(group)[group].items()} == {second: 7}
    assert control.delete_groups([group])[group] == "OK"
    assert group not in [listed["group_id"] for listed in control.list_groups()]


def test_admin_delete_records(control, producer, read, topic):
    send(producer(), topic, [b"x"] * 10)
    at = TopicPartition(topic, 0)
    assert control.delete_records({at: 4})[at]["low_watermark"] == 4
    assert read(topic, 1)[0].offset == 4
    with pytest.raises(OffsetOutOfRangeError):
        control.delete_records({at: 11})


def test_long_poll_wakes_up(producer, consumer, topic):
    reader = consumer(fetch_max_wait_ms=60_000, request_timeout_ms=100_000, connections_max_idle_ms=200_000)
    reader.assign([TopicPartition(topic, 0)])
    reader.seek_to_beginning()
    assert reader.poll(1000) == {}
    sender = producer()
    for i in range(3):
        send(sender, topic, [str(i).encode()])
        sent = time.monotonic()
        assert take(reader, 1)[0].value == str(i).encode()
        assert time.monotonic() - sent < 10, "the fetch slept on"
