"""Brokers more and brokers fewer, under load: replicas move, and nobody goes who holds one."""

import time

from . import rig, truth
from .faults import KILLED_MS, fault
from .rig import Failed, Processes, get, kubectl, wait_until
from .story import Story

POLICY = "orders"
BROKERS = 3
REPLICAS = 3
MOVED_WITHIN_S = 600


def scale(brokers):
    """As a person would: the scale subresource."""
    kubectl("scale", "replicationpolicy", POLICY, f"--replicas={brokers}")


def shards():
    return [each["spec"] for each in get("shards") if each["spec"]["policy"] == POLICY]


def named():
    """How many brokers, from 0 on, the records name."""
    return max(broker for shard in shards() for broker in shard["replicas"]) + 1


def spread(counts, brokers):
    counts = [counts.count(broker) for broker in range(brokers)]
    return max(counts) - min(counts)


def is_balanced(brokers):
    """Every replica where it is wanted, evenly, and the policy says so."""
    records = shards()
    held = [broker for shard in records for broker in shard["replicas"]]
    placed = all(
        len(shard["replicas"]) == REPLICAS and sorted(m["broker"] for m in shard["isr"]) == sorted(shard["replicas"])
        for shard in records
    )
    first = [shard["replicas"][0] for shard in records]
    policy = get("replicationpolicy", POLICY)
    told = rig.condition(policy, "Balanced")
    return (
        placed
        and max(held) < brokers
        and spread(held, brokers) <= 1
        and spread(first, brokers) <= 1
        and told["status"] == "True"
        and told["observedGeneration"] == policy["metadata"]["generation"]
    )


def moved_to(brokers, story):
    """Waits until the replicas are on so many brokers, and that so many run; no broker went too early."""

    def there():
        # Records may come to name a new broker, or name an old one no more, at this very moment.
        before, runs, after = named(), len(truth.brokers(POLICY)), named()
        if runs < min(before, after):
            early.append(f"{min(before, after)} brokers hold replicas, and {runs} run")
        return early or (is_balanced(brokers) and runs == brokers)

    early, began = [], time.time()
    wait_until(f"replicas are on {brokers} brokers", there, MOVED_WITHIN_S)
    if early:
        raise Failed(early[0])
    story.load.go_on(f"with {brokers} brokers")
    truth.wait_for(story.policy, story.topic)
    return time.time() - began


def back():
    """Three brokers again, whatever was left."""
    scale(BROKERS)
    wait_until("three brokers again", lambda: is_balanced(BROKERS), MOVED_WITHIN_S)


@fault(KILLED_MS)
def scale_brokers(result):
    """kubectl scale from 3 brokers to 4 and back: replicas and leaders follow, nobody goes who holds one."""
    with Story(result) as story:
        try:
            story.struck(time.time(), story.load.partitions)
            scale(BROKERS + 1)
            result.notes.append(f"3 -> 4 in {moved_to(BROKERS + 1, story):.0f} s")
            if BROKERS not in truth.leaders(story.policy, story.topic).values():
                result.notes.append("the fourth leads no partition of the topic")
            scale(BROKERS)
            result.notes.append(f"4 -> 3 in {moved_to(BROKERS, story):.0f} s")
            story.recovered()
        finally:
            back()
    claims = get("persistentvolumeclaims", "-l", f"holdfast.dev/policy={POLICY}")
    if len(claims) != BROKERS + 1:
        raise Failed(f"there are {len(claims)} volumes, and that of the fourth broker was to be kept")


@fault(KILLED_MS)
def scale_while_source_dies(result):
    """The broker that replicas move off is killed in the midst of it; and there is a change of mind."""
    with Story(result) as story:
        try:
            scale(BROKERS + 1)
            moved_to(BROKERS + 1, story)
            scale(BROKERS)
            wait_until("replicas move", lambda: any(len(s["replicas"]) > REPLICAS for s in shards()), pause_s=0.02)
            pods = truth.brokers(POLICY)
            story.struck(Processes.kill(Processes.of_pod(pods[BROKERS])), story.load.partitions)
            result.notes.append(f"killed with {sum(BROKERS in shard['replicas'] for shard in shards())} replicas left")
            scale(BROKERS + 1)
            story.load.go_on("after the change of mind")
            scale(BROKERS)
            moved_to(BROKERS, story)
            story.recovered()
        finally:
            back()
