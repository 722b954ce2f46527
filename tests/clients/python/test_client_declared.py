"""What the policy lets clients declare: topics by asking or by using a name, their retention, and how many."""

import own
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

DAY_MS = 24 * 3600 * 1000


def create(admin, name):
    admin.create_topics([NewTopic(name, 1)])[name].result(own.BOUND_S)


def known(admin):
    return set(admin.list_topics(timeout=own.BOUND_S).topics)


def produce(cluster, topic):
    """What becomes of a message to a topic that nobody declared."""
    fates = []
    settings = {"bootstrap.servers": cluster.bootstrap, "topic.metadata.propagation.max.ms": 2000, "log_level": 0}
    producer = Producer({**settings, "message.timeout.ms": 10_000})
    producer.produce(topic, b"x", on_delivery=lambda error, _: fates.append(error))
    producer.flush(own.BOUND_S)
    (fate,) = fates
    return fate


def test_create_is_by_asking_alone():
    with own.cluster(own.policy(clientDeclared={"maxTopics": 2, "retention": "1d", "partitions": 3})) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        assert produce(cluster, "used") is not None
        assert "used" not in known(admin)

        create(admin, "first")
        admin.create_topics([NewTopic("second")])["second"].result(own.BOUND_S)
        described = admin.list_topics("second", timeout=own.BOUND_S).topics["second"]
        assert len(described.partitions) == 3
        resource = ConfigResource(ResourceType.TOPIC, "second")
        config = admin.describe_configs([resource])[resource].result(own.BOUND_S)
        assert config["retention.ms"].value == str(DAY_MS)

        with pytest.raises(KafkaException) as refused:
            create(admin, "third")
        assert refused.value.args[0].code() == KafkaError.POLICY_VIOLATION
        assert "maxTopics" in refused.value.args[0].str()


def test_auto_create_is_by_use_too_and_deny_is_neither():
    with own.cluster(own.policy(clientDeclared={"topics": "AutoCreate"})) as cluster:
        assert produce(cluster, "used") is None
    with own.cluster(own.policy(clientDeclared={"topics": "Deny"})) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        with pytest.raises(KafkaException) as refused:
            create(admin, "asked")
        assert refused.value.args[0].code() == KafkaError.POLICY_VIOLATION
        assert produce(cluster, "used") is not None
        assert not known(admin) & {"asked", "used"}
