"""The NetworkPolicy of a policy. This cluster's bridge enforces none, so the pods' own packet filters do it here."""

import socket
import time
from contextlib import contextmanager

from . import rig, truth
from .faults import KILLED_MS, fault
from .rig import Failed, Processes, get, run
from .story import Story

CHAIN = "NETWORK-POLICY"
# A packet that is dropped is not answered; on this machine one that is not, is answered at once.
CONNECT_S = 3


def selects(selector, labels):
    if set(selector) - {"matchLabels"}:
        raise Failed(f"this test does not know how to read the selector {selector}")
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def sources(rule, namespace, pods):
    """The addresses that a rule lets in; [None] for all."""
    if not rule.get("from"):
        return [None]
    found = []
    for peer in rule["from"]:
        everywhere = "namespaceSelector" in peer
        if peer.get("namespaceSelector") or set(peer) - {"namespaceSelector", "podSelector"}:
            raise Failed(f"this test does not know how to read the peer {peer}")
        for pod in pods:
            near = everywhere or pod["metadata"]["namespace"] == namespace
            if near and selects(peer.get("podSelector", {}), pod["metadata"].get("labels", {})):
                found.append(pod["status"]["podIP"])
    if not found:
        raise Failed(f"nobody is let in by {rule}")
    return found


def port_of(pod, named):
    """The number of a port that a rule names."""
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    found = [port["containerPort"] for port in ports if named in (port.get("name"), port["containerPort"])]
    if not found:
        raise Failed(f"pod {pod['metadata']['name']} has no port {named}")
    return found[0]


def within(pod, *words, check=True):
    """Runs a command in the network of a pod."""
    return run("nsenter", "-t", str(Processes.of_pod(pod)), "-n", *words, check=check)


def enforce(policy, pod, pods):
    """Lets new connections into a pod only where the NetworkPolicy does."""
    within(pod, "iptables", "-w", "-N", CHAIN)
    for rule in policy["spec"]["ingress"]:
        for source in sources(rule, policy["metadata"]["namespace"], pods):
            for port in rule["ports"]:
                to = ["-p", "tcp", "--dport", str(port_of(pod, port["port"]))]
                whence = ["-s", source] if source else []
                within(pod, "iptables", "-w", "-A", CHAIN, *whence, *to, "-j", "RETURN")
    within(pod, "iptables", "-w", "-A", CHAIN, "-j", "DROP")
    within(pod, "iptables", "-w", "-I", "INPUT", "!", "-i", "lo", "-p", "tcp", "--syn", "-j", CHAIN)


def release(pod):
    for words in (["-D", "INPUT", "!", "-i", "lo", "-p", "tcp", "--syn", "-j", CHAIN], ["-F", CHAIN], ["-X", CHAIN]):
        within(pod, "iptables", "-w", *words, check=False)


@contextmanager
def in_force(name):
    """The NetworkPolicy of that name, for the pods that it selects now."""
    policy = get("networkpolicy", name)
    everybody = [pod for pod in get("pods", "--all-namespaces") if pod["status"].get("podIP")]
    here = [pod for pod in everybody if pod["metadata"]["namespace"] == rig.NAMESPACE]
    pods = [pod for pod in here if selects(policy["spec"]["podSelector"], pod["metadata"].get("labels", {}))]
    if {pod["metadata"]["name"] for pod in pods} != {pod["metadata"]["name"] for pod in truth.brokers(name).values()}:
        raise Failed("the NetworkPolicy selects other pods than the brokers")
    try:
        for pod in pods:
            enforce(policy, pod, everybody)
        yield pods
    finally:
        for pod in pods:
            release(pod)


def lets_in(pod, port):
    """Whether somebody who is no pod of ours may connect."""
    try:
        socket.create_connection((pod["status"]["podIP"], port_of(pod, port)), CONNECT_S).close()
    except TimeoutError:
        return False
    return True


@fault(KILLED_MS)
def network_policy(result):
    """The NetworkPolicy in force: the internal port is out of strangers' reach, and nobody misses it."""
    with Story(result) as story:
        _, victim = story.victim()
        if not lets_in(victim, "peer"):
            raise Failed("the internal port can't be reached without the NetworkPolicy either: this shows nothing")
        with in_force(story.policy) as pods:
            for pod in pods:
                seen = {port: lets_in(pod, port) for port in ("kafka", "http", "peer")}
                if seen != {"kafka": True, "http": True, "peer": False}:
                    raise Failed(f"{pod['metadata']['name']} lets strangers in so: {seen}")
            # Every connection is made anew: of brokers to each other, of operators to brokers, of clients.
            story.struck(Processes.kill(Processes.of_pod(victim)))
            story.recovered()
            truth.wait_for(story.policy, story.topic)
            for each in pods:
                if each["metadata"]["name"] == victim["metadata"]["name"]:
                    continue
                Processes.kill(Processes.of_pod(each))
                story.load.go_on(f"without {each['metadata']['name']}")
                truth.wait_for(story.policy, story.topic)
            for operator in rig.operators():
                Processes.kill(Processes.of_pod(operator))
            rig.wait_until("an operator is active", rig.active_operator)
            began = time.time()
            truth.wait_for(story.policy, story.topic)
            result.notes.append(f"well again {time.time() - began:.0f} s after the operators were killed")
