"""The history checker sees a real loss: real brokers without one rule of replication, a stock producer, one fault.

The rule that is taken away: what is committed is held by every member of the in-sync replicas, not only by the leader. Both
followers are frozen, so only the leader takes what is sent; then the leader is lost, and a follower takes over. With the
rule nothing is acknowledged meanwhile, and nothing is lost.
"""

import os
import signal
import time

import faults
import own
import pytest
from conftest import wait_until
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from harness import history, metadata, processes
from test_failover import ConfluentReader

TOPIC = "numbers"
MESSAGES = 50
# How long the leader is watched for an acknowledgement that it must not give.
WATCHED_S = 1.0
DETECTION_S = 4


class Numbered:
    """A stock producer that sends numbers under one key, and the history of it."""

    def __init__(self, bootstrap):
        self.story, self.next, self.bootstrap = faults.Story(), 0, bootstrap
        self.renew()

    def renew(self):
        """Goes on as another producer: one that was there knows what is missing, and refuses to go on."""
        settings = {"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 0, "log_level": 0}
        self.producer = Producer({**settings, "socket.timeout.ms": 1000, "message.timeout.ms": 120_000})

    def send(self, count):
        for _ in range(count):
            seq, self.next = self.next, self.next + 1
            self.story.sent("key", seq)

            def report(error, message, seq=seq):
                if error:
                    self.story.refused("key", seq, error)
                else:
                    self.story.acknowledged("key", seq, message.partition(), message.offset())

            self.producer.produce(TOPIC, str(seq), "key", 0, on_delivery=report)
            self.producer.poll(0)

    def settled(self):
        self.producer.poll(0)
        return self.story.settled >= self.next


def lose_the_leader(cluster):
    """The scenario; returns the history of what was sent and what was read afterwards."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    for made in admin.create_topics([NewTopic(TOPIC, 1, 3)]).values():
        made.result(own.BOUND_S)
    wait_until("the topic has a leader", lambda: cluster.leader(TOPIC) >= 0)
    cluster.wait_healthy()
    numbers = Numbered(cluster.bootstrap)
    numbers.send(MESSAGES)
    wait_until("the first messages are acknowledged", numbers.settled)

    leader = cluster.leader(TOPIC)
    followers = [broker for broker in range(3) if broker != leader]
    for broker in followers:
        os.kill(cluster.pid(broker), signal.SIGSTOP)
    # The first goes to the followers' sockets as the answer to the fetches that wait there; no other can.
    for count in (1, MESSAGES - 1):
        numbers.send(count)
        deadline = time.monotonic() + WATCHED_S
        while not numbers.settled() and time.monotonic() < deadline:
            time.sleep(0.01)
    # Frozen, and not yet killed: `holdfast up` would start it again before another is elected.
    os.kill(cluster.pid(leader), signal.SIGSTOP)
    own.thaw(cluster, followers)

    def another_leads():
        found = metadata.leader(cluster.broker(followers[0])["kafka"], TOPIC, 0)
        return found in followers

    wait_until("another leads", another_leads)
    processes.kill(cluster.pid(leader))
    wait_until("everything sent has met its fate", numbers.settled)
    numbers.renew()
    numbers.send(MESSAGES)
    wait_until("the last messages are acknowledged", numbers.settled)
    reader, reads = ConfluentReader(cluster.broker(followers[0])["kafka"], TOPIC), []
    try:
        highest = max(event["seq"] for event in numbers.story.events if event["event"] == "acked")

        def read_on():
            reads.extend(reader.some())
            return any(read["seq"] == highest for read in reads)

        wait_until("the last acknowledged message is read", read_on)
    finally:
        reader.close()
    return numbers.story, reads


@pytest.mark.parametrize("rule", [None, "EveryMember"])
def test_a_missing_rule_is_seen(rule):
    environment = {"HOLDFAST_WITHOUT_RULE": rule} if rule else {}
    yaml = own.policy(failover={"detectionTimeout": f"{DETECTION_S}s"})
    with own.cluster(yaml, os.environ["HOLDFAST_ABLATION"], environment) as cluster:
        story, reads = lose_the_leader(cluster)
    verdict = history.judge(story.events + reads)
    if rule is None:
        assert story.failed == [], story.failed[0]
        assert verdict.problems == [], str(verdict)
        assert verdict.acked == 3 * MESSAGES
    else:
        print(verdict)
        assert "lost" in verdict.kinds, f"a loss was provoked, and the checker does not see it: {verdict}"
