"""The faults, each a function of its own. `tests/e2e/run NAME...` runs the named ones."""

import json
import time

from . import rig, truth
from .rig import Failed, Processes, cluster, get, kubectl, wait_until
from .story import Story

DETECTION_MS = 3000
KILLED_MS = 1000
SILENT_MS = DETECTION_MS + 1000
MOVED_MS = 500
# Until another operator has the Lease, and has heard brokers out.
TAKEOVER_MS = 4000
# Lines in an operator's log, whatever is not there.
LOGGED_PER_S = 20
ALL = {}


def fault(target_ms=None):
    """Registers a fault under its name, with dashes, and the pause that it may cost a client."""

    def register(function):
        ALL[function.__name__.replace("_", "-")] = (function, target_ms)
        return function

    return register


def apart_from_operator(pod):
    """Whether the active operator is on another node, so that it is one fault and not two."""
    return pod["spec"]["nodeName"] != rig.active_operator()["spec"]["nodeName"]


def with_operator(pod):
    return not apart_from_operator(pod)


@fault()
def nothing(result):
    """No fault at all for a while: what this machine alone makes a client wait."""
    with Story(result) as story:
        story.struck(time.time(), story.load.partitions)
        for _ in range(5):
            story.load.go_on("as always")
        story.recovered()


@fault(MOVED_MS)
def delete_pod(result):
    """kubectl delete pod: an orderly stop. Leadership moves first."""
    with Story(result) as story:
        _, pod = story.victim()
        story.struck(time.time())
        kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
        story.recovered()
        truth.wait_for(story.policy, story.topic)


@fault(KILLED_MS)
def force_delete_pod(result):
    """The pod is taken away without a grace period."""
    with Story(result) as story:
        _, pod = story.victim()
        story.struck(time.time())
        kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false", "--force", "--grace-period=0")
        story.recovered()
        truth.wait_for(story.policy, story.topic)


@fault(KILLED_MS)
def kill_process(result):
    """kill -9 of the leader."""
    with Story(result) as story:
        _, pod = story.victim()
        story.struck(Processes.kill(Processes.of_pod(pod)))
        story.recovered()
        truth.wait_for(story.policy, story.topic)


def strike_node(result, verb, undo, wanted=apart_from_operator):
    with Story(result) as story:
        _, pod = story.victim(wanted)
        node = rig.node_of(pod)
        result.notes.append(f"node {node}" + (", with the operator" if with_operator(pod) else ""))
        at = time.time()
        cluster(verb, node)
        try:
            story.struck(at)
            story.recovered()
        finally:
            cluster(undo, node)
        truth.wait_for(story.policy, story.topic)


@fault(SILENT_MS)
def cut_node(result):
    """The leader's node loses its network, and has it back."""
    strike_node(result, "cut", "heal")


@fault(SILENT_MS)
def freeze_node(result):
    """Everything on the leader's node stops, and goes on as if nothing had been."""
    strike_node(result, "freeze", "thaw")


@fault(SILENT_MS)
def crash_node(result):
    """The leader's node dies without a word, and is started anew."""
    strike_node(result, "crash", "restart")


@fault(TAKEOVER_MS + 1000)
def cut_operator_and_leader(result):
    """The leader's node is cut off, and the active operator was on it: first another one must take over."""
    strike_node(result, "cut", "heal", with_operator)


@fault(MOVED_MS)
def kill_operator(result):
    """kill -9 of the active operator: clients see nothing, and another one takes over."""
    with Story(result) as story:
        before = rig.active_operator()
        held = rig.lease()["spec"].get("leaseTransitions", 0)
        story.struck(Processes.kill(Processes.of_pod(before)), story.load.partitions)
        began = time.time()
        wait_until(
            "an operator holds the lease again",
            lambda: rig.lease()["spec"].get("leaseTransitions", 0) > held or restarted(before),
        )
        result.notes.append(f"an operator was active again after {time.time() - began:.1f} s")
        story.recovered()
        truth.wait_for(story.policy, story.topic)


def restarted(before):
    """Whether the container of a pod was started anew since it was looked at."""
    now = rig.pod(before["metadata"]["name"], rig.SYSTEM)
    counts = [each["status"]["containerStatuses"][0]["restartCount"] for each in (before, now)]
    return counts[1] > counts[0] and now["status"]["containerStatuses"][0]["ready"]


@fault(TAKEOVER_MS + KILLED_MS)
def kill_operator_and_leader(result):
    """kill -9 of both at once: the next operator elects."""
    with Story(result) as story:
        _, pod = story.victim()
        both = [Processes.of_pod(rig.active_operator()), Processes.of_pod(pod)]
        story.struck(min(Processes.kill(pid) for pid in both))
        story.recovered()
        truth.wait_for(story.policy, story.topic)


@fault(MOVED_MS)
def stop_api(result):
    """A minute without an API server: clients see nothing."""
    with Story(result) as story:
        at = time.time()
        cluster("stop-api")
        story.struck(at, story.load.partitions)
        try:
            while time.time() < at + 60:
                story.load.go_on("without an API server")
        finally:
            cluster("start-api")
        story.recovered()
        truth.wait_for(story.policy, story.topic)
        result.notes.append(f"at most {most_lines(at)} lines in an operator's log")


def most_lines(since):
    """The most that an operator has logged since then, in lines: who retries without a pause tells so here."""
    seconds = int(time.time() - since) + 1
    logs = [
        kubectl("logs", each["metadata"]["name"], f"--since={seconds}s", namespace=rig.SYSTEM)
        for each in rig.operators()
    ]
    most = max(log.count("\n") for log in logs)
    if most > LOGGED_PER_S * seconds:
        raise Failed(f"an operator logged {most} lines in {seconds} s")
    return most


def pods(policy):
    """Which pod each broker has."""
    return {broker: pod["metadata"]["uid"] for broker, pod in truth.brokers(policy).items()}


def change_policy(policy, spec):
    kubectl("patch", "replicationpolicy", policy, "--type=merge", "-p", json.dumps({"spec": spec}))


def change_resources(policy):
    """Makes every pod outdated."""
    spec = get("replicationpolicy", policy)["spec"]
    asked = "20m" if "10m" in str(spec.get("resources")) else "10m"
    change_policy(policy, {"resources": {"requests": {"cpu": asked}}})


def wait_rolled(policy, before):
    def rolled():
        now = pods(policy)
        return now.keys() == before.keys() and all(now[broker] != before[broker] for broker in before)

    wait_until("all pods are new", rolled, 300)


@fault(MOVED_MS)
def roll(result):
    """Every broker is started anew, one by one, because its resources change."""
    with Story(result) as story:
        before = pods(story.policy)
        story.struck(time.time(), story.load.partitions)
        began = time.time()
        change_resources(story.policy)
        wait_rolled(story.policy, before)
        truth.wait_for(story.policy, story.topic)
        result.notes.append(f"three brokers in {time.time() - began:.0f} s")
        story.recovered()


@fault(KILLED_MS)
def paused(result):
    """A paused policy: what is changed waits, a killed leader does not."""

    def is_paused():
        found = get("replicationpolicy", "orders")
        told = rig.condition(found, "Reconciling")
        seen = told and told.get("observedGeneration") == found["metadata"]["generation"]
        return seen and told["reason"] == "Paused"

    with Story(result) as story:
        before = pods(story.policy)
        change_policy(story.policy, {"paused": True})
        try:
            change_resources(story.policy)
            wait_until("the policy says that it is paused", is_paused)
            _, pod = story.victim()
            story.struck(Processes.kill(Processes.of_pod(pod)))
            story.recovered()
            truth.wait_for(story.policy, story.topic)
            if pods(story.policy) != before:
                raise Failed(f"pods were replaced: {before} became {pods(story.policy)}")
        finally:
            change_policy(story.policy, {"paused": False})
        wait_rolled(story.policy, before)
        truth.wait_for(story.policy, story.topic)


@fault(MOVED_MS)
def operator_away(result):
    """No operator for a while: brokers that have their ISR go on."""
    name = get("deployments", namespace=rig.SYSTEM)[0]["metadata"]["name"]
    with Story(result) as story:
        story.struck(time.time(), story.load.partitions)
        kubectl("scale", f"deployment/{name}", "--replicas=0", namespace=rig.SYSTEM)
        try:
            wait_until("no operator runs", lambda: not get("pods", namespace=rig.SYSTEM))
            story.load.go_on("without an operator")
        finally:
            kubectl("scale", f"deployment/{name}", "--replicas=2", namespace=rig.SYSTEM)
        kubectl("rollout", "status", f"deployment/{name}", f"--timeout={rig.BOUND_S}s", namespace=rig.SYSTEM)
        story.recovered()
        truth.wait_for(story.policy, story.topic)


@fault()
def delete_objects(result):
    """Services and StatefulSet are deleted by hand: they come back, and the data is there."""
    with Story(result) as story:
        selector = f"holdfast.dev/policy={story.policy}"
        kinds = "services,statefulsets"
        before = {(each["kind"], each["metadata"]["name"]): each["metadata"]["uid"] for each in get(kinds, "-l", selector)}
        if len(before) < 3:
            raise Failed(f"there are only {sorted(before)}")
        story.struck(time.time(), story.load.partitions)
        kubectl("delete", kinds, "-l", selector, "--wait=false")

        def back():
            now = {(each["kind"], each["metadata"]["name"]): each["metadata"]["uid"] for each in get(kinds, "-l", selector)}
            return now.keys() == before.keys() and all(now[each] != before[each] for each in before)

        wait_until("the Services and the StatefulSet are back", back)
        story.recovered()
        truth.wait_for(story.policy, story.topic)
