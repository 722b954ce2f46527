"""Fixtures: the cluster under test, topics and groups of a test's own, and where figures go.

BOOTSTRAP holds the addresses, CLUSTER the command whose verbs kill and restart brokers (see tests/clients/run).
"""

import os
import re
import shlex
import subprocess
import sys
import time
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from harness import metadata, results, targets  # noqa: E402

# No single step may take longer, on a slow machine and through an election.
BOUND_S = 90
REPLICAS = 3


class Cluster:
    def __init__(self, bootstrap, command):
        self.bootstrap = bootstrap
        self.command = shlex.split(command)

    def verb(self, *words):
        """Runs one verb of the cluster command and returns what it printed."""
        done = subprocess.run(
            [*self.command, *map(str, words)], capture_output=True, text=True, timeout=BOUND_S * 2, check=False
        )
        assert done.returncode == 0, f"cluster {words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def leader(self, topic, partition):
        return metadata.leader(self.bootstrap, topic, partition)

    def led_by(self, topic, broker):
        found = metadata.view(self.bootstrap, [topic]).partitions.values()
        return sorted(p.partition for p in found if p.leader == broker)


def wait_until(what, condition, timeout_s=BOUND_S):
    return metadata.wait_until(what, condition, timeout_s)


@pytest.fixture(scope="session")
def cluster():
    if "BOOTSTRAP" not in os.environ or "CLUSTER" not in os.environ:
        pytest.skip("BOOTSTRAP and CLUSTER are not set: run this suite through tests/clients/run")
    return Cluster(os.environ["BOOTSTRAP"], os.environ["CLUSTER"])


@pytest.fixture(scope="session")
def bootstrap(cluster):
    return cluster.bootstrap


@pytest.fixture(scope="session")
def admin(bootstrap):
    return AdminClient({"bootstrap.servers": bootstrap})


def unique(name):
    return f"{re.sub('[^a-zA-Z0-9]+', '-', name).strip('-')}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def group(request):
    return unique(request.node.name)


@pytest.fixture
def make_topic(request, admin, bootstrap):
    """Makes a topic that no other test or run uses, and waits until each partition has its leader."""

    def make(partitions=1, **config):
        name = unique(request.node.name)
        wanted = {key.replace("_", "."): str(value) for key, value in config.items()}
        for future in admin.create_topics([NewTopic(name, partitions, REPLICAS, config=wanted)]).values():
            future.result(BOUND_S)
        await_leaders(bootstrap, name, partitions)
        return name

    return make


def await_leaders(bootstrap, name, partitions):
    """Waits until every broker that is up knows every partition and its leader."""

    def led():
        for host, port in metadata.view(bootstrap).brokers.values():
            found = metadata.view(f"{host}:{port}", [name]).partitions.values()
            if len(found) != partitions or not all(p.error == 0 and p.leader >= 0 for p in found):
                return False
        return True

    wait_until(f"the {partitions} partitions of {name} have leaders", led)


@pytest.fixture
def topic(make_topic):
    return make_topic()


@pytest.fixture
def figure():
    """Notes measured times, which tests/clients/run judges by their target and prints at the end."""

    def note(client, fault, times_ms):
        if path := os.environ.get("FIGURES"):
            targets.note(path, client, fault, times_ms)
        results.note(client=client, pauses_ms=[round(time_ms) for time_ms in times_ms])

    return note


def hours_ago_ms(hours):
    return int((time.time() - hours * 3600) * 1000)
