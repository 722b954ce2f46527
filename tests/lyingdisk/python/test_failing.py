"""Disks that fail a flush once and then claim success, that are full, that are slow; and the power goes as well."""

import time

import own
import pytest
from conftest import wait_until
from faults import PARTITIONS, Story
from rig import DISK_BYTES, rig
from story import TOPIC, fault, judged, make_topic, recovers, shard_of, writing
from test_disk import RESERVE_MB, Filler

ALL = list(range(own.BROKERS))
STORAGE_FAILED = "exit status: 74"
MEGABYTE = 1 << 20
RENEWED = "this replica is not the one it was"
SLOW_MS = 1500
PAGES_BYTES = 20_000


def test_a_failed_flush_then_a_power_cut():
    """EIO once on every disk: each broker ends, comes back, offers only what it has flushed anew; then all lose power.

    The pages of the failed flush count as clean, so whoever took them for durable would lose them here. Messages are of
    several pages: one page alone would be written again together with what comes next.
    """
    with rig() as made:
        make_topic(made.cluster)
        filler = Filler(made.cluster.bootstrap, PAGES_BYTES)
        filler.send_more(100)
        restarts = [made.cluster.broker(broker)["restarts"] for broker in ALL]
        # What fails is the flush of messages then, whatever else is flushed from time to time.
        filler.finish()
        shard = shard_of(made.cluster, 0)
        for disk in made.disks:
            disk.ask("fail-flush", f"/shards/{shard}/0")
        filler.send_until("every broker came back", lambda: all(
            made.cluster.broker(broker)["restarts"] > restarts[broker] and made.cluster.broker(broker)["pid"]
            for broker in ALL
        ))  # fmt: skip
        assert [disk.figure("failed") for disk in made.disks] == [1] * len(ALL)
        with open(f"{made.cluster.data}.log", encoding="utf-8") as said:
            assert said.read().count(STORAGE_FAILED) >= len(ALL)
        filler.send_until("every replica is in sync", made.cluster.healthy)
        filler.send_more(300)
        made.power_cycle(ALL)
        filler.send_more(300)
        filler.finish()
        made.cluster.wait_healthy()
        judged(made.cluster, filler.story)
        for broker in ALL:
            assert RENEWED not in made.cluster.log_of(broker), f"the log of broker {broker} was not whole"


def fill(disk, megabytes_left):
    """Leaves so much room, beside what a broker keeps free."""
    disk.ask("size", disk.figure("taken") + (RESERVE_MB + megabytes_left) * MEGABYTE)


def has_failure(made, broker):
    return made.cluster.broker(broker).get("failure")


def test_full_and_freed_again():
    """One disk is full, then nearly all are; the power goes while they are; with room again everything goes on by itself."""
    with rig() as made:
        make_topic(made.cluster)
        filler = Filler(made.cluster.bootstrap)
        filler.send_more(100)
        leader = made.cluster.leader(TOPIC)
        fill(made.disks[leader], 4)
        filler.send_until("the broker says that its disk is full", lambda: has_failure(made, leader))
        filler.send_until("others lead", lambda: all(made.cluster.leader(TOPIC, p) != leader for p in range(PARTITIONS)))
        filler.send_more(300)
        for disk in made.disks:
            fill(disk, 1)
        # With two of them nothing more is committed, so the third may never come to its own end. A broker tries again
        # from time to time, and then does not say so.
        full = {}

        def two_are_full():
            full.update({broker: said for broker in ALL if (said := has_failure(made, broker))})
            return len(full) >= 2

        filler.send_until("two disks are full", two_are_full)
        assert "no room left" in str(full)
        made.power_cycle(ALL)
        for disk in made.disks:
            disk.ask("size", DISK_BYTES)
        filler.send_more(300)
        filler.send_until("every replica is in sync", made.cluster.healthy)
        filler.finish()
        judged(made.cluster, filler.story)


@pytest.mark.parametrize("slow", [[0], ALL])
def test_slow_flushes(slow):
    """Flushes that take long make writers wait; nothing fails, and nothing is lost when the power goes meanwhile."""
    story = Story()
    with rig() as made:
        make_topic(made.cluster)
        with writing(made.cluster, story) as load:
            load.go_on("the load runs")
            fault(story, "slow flushes")
            for broker in slow:
                made.disks[broker].ask("slow-flushes", SLOW_MS)
            time.sleep(2 * SLOW_MS / 1000)  # the fault's length, not a synchronisation
            made.cut_power(slow)
            for broker in slow:
                made.disks[broker].ask("slow-flushes", 0)
            made.power_up(slow)
            recovers(made, load)
            load.stop()
        judged(made.cluster, story)
