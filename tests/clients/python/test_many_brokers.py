"""More brokers than replicas: every broker knows every topic and serves what it leads."""

import own
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import unique, wait_until
from harness import metadata

BROKERS, REPLICAS, PARTITIONS, MESSAGES = 5, 3, 10, 500


def test_every_broker_knows_every_topic():
    wide = own.policy(brokers=BROKERS, replicas=REPLICAS, shards=BROKERS)
    with own.cluster(wide, brokers=BROKERS) as cluster:
        topic = unique("everywhere")
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        made = admin.create_topics([NewTopic(topic, PARTITIONS, REPLICAS)])[topic]
        made.result(own.BOUND_S)

        def leaders(broker):
            """As this broker tells them."""
            seen = metadata.view(cluster.broker(broker)["kafka"], [topic]).partitions.values()
            found = [each.leader for each in seen]
            return found if len(found) == PARTITIONS and min(found) >= 0 else None

        told = [
            wait_until(f"broker {broker} knows the topic", lambda broker=broker: leaders(broker))
            for broker in range(BROKERS)
        ]
        assert set(told[0]) == set(range(BROKERS)), told

        last = {"bootstrap.servers": cluster.broker(BROKERS - 1)["kafka"]}
        producer = Producer({**last, "enable.idempotence": True})
        for number in range(MESSAGES):
            producer.produce(topic, str(number))
        assert producer.flush(own.BOUND_S) == 0
        consumer = Consumer({**last, "group.id": topic, "auto.offset.reset": "earliest"})
        consumer.subscribe([topic])
        read = set()

        def all_read():
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                read.add(int(message.value()))
            return len(read) == MESSAGES

        wait_until("every message is read", all_read)
        consumer.close()
