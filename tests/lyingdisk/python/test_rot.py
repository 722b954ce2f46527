"""A bit flips on one replica: a scrub finds it while all is well elsewhere, and the replica is built anew from the leader."""

import os

import own
import pytest
from conftest import wait_until
from faults import Story
from rig import rig
from story import TOPIC, judged, make_topic, shard_of, writing

ALL = list(range(own.BROKERS))
# How often brokers begin to read everything, s.
SCRUB_EVERY = {"HOLDFAST_SCRUB_EVERY": "1"}
REPAIRED = "setting the rotten log aside"
HEAD_BYTES = 64


def flip_in_log(made, broker, shard):
    """A bit of the first entries of the shard's oldest segment, which consumers have read and nobody will write again."""
    folder = os.path.join(made.cluster.data_of(broker), "shards", str(shard))
    segment = min(name for name in os.listdir(folder) if name.endswith(".log"))
    made.disks[broker].ask("rot", f"/shards/{shard}/{segment}", HEAD_BYTES + 100, 3)


@pytest.mark.parametrize("leads", [False, True])
def test_a_scrub_finds_and_repairs(leads):
    """On a follower, and on the leader, which has another elected first. Nobody reads anything wrong meanwhile."""
    story = Story()
    with rig(environment=SCRUB_EVERY) as made:
        make_topic(made.cluster)
        shard = shard_of(made.cluster, 0)
        with writing(made.cluster, story) as load:
            load.go_on("the load runs")
            leader = made.cluster.leader(TOPIC)
            victim = leader if leads else next(broker for broker in ALL if broker != leader)
            flip_in_log(made, victim, shard)
            wait_until("the rot is found", lambda: load.alive() and made.counted(victim, "holdfast_rot_found_total") == 1)
            wait_until("it is repaired", lambda: load.alive() and made.counted(victim, "holdfast_rot_repaired_total") == 1)
            assert REPAIRED in made.cluster.log_of(victim)
            load.go_on("the load goes on")
            wait_until("every replica is in sync", lambda: load.alive() and made.cluster.healthy())
            load.stop()
        judged(made.cluster, story)
        others = [broker for broker in ALL if broker != victim]
        assert [made.counted(broker, "holdfast_rot_found_total") for broker in others] == [0, 0]
        passes = made.counted(victim, "holdfast_scrub_passes_total")
        wait_until("all is read again", lambda: made.counted(victim, "holdfast_scrub_passes_total") >= passes + 2)
        assert made.counted(victim, "holdfast_rot_found_total") == 1


def test_small_files_are_written_again():
    """What memory has is written again: the log's meta and its checkpoint. No replica has to be built anew for it."""
    story = Story()
    with rig(environment=SCRUB_EVERY) as made:
        make_topic(made.cluster)
        with writing(made.cluster, story) as load:
            load.go_on("the load runs")
            load.stop()
        # A start in order after a stop in order leaves a checkpoint.
        os.kill(made.cluster.pid(0), 15)
        wait_until("the broker came back", lambda: made.cluster.broker(0)["restarts"] > 0 and made.cluster.healthy())
        shard = shard_of(made.cluster, 0)
        for count, name in enumerate(("meta", "checkpoint"), 1):
            made.disks[0].ask("rot", f"/shards/{shard}/{name}", 30, 2)
            wait_until("it is found", lambda count=count: made.counted(0, "holdfast_rot_found_total") == count)
            wait_until("it is whole", lambda count=count: made.counted(0, "holdfast_rot_repaired_total") == count)
        made.power_cycle(ALL)
        wait_until("every replica is in sync", made.cluster.healthy)
        judged(made.cluster, story)
        assert REPAIRED not in made.cluster.log_of(0)
        assert "this replica is not the one it was" not in made.cluster.log_of(0)


