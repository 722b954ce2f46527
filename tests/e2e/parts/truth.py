"""Whether status tells the truth: what kubectl shows, against what brokers tell any Kafka client."""

import os
import sys

from . import rig

sys.path.insert(0, os.path.join(rig.ROOT, "tests", "clients"))
from harness import metadata  # noqa: E402

KAFKA_PORT = 9092


def brokers(policy):
    """The running pods of a policy's brokers, by broker."""
    found = {}
    for pod in rig.get("pods", "-l", f"holdfast.dev/policy={policy}"):
        if pod["status"].get("podIP") and "deletionTimestamp" not in pod["metadata"]:
            found[int(pod["metadata"]["name"].rpartition("-")[2])] = pod
    return found


def view(policy, topics=None):
    """The cluster as a broker sees it. Addressed by the pods' IPs, so that no DNS is needed here."""
    addresses = [f"{pod['status']['podIP']}:{KAFKA_PORT}" for pod in brokers(policy).values()]
    if not addresses:
        raise LookupError(f"{policy} has no running broker")
    try:
        return metadata.view(",".join(addresses), topics)
    except metadata.Unavailable as problem:
        raise LookupError(str(problem)) from problem


def leaders(policy, topic):
    """partition -> broker that leads it, none missing."""
    found = {p.partition: p.leader for p in view(policy, [topic]).partitions.values() if p.topic == topic}
    missing = [partition for partition, leader in found.items() if leader < 0]
    if missing or not found:
        raise LookupError(f"{topic}: partitions {missing or 'all'} have no leader")
    return found


def messages(policy, topic):
    """How many messages the leaders of a topic's partitions say that there are."""
    pods = brokers(policy)

    def held(partition, leader):
        address = pods[leader]["status"]["podIP"], KAFKA_PORT
        try:
            latest, earliest = (
                metadata.offset(address, topic, partition, which) for which in (metadata.LATEST, metadata.EARLIEST)
            )
        except metadata.Unavailable as problem:
            raise LookupError(str(problem)) from problem
        return latest - earliest

    return sum(held(partition, leader) for partition, leader in leaders(policy, topic).items())


def differences(policy, topic):
    """What status says that is not so; empty when it tells the truth."""
    seen = view(policy, [topic])
    shown = rig.get("topic", topic)
    wrong = []
    if not rig.is_ready(shown):
        wrong.append(f"topic {topic} is not Ready: {rig.condition(shown, 'Ready')}")
    status = {each["partition"]: each for each in shown.get("status", {}).get("partitions", [])}
    for found in seen.partitions.values():
        told = status.get(found.partition)
        if told is None:
            wrong.append(f"partition {found.partition} is not in status")
        elif told.get("leader") != found.leader or sorted(told.get("isr", [])) != sorted(found.isr):
            wrong.append(
                f"partition {found.partition}: leader {found.leader} isr {sorted(found.isr)}, but status says"
                f" leader {told.get('leader')} isr {sorted(told.get('isr', []))}"
            )
    shown = rig.get("replicationpolicy", policy)
    if not rig.is_ready(shown):
        wrong.append(f"policy {policy} is not Ready: {rig.condition(shown, 'Ready')}")
    totals = shown.get("status", {}).get("shards", {})
    for name in ("leaderless", "underReplicated", "underMinInSyncReplicas"):
        if totals.get(name):
            wrong.append(f"policy {policy}: {totals[name]} shards {name}")
    wanted = shown["spec"]["brokers"]
    if shown.get("status", {}).get("brokers", {}).get("ready") != wanted:
        wrong.append(f"policy {policy}: brokers {shown.get('status', {}).get('brokers')} of {wanted}")
    wrong += [f"shard {name}: {what}" for name, what in untrue_shards(policy, seen)]
    return wrong


def untrue_shards(policy, seen):
    """Shards whose record has another leader than any partition is led by, or nobody."""
    led = {p.leader for p in seen.partitions.values()}
    for shard in rig.get("shards"):
        if shard["spec"].get("policy") != policy:
            continue
        leader = (shard["spec"].get("leader") or {}).get("broker")
        if leader is None:
            yield shard["metadata"]["name"], "has no leader"
        elif leader not in led and len(led) > 1 and leader not in seen.brokers:
            yield shard["metadata"]["name"], f"is led by {leader}, which clients don't know"


def wait_for(policy, topic, bound_s=rig.BOUND_S):
    """Waits until everything is well, and status says so, and it is true."""
    last = ["nothing was seen"]

    def true():
        last[:] = differences(policy, topic)
        return not last

    try:
        rig.wait_until("status tells that all is well", true, bound_s)
    except rig.Failed as problem:
        raise rig.Failed(f"{problem}; {'; '.join(last)}") from None
