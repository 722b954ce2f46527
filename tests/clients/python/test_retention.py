"""What is kept and what goes, with real brokers and stock clients: retention, cleaning, deleted records, rebuilt replicas.

Brokers look at retention every 5 s, clean every 10 s, and write a checkpoint after 64 MiB of a shard's log: what is
written here is enough for a few of each.
"""

import own
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import unique, wait_until
from harness import processes

MIB = 1024 * 1024
MESSAGE_BYTES = 64 * 1024
# Messages for a checkpoint and a sealed segment.
MANY = 72 * MIB // MESSAGE_BYTES
# Cleaning has its own times, and runs behind a checkpoint.
PATIENCE_S = 120


def watermarks(consumer, topic):
    ask = lambda: consumer.get_watermark_offsets(TopicPartition(topic, 0), 5)  # noqa: E731
    return own.settled(f"the bounds of {topic} are told", ask)


class Client:
    """A stock producer and consumer of one-partition topics whose messages hold their own number."""

    def __init__(self, cluster):
        self.cluster, self.admin = cluster, AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
        bounds = {"message.max.bytes": 2_000_000, "queue.buffering.max.kbytes": 65_536, "message.timeout.ms": 120_000}
        self.producer = Producer(
            {"bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "log_level": 0, **bounds}
        )

    def make(self, topic, **config):
        wanted = {key.replace("_", "."): str(value) for key, value in config.items()}
        for made in self.admin.create_topics([NewTopic(topic, 1, own.BROKERS, config=wanted)]).values():
            made.result(own.BOUND_S)
        wait_until("the topic has a leader", lambda: self.cluster.leader(topic) >= 0)
        self.cluster.wait_healthy()

    def write(self, topic, numbers, size=MESSAGE_BYTES):
        failed = []
        for number in numbers:
            while True:
                try:
                    self.producer.produce(topic, str(number).ljust(size), on_delivery=lambda e, _: e and failed.append(e))
                    break
                except BufferError:
                    self.producer.poll(0.1)
            self.producer.poll(0)
        wait_until("all is acknowledged", lambda: self.producer.flush(1) == 0)
        assert failed == [], failed[0]

    def _consumer(self):
        settings = {"bootstrap.servers": self.cluster.bootstrap, "group.id": unique("reader"), "log_level": 0}
        return Consumer({**settings, "enable.auto.commit": False, "auto.offset.reset": "error"})

    def span(self, topic):
        consumer = self._consumer()
        try:
            return watermarks(consumer, topic)
        finally:
            consumer.close()

    def read(self, topic):
        """Everything that the topic has, as (offset, number)."""
        consumer, found = self._consumer(), []
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        try:
            _, end = watermarks(consumer, topic)

            def all_read():
                for message in consumer.consume(500, 0.1):
                    assert message.error() is None, message.error()
                    found.append((message.offset(), int(message.value())))
                return found and found[-1][0] >= end - 1

            wait_until(f"{topic} is read up to {end}", all_read)
        finally:
            consumer.close()
        return found

    def delete_before(self, topic, offset):
        (done,) = own.settled(
            f"{topic} is deleted up to {offset}",
            lambda: [d.result(own.BOUND_S) for d in self.admin.delete_records([TopicPartition(topic, 0, offset)]).values()],
        )
        assert done.low_watermark == offset


def shrunk(cluster, below, brokers=range(own.BROKERS)):
    """Waits until the data of each broker takes less than this on its disk."""
    def small():
        return all(cluster.bytes_of(broker) < below for broker in brokers)

    wait_until(f"the data takes less than {below // MIB} MiB on each disk", small, PATIENCE_S)


def test_retention_by_size_and_time_gives_the_disk_back():
    with own.cluster(own.policy(shards=1)) as cluster:
        client = Client(cluster)
        client.make("by-size", retention_bytes=8 * MIB)
        client.make("by-time", retention_ms=2000)
        for topic in ("by-size", "by-time"):
            client.write(topic, range(MANY))
        full = min(cluster.bytes_of(broker) for broker in range(own.BROKERS))
        assert full > 140 * MIB, f"{full / MIB:.0f} MiB: nothing was there to be cleaned"
        wait_until("old messages are gone by size", lambda: client.span("by-size")[0] > MANY - 2 * 8 * MIB // MESSAGE_BYTES)
        wait_until("old messages are gone by time", lambda: client.span("by-time") == (MANY, MANY))
        # What is cleaned lies behind a checkpoint: the next ones come with what is written next.
        client.write("by-size", range(MANY, 2 * MANY))
        client.write("by-time", range(MANY, 2 * MANY))
        # The live messages, the active segment, and a sealed one that is at most half dead.
        shrunk(cluster, 150 * MIB)
        sizes = [cluster.bytes_of(broker) // MIB for broker in range(own.BROKERS)]
        print(f"{4 * MANY * MESSAGE_BYTES // MIB} MiB were written; on the disks are {sizes} MiB")
        start, end = client.span("by-size")
        assert end == 2 * MANY and end - start >= 8 * MIB // MESSAGE_BYTES
        assert client.read("by-size") == [(number, number) for number in range(start, end)]


def test_a_replica_is_rebuilt_from_a_checkpoint():
    """One that was away while what it needs was cleaned, and one whose disk was emptied, come back into the ISR."""
    with own.cluster(own.policy(shards=1)) as cluster:
        client = Client(cluster)
        client.make("numbers")
        client.write("numbers", range(MANY))
        for empty in (False, True):
            leader = cluster.leader("numbers")
            away = (leader + 1) % own.BROKERS
            others = [broker for broker in range(own.BROKERS) if broker != away]
            with own.Away(cluster, away, empty):
                while_away(cluster, client, others)
            cluster.wait_healthy()
            log = cluster.log_of(away)
            assert "building this replica from the leader's checkpoint" in log, log[-3000:]
            # What it was given is what there is: it leads, the others are gone, and it reads back.
            kept = client.span("numbers")
            processes.kill(cluster.pid(cluster.leader("numbers")))
            found = client.read("numbers")
            assert all(offset == number for offset, number in found)
            own.judge_numbers([number for _, number in found], range(*kept))
            wait_until("every replica is in sync", lambda: cluster.healthy())


def while_away(cluster, client, others):
    """Deletes most of what is there, writes more, and waits until the disk has less."""
    _, end = client.span("numbers")
    before = max(cluster.bytes_of(broker) for broker in others)
    client.delete_before("numbers", end - 10)
    assert client.span("numbers") == (end - 10, end)
    client.write("numbers", range(end, end + MANY))
    _, end = client.span("numbers")
    client.delete_before("numbers", end - 100)
    client.write("numbers", range(end, end + MANY))
    shrunk(cluster, before + MANY * MESSAGE_BYTES, others)
