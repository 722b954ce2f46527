"""Power cuts, under real brokers that flush what they promise and a stock client that writes throughout."""

import os
import subprocess

import own
import pytest
from conftest import wait_until
from faults import PARTITIONS, Story
from harness import history
from rig import rig
from story import TOPIC, fault, judged, make_topic, read_to_the_end, recovers, shard_of, writing

SHIM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "shim", "skip_flush.c")
# Of what was not flushed: nothing is left, or any part of it, torn and in any order.
SEEDS = [int(seed) for seed in os.environ.get("LYING_DISK_SEEDS", "1").split()]
if len(SEEDS) > 1:
    SEEDS.append(None)
ALL = list(range(own.BROKERS))
CUTS = 4
# The file that says who has the volume is never flushed: it means nothing to the next boot.
LOCK_BYTES = 4096
RENEWED = "unflushed entries may be lost: the machine stopped"


@pytest.mark.parametrize("seed", SEEDS)
def test_sync_loses_nothing(seed):
    """Of one broker, of two at once, of all three at once: everything acknowledged is there."""
    story = Story()
    with rig() as made:
        make_topic(made.cluster)
        with writing(made.cluster, story) as load:
            for count in (1, 2, 3):
                load.go_on("the load runs")
                # The leader of the first partition is among them.
                leader = made.cluster.leader(TOPIC)
                victims = sorted(ALL, key=lambda broker: (broker - leader) % own.BROKERS)[:count]
                fault(story, f"power cut of {count}")
                made.power_cycle(victims, seed)
                recovers(made, load)
            load.stop()
        verdict = judged(made.cluster, story)
    assert verdict.acked == story.settled


@pytest.mark.parametrize("seed", SEEDS)
def test_the_power_goes_again_and_again(seed):
    """Of all, and again while they recover from it, wherever they are in that: nothing is lost by halves of a recovery."""
    story = Story()
    with rig() as made:
        make_topic(made.cluster)
        with writing(made.cluster, story) as load:
            load.go_on("the load runs")
            fault(story, "power cuts")
            for again in range(CUTS):
                made.power_cycle(ALL, None if seed is None else seed + again * own.BROKERS)
                wait_until("they are started", lambda: load.alive() and all(made.cluster.pid(broker) for broker in ALL))
            recovers(made, load)
            load.stop()
        judged(made.cluster, story)


@pytest.mark.parametrize("flushes", [True, False])
def test_a_broker_that_skips_its_flushes_is_seen(flushes, tmp_path):
    """That the tests above can fail: brokers that acknowledge what they did not flush lose it, and the judge says so.

    The operator says so first: it remembers what was committed, and has nobody lead who lacks it but by an unclean
    election.
    """
    shim, flag = tmp_path / "skip_flush.so", tmp_path / "skip"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", shim, SHIM, "-ldl"], check=True)
    story = Story()
    shimmed = {"LD_PRELOAD": str(shim), "SKIP_FLUSH": str(flag)}
    lenient = own.policy(failover={"uncleanElection": "AllReported"})
    with rig(lenient, binary=os.environ["HOLDFAST_ABLATION"], environment=shimmed) as made:
        make_topic(made.cluster)
        with writing(made.cluster, story) as load:
            load.go_on("the load runs")
            if not flushes:
                flag.touch()
            load.go_on("the load goes on")
            load.stop()
        made.power_cycle(ALL)
        flag.unlink(missing_ok=True)
        wait_until("every replica is in sync", made.cluster.healthy)
        # A producer that was there would know what is missing, and refuse to go on.
        with writing(made.cluster, story, load.next) as load:
            load.go_on("the load runs again")
            load.stop()
        reads = read_to_the_end(made.cluster)
    assert story.failed == [], story.failed[0]
    verdict = history.judge(story.events + reads)
    if flushes:
        assert not verdict.problems, str(verdict)
    else:
        assert "lost" in verdict.kinds, f"a loss was provoked, and the judge does not see it: {verdict}"


def test_async_survives_what_leaves_one():
    """Nothing at all is flushed when the power of one goes, and of two at once: what is left has everything."""
    story = Story()
    with rig(own.policy(flush={"mode": "Async", "interval": "1m"})) as made:
        make_topic(made.cluster)
        with writing(made.cluster, story) as load:
            for count in (1, 2):
                load.go_on("the load runs")
                leader = made.cluster.leader(TOPIC)
                victims = sorted(ALL, key=lambda broker: (broker - leader) % own.BROKERS)[:count]
                fault(story, f"power cut of {count}")
                lost = made.power_cycle(victims)
                assert all(each["bytes"] > LOCK_BYTES for each in lost.values()), f"nothing was unflushed: {lost}"
                recovers(made, load)
                for broker in victims:
                    assert RENEWED in made.cluster.log_of(broker), f"broker {broker} took its log for whole"
            load.stop()
        judged(made.cluster, story)


def heard_of_all(made, shards):
    """Whether the operator knows up to where each of these shards is committed: it hears it with heartbeats."""
    return all(
        made.cluster.shard(shard)["committed"]
        == made.counted(made.cluster.shard(shard)["leader"], "holdfast_shard_end_position", shard=shard)
        for shard in shards
    )


def test_async_tells_what_it_may_have_lost():
    """Of all three at once: what was flushed is kept, and what was not is told, with its range.

    The disks ignore flushes from some moment on, which is to a broker as a long interval between two.
    """
    story = Story()
    with rig(own.policy(flush={"mode": "Async", "interval": "50ms"})) as made:
        make_topic(made.cluster)
        shards = {shard_of(made.cluster, partition) for partition in range(PARTITIONS)}
        with writing(made.cluster, story) as load:
            load.go_on("the load runs")
            load.stop()
        wait_until("all is flushed", lambda: all(disk.figure("unflushed") <= LOCK_BYTES for disk in made.disks))
        wait_until("the operator has heard of all of it", lambda: heard_of_all(made, shards))
        promised = {(e["key"], e["seq"]) for e in story.events if e["event"] == "acked"}
        committed = {shard: made.cluster.shard(shard)["committed"] for shard in shards}
        for disk in made.disks:
            disk.ask("ignore-flushes", "on")
        with writing(made.cluster, story, load.next) as load:
            load.go_on("the load runs again")
            load.stop()
        # What it never heard of it can't tell.
        wait_until("the operator has heard of the rest", lambda: heard_of_all(made, shards))
        heard = {shard: made.cluster.shard(shard)["committed"] for shard in shards}
        made.power_cycle(ALL)
        for disk in made.disks:
            disk.ask("ignore-flushes", "off")
        wait_until("every replica is in sync", made.cluster.healthy)
        with writing(made.cluster, story, load.next) as load:
            load.go_on("the load runs once more")
            load.stop()
        reads = read_to_the_end(made.cluster)
        assert story.failed == [], story.failed[0]
        verdict = history.judge(story.events + reads)
        assert "lost" in verdict.kinds, f"a loss was provoked, and the judge does not see it: {verdict}"
        there = {(read["key"], read["seq"]) for read in reads}
        assert promised <= there, f"{len(promised - there)} messages were flushed, and are lost"
        for shard in shards:
            told = made.cluster.shard(shard)["possibleLoss"]
            assert told["from"] >= committed[shard], f"shard {shard}: flushed positions are told as lost: {told}"
            assert told["from"] < heard[shard] <= told["to"], f"shard {shard}: {told} of {heard[shard]}"
        for partition in range(PARTITIONS):
            told = made.cluster.partition(TOPIC, partition)
            assert told["possibleLoss"] == made.cluster.shard(told["shard"])["possibleLoss"]
        with open(f"{made.cluster.data}.log", encoding="utf-8") as said:
            assert said.read().count("possible loss: broker") >= len(shards)
