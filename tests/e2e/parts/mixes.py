"""Faults in random order, one load throughout; the seed is printed and can be given."""

import os
import random
import time

from . import rig, truth
from .faults import fault
from .story import Story

ROUNDS = 5
NODES = 3


def kill_broker(chance, story):
    broker, pod = chance.choice(sorted(truth.brokers(story.policy).items(), key=lambda each: each[0]))
    rig.Processes.kill(rig.Processes.of_pod(pod))
    return f"kill broker {broker}"


def delete_broker(chance, story):
    broker, pod = chance.choice(sorted(truth.brokers(story.policy).items(), key=lambda each: each[0]))
    rig.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
    return f"delete broker {broker}"


def kill_operator(chance, story):
    rig.Processes.kill(rig.Processes.of_pod(rig.active_operator()))
    return "kill the operator"


def node(verb, undo):
    def strike(chance, story):
        number, pause_s = chance.randint(1, NODES), chance.uniform(0.5, 8)
        rig.cluster(verb, number)
        try:
            time.sleep(pause_s)  # how long the fault lasts is part of it
        finally:
            rig.cluster(undo, number)
        return f"{verb} node {number} for {pause_s:.1f} s"

    return strike


STRIKES = [kill_broker, delete_broker, kill_operator, node("cut", "heal"), node("freeze", "thaw")]


@fault()
def mix(result):
    """Five faults in random order, the next as soon as the cluster is well again."""
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(2**32)))
    result.notes.append(f"SEED={seed}")
    chance = random.Random(seed)
    with Story(result) as story:
        for _ in range(ROUNDS):
            result.notes.append(chance.choice(STRIKES)(chance, story))
            story.recovered()
            truth.wait_for(story.policy, story.topic)
