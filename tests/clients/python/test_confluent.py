"""confluent-kafka (librdkafka)."""

import time

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from conftest import BOUND_S, REPLICAS, await_leaders, hours_ago_ms, unique, wait_until


def producer(bootstrap, **config):
    return Producer({"bootstrap.servers": bootstrap, **{k.replace("_", "."): v for k, v in config.items()}})


def send(sender, topic, values, **options):
    """Sends all, waits for all, and returns the delivery reports."""
    reports = []
    for value in values:
        sender.produce(topic, value, on_delivery=lambda error, message: reports.append((error, message)), **options)
    assert sender.flush(BOUND_S) == 0
    assert [error for error, _ in reports if error] == []
    return [message for _, message in reports]


def consumer(bootstrap, group, **config):
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "heartbeat.interval.ms": 300,
        "session.timeout.ms": 10000,
        "topic.metadata.refresh.interval.ms": 1000,
    }
    return Consumer({**settings, **{k.replace("_", "."): v for k, v in config.items()}})


def take(reader, count):
    messages = []
    deadline = time.monotonic() + BOUND_S
    while len(messages) < count:
        assert time.monotonic() < deadline, f"only {len(messages)} of {count} messages came"
        message = reader.poll(0.1)
        if message is not None:
            assert message.error() is None, message.error()
            messages.append(message)
    return messages


def read(bootstrap, topic, count, partition=0):
    reader = consumer(bootstrap, unique("reader"))
    reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    try:
        return take(reader, count)
    finally:
        reader.close()


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acks(bootstrap, topic, acks):
    sent = [f"message {i}".encode() for i in range(200)]
    send(producer(bootstrap, acks=acks), topic, sent)
    assert [message.value() for message in read(bootstrap, topic, 200)] == sent


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compression(bootstrap, topic, codec):
    sent = [b"compressible " * 100 + str(i).encode() for i in range(200)]
    send(producer(bootstrap, compression_type=codec, linger_ms=20), topic, sent)
    assert [message.value() for message in read(bootstrap, topic, 200)] == sent


def test_idempotent_reports_name_the_place(bootstrap, topic):
    sender = producer(bootstrap, enable_idempotence=True, linger_ms=0, batch_num_messages=7)
    reports = send(sender, topic, [str(i).encode() for i in range(500)])
    assert [report.offset() for report in reports] == list(range(500))
    assert [int(message.value()) for message in read(bootstrap, topic, 500)] == list(range(500))


def test_keys_headers_and_nulls(bootstrap, topic):
    headers = [("a", b"1"), ("a", b""), ("b", None), ("ключ", bytes(range(256)))]
    send(producer(bootstrap), topic, [b"value"], key=b"key", headers=headers)
    send(producer(bootstrap), topic, [None], key=b"tombstone")
    send(producer(bootstrap), topic, [b""], key=b"")
    first, second, third = read(bootstrap, topic, 3)
    assert (first.key(), first.value(), first.headers()) == (b"key", b"value", headers)
    assert (second.key(), second.value(), second.headers()) == (b"tombstone", None, None)
    assert (third.key(), third.value()) == (b"", b"")


def test_timestamps(bootstrap, topic):
    start = hours_ago_ms(1)
    sender = producer(bootstrap)
    for minute in range(10):
        send(sender, topic, [b"x"], timestamp=start + minute * 60_000)
    assert [message.timestamp()[1] for message in read(bootstrap, topic, 10)] == [
        start + minute * 60_000 for minute in range(10)
    ]
    reader = consumer(bootstrap, unique("times"))

    def offset_for(time_ms):
        return reader.offsets_for_times([TopicPartition(topic, 0, time_ms)], BOUND_S)[0].offset

    # librdkafka answers with its mark for "the end" (-1) where nothing is as late as that.
    assert [offset_for(start + ms) for ms in (-1, 0, 1, 60_000, 60_001, 9 * 60_000 + 1)] == [0, 0, 1, 1, 2, -1]
    assert reader.get_watermark_offsets(TopicPartition(topic, 0), BOUND_S) == (0, 10)
    reader.close()


def test_unknown_topic_and_offset_out_of_range(bootstrap, topic):
    send(producer(bootstrap), topic, [b"0", b"1"])
    reader = consumer(bootstrap, unique("range"), auto_offset_reset="error")
    reader.assign([TopicPartition(topic, 0, 1000)])
    problem = wait_until("an error is reported", lambda: reader.poll(0.1))
    assert problem.error().code() == KafkaError._AUTO_OFFSET_RESET
    reader.assign([TopicPartition(topic, 0, 1)])
    assert take(reader, 1)[0].value() == b"1"
    reader.close()
    reset = consumer(bootstrap, unique("range"))
    reset.assign([TopicPartition(topic, 0, 1000)])
    assert [message.offset() for message in take(reset, 2)] == [0, 1]
    reset.close()


class Member:
    """A group member that is polled by the test itself: no threads, so no waiting on luck."""

    def __init__(self, bootstrap, group, topic, **config):
        self.partitions = set()
        self.values = []
        self.reader = consumer(bootstrap, group, **config)
        self.cooperative = config.get("partition_assignment_strategy") == "cooperative-sticky"
        self.reader.subscribe([topic], on_assign=self._gain, on_revoke=self._lose, on_lost=self._lose)

    def _gain(self, _, partitions):
        self.partitions |= {p.partition for p in partitions}

    def _lose(self, _, partitions):
        self.partitions -= {p.partition for p in partitions}

    def poll(self):
        message = self.reader.poll(0.02)
        if message is not None and message.error() is None:
            self.values.append(message.value())


def shared(members, shares):
    def settled():
        for member in members:
            member.poll()
        owned = [p for member in members for p in member.partitions]
        sizes = sorted(len(member.partitions) for member in members)
        return sizes == shares and len(owned) == len(set(owned))

    wait_until(f"the shares are {shares}", settled)


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_group_rebalances(bootstrap, make_topic, group, strategy):
    topic = make_topic(partitions=6)
    members = []
    for shares in ([6], [3, 3], [2, 2, 2]):
        members.append(Member(bootstrap, group, topic, partition_assignment_strategy=strategy))
        shared(members, shares)
    sender = producer(bootstrap)
    for i in range(120):
        sender.produce(topic, str(i).encode(), partition=i % 6)
    assert sender.flush(BOUND_S) == 0

    def all_came():
        for member in members:
            member.poll()
        return sum(len(member.values) for member in members) >= 120

    wait_until("every message came to a member", all_came)
    assert sorted(int(v) for member in members for v in member.values) == list(range(120))
    members.pop(1).reader.close()
    shared(members, [3, 3])
    members.pop(0).reader.close()
    shared(members, [6])
    members[0].reader.close()


def test_commit_and_go_on(bootstrap, topic, group):
    send(producer(bootstrap), topic, [str(i).encode() for i in range(20)])
    first = consumer(bootstrap, group)
    first.subscribe([topic])
    messages = take(first, 20)
    note = TopicPartition(topic, 0, messages[11].offset() + 1, metadata="half-way")
    first.commit(offsets=[note], asynchronous=False)
    first.close()
    second = consumer(bootstrap, group)
    committed = second.committed([TopicPartition(topic, 0)], BOUND_S)[0]
    assert (committed.offset, committed.metadata) == (12, "half-way")
    second.subscribe([topic])
    assert [message.value() for message in take(second, 8)] == [str(i).encode() for i in range(12, 20)]
    second.close()


def only(futures):
    (future,) = futures.values() if isinstance(futures, dict) else futures
    return future.result(BOUND_S)


def refused(futures):
    with pytest.raises(KafkaException) as caught:
        only(futures)
    return caught.value.args[0].code()


def test_admin_topics(bootstrap, admin):
    name = unique("confluent-topics")
    only(admin.create_topics([NewTopic(name, 2, REPLICAS)]))
    await_leaders(bootstrap, name, 2)
    assert refused(admin.create_topics([NewTopic(name, 2, REPLICAS)])) == KafkaError.TOPIC_ALREADY_EXISTS
    validated = unique("validated")
    only(admin.create_topics([NewTopic(validated, 1, REPLICAS)], validate_only=True))
    assert validated not in admin.list_topics(timeout=BOUND_S).topics
    only(admin.create_partitions([NewPartitions(name, 4)]))
    await_leaders(bootstrap, name, 4)
    assert refused(admin.create_partitions([NewPartitions(name, 3)])) == KafkaError.INVALID_PARTITIONS
    send(producer(bootstrap), name, [b"x"], partition=3)
    assert read(bootstrap, name, 1, partition=3)[0].value() == b"x"
    only(admin.delete_topics([name]))
    wait_until("the topic is gone", lambda: name not in admin.list_topics(timeout=BOUND_S).topics)
    assert refused(admin.delete_topics([name])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_admin_configs(admin, make_topic):
    name = make_topic(retention_ms=3_600_000)
    resource = ConfigResource(ResourceType.TOPIC, name)

    def value():
        return only(admin.describe_configs([resource]))["retention.ms"].value

    assert value() == "3600000"
    change = ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET)
    only(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, name, incremental_configs=[change])]))
    wait_until("the new value is there", lambda: value() == "7200000")
    broker = only(admin.describe_configs([ConfigResource(ResourceType.BROKER, "0")]))
    assert broker, "a broker describes no configuration"


def test_admin_groups(admin, bootstrap, make_topic, group):
    topic = make_topic(partitions=2)
    member = Member(bootstrap, group, topic)
    shared([member], [2])
    described = only(admin.describe_consumer_groups([group]))
    assert (described.state.name, len(described.members)) == ("STABLE", 1)
    assert sorted(p.partition for p in described.members[0].assignment.topic_partitions) == [0, 1]
    assert refused(admin.delete_consumer_groups([group])) == KafkaError.NON_EMPTY_GROUP
    member.reader.commit(offsets=[TopicPartition(topic, 0, 0), TopicPartition(topic, 1, 0)], asynchronous=False)
    member.reader.close()
    wait_until("the group is empty", lambda: only(admin.describe_consumer_groups([group])).state.name == "EMPTY")
    assert group in [g.group_id for g in admin.list_consumer_groups().result(BOUND_S).valid]
    moved = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 1, 7)])
    only(admin.alter_consumer_group_offsets([moved]))
    found = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])).topic_partitions
    assert {p.partition: p.offset for p in found} == {0: 0, 1: 7}
    only(admin.delete_consumer_groups([group]))
    assert group not in [g.group_id for g in admin.list_consumer_groups().result(BOUND_S).valid]


def test_admin_records_and_offsets(admin, bootstrap, topic):
    send(producer(bootstrap), topic, [b"x"] * 10)
    at = TopicPartition(topic, 0)

    def offset(spec):
        return only(admin.list_offsets({at: spec})).offset

    assert (offset(OffsetSpec.earliest()), offset(OffsetSpec.latest())) == (0, 10)
    assert only(admin.delete_records([TopicPartition(topic, 0, 4)])).low_watermark == 4
    assert offset(OffsetSpec.earliest()) == 4
    assert read(bootstrap, topic, 1)[0].offset() == 4
    described = admin.describe_cluster().result(BOUND_S)
    assert sorted(node.id for node in described.nodes) == [0, 1, 2]


def test_long_poll_wakes_up(bootstrap, topic):
    """A consumer that waits with a very long fetch still gets a message at once."""
    reader = consumer(bootstrap, unique("poll"), fetch_wait_max_ms=60_000, socket_timeout_ms=100_000)
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert reader.poll(1.0) is None
    sender = producer(bootstrap, linger_ms=0)
    for i in range(5):
        send(sender, topic, [str(i).encode()])
        sent = time.monotonic()
        assert take(reader, 1)[0].value() == str(i).encode()
        assert time.monotonic() - sent < 10, "the fetch slept on"
    reader.close()
