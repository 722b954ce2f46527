"""A volume that is put back to an older state: its replicas are not taken for what they were."""

import os
import shutil
from contextlib import ExitStack

import own
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import wait_until

TOPIC, MESSAGES = "numbers", 2000


def write(cluster, numbers):
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "linger.ms": 5})
    refused = []
    for number in numbers:
        producer.produce(TOPIC, str(number), on_delivery=lambda error, _: error and refused.append(error))
        producer.poll(0)
    assert producer.flush(own.BOUND_S) == 0 and not refused, refused


def read(cluster, count):
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "reader"})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    found = []

    def all_read():
        for message in consumer.consume(500, 0.5):
            assert message.error() is None, message.error()
            found.append(int(message.value()))
        return len(found) >= count

    wait_until(f"{count} messages are read", all_read)
    consumer.close()
    return found


def in_sync(cluster, brokers):
    wait_until(f"brokers {brokers} are in sync", lambda: sorted(cluster.shard(0)["isr"]) == sorted(brokers))


def test_a_volume_that_was_put_back_is_noticed():
    """At the worst moment: the old copy is in the ISR by its name, and who else has what was acknowledged is away."""
    with own.cluster(own.policy(shards=1)) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        own.settled("the topic is made", lambda: [admin.create_topics([NewTopic(TOPIC, 1, 3)])[TOPIC].result(own.BOUND_S)])
        write(cluster, range(MESSAGES))
        keeper = cluster.leader(TOPIC)
        victim, third = (broker for broker in range(own.BROKERS) if broker != keeper)
        with own.Away(cluster, victim) as away:
            copy = f"{away.data}.copy"
            shutil.copytree(away.aside, copy)
        cluster.wait_healthy()
        with ExitStack() as keeper_away:
            with own.Away(cluster, third):
                in_sync(cluster, [keeper, victim])
                write(cluster, range(MESSAGES, 2 * MESSAGES))
                keeper_away.enter_context(own.Away(cluster, keeper))
                victim_away = keeper_away.enter_context(ExitStack())
                away = victim_away.enter_context(own.Away(cluster, victim))
                shutil.rmtree(away.aside)
                os.rename(copy, away.aside)
            victim_away.close()
            log = "the volume was put back to an older state; starting anew"
            noticed = lambda: log in cluster.log_of(victim)  # noqa: E731
            wait_until("it is noticed, or leads", lambda: noticed() or cluster.shard(0)["leader"] == victim)
        # Who has everything is back.
        cluster.wait_healthy()
        own.judge_numbers(read(cluster, 2 * MESSAGES), range(2 * MESSAGES))
        assert noticed()
