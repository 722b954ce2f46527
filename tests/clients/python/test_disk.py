"""Disks that are full and disks that fail, under real brokers and a stock producer: nothing acknowledged is lost."""

import os
import subprocess
import time

import faults
import own
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import wait_until
from test_failover import ConfluentReader, read_all

TOPIC = "numbers"
MESSAGE_BYTES = 64 * 1024
# What brokers leave free on a disk, whatever they are asked to write, MiB.
RESERVE_MB = 128
IN_FLIGHT_MAX = 200
SHIM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "shim", "fsync_eio.c")


class Filler:
    """A stock producer of large messages, a few of them on their way at a time."""

    def __init__(self, bootstrap, size=MESSAGE_BYTES):
        self.story, self.next, self.size = faults.Story(), 0, size
        settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0, "log_level": 0}
        bounds = {"socket.timeout.ms": 5000, "message.timeout.ms": 300_000, "message.max.bytes": 2_000_000}
        self.producer = Producer({**settings, **bounds})

    def send(self):
        """Sends what may be on its way; never blocks."""
        while self.story.in_flight() < IN_FLIGHT_MAX:
            seq, self.next = self.next, self.next + 1
            partition = seq % faults.PARTITIONS
            key = f"key-{partition}"
            self.story.sent(key, seq)

            def report(error, message, key=key, seq=seq):
                if error:
                    self.story.refused(key, seq, error)
                else:
                    self.story.acknowledged(key, seq, message.partition(), message.offset())

            self.producer.produce(TOPIC, str(seq).ljust(self.size), key, partition, on_delivery=report)
        self.producer.poll(0.01)
        assert self.story.failed == [], self.story.failed[0]

    def send_until(self, what, condition):
        wait_until(what, lambda: self.send() or condition())

    def send_more(self, count):
        mark = self.story.settled + count
        self.send_until(f"{count} more are acknowledged", lambda: self.story.settled >= mark)

    def finish(self):
        wait_until("everything sent is acknowledged", lambda: self.producer.flush(1) == 0)
        assert self.story.failed == [], self.story.failed[0]
        assert self.story.settled == self.next


def make_topic(cluster):
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    for made in admin.create_topics([NewTopic(TOPIC, faults.PARTITIONS, own.BROKERS)]).values():
        made.result(own.BOUND_S)
    wait_until("the topic has leaders", lambda: all(cluster.leader(TOPIC, p) >= 0 for p in range(faults.PARTITIONS)))
    cluster.wait_healthy()


def all_there(cluster, filler):
    reads = read_all(ConfluentReader(cluster.bootstrap, TOPIC), filler.story.settled)
    verdict = faults.judged(filler.story, reads)
    assert verdict.acked == filler.next


def fill_up(path, megabytes_left):
    """A file that takes all of a disk but so much."""
    disk = os.statvfs(path)
    size = disk.f_bavail * disk.f_frsize - megabytes_left * 1024 * 1024
    ballast = os.path.join(path, "ballast")
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return ballast


@pytest.fixture
def disk():
    with own.small_disk(1024) as directory:
        if directory is None:
            pytest.skip("mounting a small disk is not permitted here")
        yield directory


def test_every_disk_is_full(disk, tmp_path):
    """All brokers on one disk that fills up: the producer waits; with room again it goes on by itself."""
    ballast = fill_up(disk, RESERVE_MB + 160)
    with own.cluster(directory=disk) as cluster:
        make_topic(cluster)
        filler = Filler(cluster.bootstrap)
        full = lambda: any(cluster.broker(b).get("failure") for b in range(own.BROKERS))  # noqa: E731
        filler.send_until("a broker says that its disk is full", full)
        assert "no room left" in str([cluster.broker(b).get("failure") for b in range(own.BROKERS)])
        acked = filler.story.settled
        # The producer stays at it while nobody can take anything.
        mark = time.monotonic() + 3
        filler.send_until("some time has passed", lambda: time.monotonic() > mark)
        os.remove(ballast)
        filler.send_more(1000)
        assert filler.story.settled > acked
        filler.finish()
        cluster.wait_healthy()
        all_there(cluster, filler)


def test_one_disk_is_full(tmp_path):
    """A broker whose disk is full leads nothing and holds nobody up; with room again it comes back into the ISR."""
    full = tmp_path / "data" / "broker-1" / "data"
    full.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", full], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        with own.cluster(directory=str(tmp_path)) as cluster:
            make_topic(cluster)
            filler = Filler(cluster.bootstrap)
            filler.send_more(300)
            # Not in the broker's directory, which is the broker's own.
            disk = os.statvfs(full)
            room = disk.f_bavail * disk.f_frsize - RESERVE_MB * 1024 * 1024
            subprocess.run(["mount", "-o", f"remount,size={400 * 1024 * 1024 - room}", full], check=True)
            filler.send_until("the broker says that its disk is full", lambda: cluster.broker(1).get("failure"))
            filler.send_until(
                "others lead", lambda: all(cluster.leader(TOPIC, p) != 1 for p in range(faults.PARTITIONS))
            )
            # More than were on their way, in each partition: it is served without the broker.
            filler.send_more(3 * IN_FLIGHT_MAX)
            subprocess.run(["mount", "-o", "remount,size=1g", full], check=True)
            filler.send_until("every replica is in sync", cluster.healthy)
            filler.finish()
            all_there(cluster, filler)
    finally:
        subprocess.run(["umount", "--lazy", full], check=False)


def test_a_flush_fails(tmp_path):
    """EIO once, of the leader's fdatasync: the process ends at once with 74, another leads, and it comes back whole."""
    shim = tmp_path / "fsync_eio.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", shim, SHIM, "-ldl"], check=True)
    flag = tmp_path / "fail"
    environment = {"LD_PRELOAD": str(shim), "FSYNC_EIO": str(flag)}
    # The binary of the image is static, and takes no shim.
    with own.cluster(binary=os.environ["HOLDFAST_ABLATION"], directory=str(tmp_path), environment=environment) as cluster:
        make_topic(cluster)
        filler = Filler(cluster.bootstrap, size=1000)
        filler.send_more(300)
        leader = cluster.leader(TOPIC)
        was, restarts = cluster.pid(leader), cluster.broker(leader)["restarts"]
        draft = tmp_path / "draft"
        draft.write_text(os.path.join(os.path.realpath(cluster.data_of(leader)), "shards", ""))
        draft.rename(flag)
        filler.send_until("the flush has failed", lambda: not flag.exists())
        filler.send_until("another process took its place", lambda: cluster.broker(leader)["restarts"] > restarts
                          and cluster.broker(leader)["pid"] not in (None, was))  # fmt: skip
        with open(f"{cluster.data}.log", encoding="utf-8") as said:
            assert f"broker {leader}: down, it ended with exit status: 74" in said.read()
        filler.send_until("every replica is in sync", cluster.healthy)
        filler.send_more(300)
        filler.finish()
        all_there(cluster, filler)

