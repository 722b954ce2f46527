"""Settings that change under load, a bad one among them, and clients from outside of the cluster."""

import json

from . import rig, truth
from .faults import fault, pods
from .lifecycle import PARTITIONS, POLICY, TOPIC, clear, topic
from .rig import Failed, Processes, get, kubectl, wait_until
from .story import Story

EXTERNAL_PORT = 9094
NODE_PORT = 31000


def broker_image():
    """The operator's Deployment, and the image that it starts brokers from."""
    (deployment,) = get("deployments", namespace=rig.SYSTEM)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (image,) = [each["value"] for each in container["env"] if each["name"] == "HOLDFAST_IMAGE"]
    return f"deployment/{deployment['metadata']['name']}", image


def use_image(deployment, image):
    kubectl("set", "env", deployment, f"HOLDFAST_IMAGE={image}", namespace=rig.SYSTEM)
    kubectl("rollout", "status", deployment, f"--timeout={rig.BOUND_S}s", namespace=rig.SYSTEM)


@fault()
def bad_image(result):
    """An image that is nowhere: the roll stops at the first broker, says so, and a right one goes on from there."""
    deployment, image = broker_image()

    def stalled():
        found = rig.condition(get("replicationpolicy", "orders"), "Stalled")
        return found and found["status"] == "True" and found["reason"] == "BrokerDoesNotStart" and found["message"]

    with Story(result) as story:
        before = pods(story.policy)
        try:
            use_image(deployment, f"{image}-that-is-nowhere")
            result.notes.append(wait_until("the policy says that a broker does not start", stalled))
            story.load.go_on("while a broker does not start")
            now = pods(story.policy)
            same = [broker for broker, uid in before.items() if now.get(broker) == uid]
            if len(same) != len(before) - 1:
                raise Failed(f"the roll did not stop at the first broker: of {sorted(before)} there are {same} left")
        finally:
            use_image(deployment, image)
        story.recovered()
        truth.wait_for(story.policy, story.topic)


def outside(kind, more=""):
    """A policy with a listener for clients outside of the cluster, and a topic on it."""
    rig.apply(f"""
apiVersion: holdfast.dev/v1alpha1
kind: ReplicationPolicy
metadata: {{name: {POLICY}}}
spec:
  brokers: 3
  shards: 3
  storage: {{size: 1Gi, reclaim: Delete}}
  listeners: {{kafka: {{external: {{type: {kind}, port: {EXTERNAL_PORT}{more}}}}}}}
---{topic("Delete")}""")


def told_addresses():
    """Where the policy says that clients outside find each broker."""
    told = get("replicationpolicy", POLICY).get("status", {}).get("endpoints", {}).get("kafkaExternal", "")
    return told.split(",") if told.count(",") == 2 else None


def use_from_outside(result, strike):
    """A client that knows only these addresses writes and reads, and goes on through a fault."""
    addresses = wait_until("the policy tells the addresses for clients outside", told_addresses)
    result.notes.append(f"clients are told {', '.join(addresses)}")
    rig.wait_ready(f"replicationpolicy/{POLICY}", f"topic/{TOPIC}")

    def advertised():
        """What a broker tells who comes through the external listener."""
        found = truth.metadata.view(",".join(addresses))
        return sorted(f"{host}:{port}" for host, port in found.brokers.values()) == sorted(addresses)

    wait_until("brokers tell those who come from outside the same addresses", advertised)
    with Story(result, POLICY, TOPIC, PARTITIONS, bootstrap=",".join(addresses)) as story:
        strike(story)
        story.recovered()


@fault(1000)
def node_port(result):
    """Clients by the ports of nodes: each broker is told at its own, and a killed leader costs no message."""

    def kill_leader(story):
        _, pod = story.victim()
        story.struck(Processes.kill(Processes.of_pod(pod)))

    try:
        outside("NodePort", f", nodePort: {NODE_PORT}")
        use_from_outside(result, kill_leader)
    finally:
        clear()


@fault()
def load_balancer(result):
    """Clients by load balancers, one for each broker. There is no cloud here: the test says where they are."""

    def balance():
        """Does what a cloud would: gives each broker's Service an address. The pod's own will do."""
        pods = truth.brokers(POLICY)
        if len(pods) != 3:
            return False
        for pod in pods.values():
            status = {"loadBalancer": {"ingress": [{"ip": pod["status"]["podIP"]}]}}
            kubectl("patch", "service", pod["metadata"]["name"], "--subresource=status", "--type=merge",
                    "-p", json.dumps({"status": status}))  # fmt: skip
        return True

    try:
        outside("LoadBalancer")
        wait_until("each broker has a Service of its own and an address", balance)
        use_from_outside(result, lambda story: story.load.go_on("through load balancers"))
    finally:
        clear()
