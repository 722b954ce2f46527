"""Clusters of a test's own: other settings, other binaries, other disks than the shared cluster has.

The harness's cluster class drives `holdfast up` here as it does for the shared cluster; ports are those that nobody uses.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException
from conftest import wait_until
from harness import holdfast, metadata, processes, results

ROOT = holdfast.ROOT
BROKERS = 3
BROKERS_MAX = 5
PORTS_NEEDED = [above + broker for above in (0, 100, 200) for broker in range(BROKERS_MAX)]
BOUND_S = 90


def policy(**spec):
    """A ReplicationPolicy as YAML; JSON is YAML too."""
    import json

    resource = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "ReplicationPolicy", "metadata": {"name": "own"}}
    return json.dumps({**resource, "spec": {"shards": 3, **spec}})


def free_port():
    """The first of a row of ports that nobody uses, below those that the kernel hands out."""
    for base in range(14_000, 20_000, 300):
        taken = False
        for port in PORTS_NEEDED:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", base + port))
                except OSError:
                    taken = True
                    break
        if not taken:
            return base
    raise RuntimeError("no ports are free")


class Own(holdfast.Holdfast):
    def __init__(self, directory, binary, yaml, environment, brokers):
        file = os.path.join(directory, "cluster.yaml")
        with open(file, "w", encoding="utf-8") as out:
            out.write(yaml)
        super().__init__(os.path.join(directory, "data"), binary, [file], free_port())
        self.directory, self.environment, self.broker_count = directory, environment, brokers

    def start(self):
        # What `holdfast up` is given goes to the brokers, its children.
        saved = dict(os.environ)
        os.environ.update(self.environment)
        try:
            super().start()
        finally:
            os.environ.clear()
            os.environ.update(saved)

    def leader(self, topic, partition=0):
        return metadata.leader(self.bootstrap, topic, partition)

    def shard(self, number):
        return self._status()["shards"][number]

    def partition(self, topic, number=0):
        (found,) = [each for each in self._status()["topics"] if each["name"] == topic]
        return found["partitions"][number]

    def broker(self, number):
        return self._brokers()[number]

    def data_of(self, broker):
        return os.path.join(self.data, f"broker-{broker}", "data")

    def bytes_of(self, broker):
        """What a broker's data takes on the disk."""
        # Files may go while it looks, which it complains of.
        used = subprocess.run(["du", "-s", "-B1", self.data_of(broker)], capture_output=True, text=True, check=False)
        return int(used.stdout.split()[0])

    def log_of(self, broker):
        with open(os.path.join(self.data, f"broker-{broker}", "log"), encoding="utf-8", errors="replace") as file:
            return file.read()


@contextmanager
def cluster(yaml=None, binary=None, environment=None, directory=None, brokers=BROKERS):
    """A running cluster, removed afterwards whatever happened in it; its logs are shown where a test fails."""
    own = directory or tempfile.mkdtemp(prefix="holdfast-test-")
    made = Own(own, binary or os.environ["HOLDFAST"], yaml or policy(), environment or {}, brokers)
    try:
        made.start()
        made.wait_healthy()
        yield made
    except BaseException:
        for broker in range(brokers):
            try:
                print(f"--- the end of the log of broker {broker}\n{made.log_of(broker)[-3000:]}")
            except OSError:
                pass
        raise
    finally:
        made.destroy()
        if directory is None:
            shutil.rmtree(own, ignore_errors=True)


class Away:
    """A broker that can't run: a file is where its data should be. With `empty` it comes back without any."""

    def __init__(self, cluster, broker, empty=False):
        self.cluster, self.broker, self.empty = cluster, broker, empty
        self.data = cluster.data_of(broker)
        self.aside = f"{self.data}.away"

    def __enter__(self):
        processes.kill(self.cluster.pid(self.broker))
        wait_until(f"broker {self.broker} can't start", self._moved)
        return self

    def _moved(self):
        if not os.path.exists(self.aside):
            os.rename(self.data, self.aside)
        if os.path.isdir(self.data):  # it started in between, and made a new one
            shutil.rmtree(self.data)
        with open(self.data, "x", encoding="utf-8") as file:
            file.write("away\n")
        return True

    def __exit__(self, *_):
        os.remove(self.data)
        if self.empty:
            shutil.rmtree(self.aside)
        else:
            os.rename(self.aside, self.data)


@contextmanager
def small_disk(megabytes):
    """A filesystem of this size; None where mounting is not permitted."""
    directory = tempfile.mkdtemp(prefix="holdfast-disk-")
    options = f"size={megabytes}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], capture_output=True, check=False)
    try:
        yield directory if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", directory], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def settled(what, ask):
    """What `ask` gives, once the client has learnt who leads now: these calls do not try again by themselves."""

    def asked():
        try:
            return ask()
        except KafkaException as problem:
            if not problem.args[0].retriable() and problem.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                raise
            return None

    return wait_until(what, asked)


def judge_numbers(found, expected):
    """Fails unless the numbers read back are these, each once and in order; says so either way."""
    lost, twice = set(expected) - set(found), len(found) - len(set(found))
    reordered = sum(after < before for before, after in zip(found, found[1:]))
    results.note(acked=len(expected), lost=len(lost), duplicated=twice, reordered=reordered, other=0)
    assert list(found) == list(expected), f"{len(lost)} lost, {twice} twice, {reordered} out of order"


def thaw(cluster_of, brokers):
    import signal

    for broker in brokers:
        try:
            os.kill(cluster_of.pid(broker), signal.SIGCONT)
        except LookupError:
            pass


__all__ = ["Away", "Own", "cluster", "free_port", "judge_numbers", "policy", "processes", "settled", "small_disk", "thaw"]
