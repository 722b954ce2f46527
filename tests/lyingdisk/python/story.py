"""A stock client that writes throughout, and the judgement of what it was promised."""

import time
from contextlib import contextmanager

import faults
import own
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import BOUND_S, await_leaders, unique, wait_until
from test_failover import ConfluentWriter

TOPIC = "numbers"
# So that what waits to be flushed is of many pages, some of which may be left by a power cut and others not.
VALUE_BYTES = 700
# A message is tried for longer than any fault here takes.
PATIENCE_MS = 300_000
SETTINGS = {"socket_timeout_ms": 5000, "message_timeout_ms": PATIENCE_MS}


class Writer(ConfluentWriter):
    """Values are numbers with spaces behind them, which a reader takes for the numbers."""

    def send(self, partition, key, seq):
        def report(error, message):
            if error:
                self.story.refused(key, seq, error)
            else:
                self.story.acknowledged(key, seq, message.partition(), message.offset())

        self.producer.produce(self.topic, str(seq).ljust(VALUE_BYTES), key, partition, on_delivery=report)


def make_topic(cluster):
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic(TOPIC, faults.PARTITIONS, own.BROKERS)]).values():
        made.result(BOUND_S)
    await_leaders(cluster.bootstrap, TOPIC, faults.PARTITIONS)
    cluster.wait_healthy()


def shard_of(cluster, partition):
    """The number of the shard that holds a partition. The operator hears of a client's topic a little later."""

    def known():
        try:
            return [cluster.partition(TOPIC, partition)["shard"]]
        except ValueError:
            return None

    return wait_until("the operator knows the topic", known)[0]


@contextmanager
def writing(cluster, story, first=0, **settings):
    """A load that goes on for as long as this lasts, with messages from number `first` on."""
    writer = Writer(cluster.bootstrap, TOPIC, story, **{**SETTINGS, **settings})
    with faults.Load(writer, story, first) as load:
        yield load


def fault(story, kind):
    story.fault(kind, time.time(), list(range(faults.PARTITIONS)))


def recovers(rig, load):
    """All partitions take messages sent after the fault, and every replica is in sync again."""
    load.reach("all partitions take messages again", load.story.fresh, dict.fromkeys(range(faults.PARTITIONS), faults.STEADY))
    load.story.recovered()
    wait_until("every replica is in sync", lambda: load.alive() and rig.cluster.healthy())


def read_to_the_end(cluster):
    """Every message of every partition, from the first to the last that is there now."""
    settings = {"bootstrap.servers": cluster.bootstrap, "group.id": unique("reader")}
    consumer = Consumer({**settings, "enable.auto.commit": False})
    try:
        places = [TopicPartition(TOPIC, p, OFFSET_BEGINNING) for p in range(faults.PARTITIONS)]
        ends = {place.partition: consumer.get_watermark_offsets(place, BOUND_S)[1] for place in places}
        consumer.assign(places)
        reads, reached = [], dict.fromkeys(ends, 0)

        def read_on():
            for message in consumer.consume(1000, 0.05):
                if message.error() is None:
                    partition, offset = message.partition(), message.offset()
                    reads.append(faults.read_event(message.key(), message.value(), partition, offset))
                    reached[partition] = offset + 1
            return all(reached[p] >= end for p, end in ends.items())

        wait_until("all partitions are read to their ends", read_on)
        return reads
    finally:
        consumer.close()


def judged(cluster, story):
    """Fails unless every acknowledged message is there, once, in order, where it was said to be."""
    return faults.judged(story, read_to_the_end(cluster))
