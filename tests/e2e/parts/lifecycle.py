"""What becomes of data when a Topic or a policy is deleted and made again."""

from . import rig, truth
from .faults import fault
from .rig import Failed, get, kubectl, wait_until
from .story import Result, Story

POLICY = "kept"
TOPIC = "kept"
PARTITIONS = 3


def policy(reclaim):
    return f"""
apiVersion: holdfast.dev/v1alpha1
kind: ReplicationPolicy
metadata: {{name: {POLICY}}}
spec:
  brokers: 3
  shards: 2
  storage: {{size: 1Gi, reclaim: {reclaim}}}
"""


def topic(deletion):
    return f"""
apiVersion: holdfast.dev/v1alpha1
kind: Topic
metadata: {{name: {TOPIC}}}
spec: {{policy: {POLICY}, partitions: {PARTITIONS}, deletionPolicy: {deletion}}}
"""


def make(*documents):
    rig.apply("---".join(documents))
    rig.wait_ready(f"replicationpolicy/{POLICY}", f"topic/{TOPIC}")


def write(result):
    """Writes and reads some, and tells how many messages are in the topic then."""
    with Story(Result(result.fault), POLICY, TOPIC, PARTITIONS) as story:
        story.recovered()
    return messages()


def messages():
    """The messages in the topic, as its leaders say, once status says the same (at most every 15 s)."""
    count = wait_until("leaders tell offsets", lambda: [truth.messages(POLICY, TOPIC)])[0]

    def told():
        partitions = get("topic", TOPIC).get("status", {}).get("partitions", [])
        known = [each["endOffset"] - each["startOffset"] for each in partitions if "endOffset" in each]
        return len(known) == PARTITIONS and sum(known) == count

    wait_until(f"status tells of {count} messages", told)
    return count


def delete(what, bound_s=rig.BOUND_S):
    kubectl("delete", what, f"--timeout={bound_s}s", bound_s=bound_s + 30)


def clear():
    """Away with all of it, whatever was left."""
    for what in (f"topic/{TOPIC}", f"replicationpolicy/{POLICY}"):
        kubectl("delete", what, "--ignore-not-found", f"--timeout={rig.BOUND_S}s", bound_s=rig.BOUND_S + 30)
    # Volumes and records together: the one without the other would be taken for a loss.
    kubectl("delete", "shards,persistentvolumeclaims", "-l", f"holdfast.dev/policy={POLICY}", "--ignore-not-found")


def expect(result, what, found, wanted):
    if found != wanted:
        raise Failed(f"{what}: {found} messages, expected {wanted}")
    result.notes.append(f"{what}: {found} messages")


@fault()
def topic_retain(result):
    """A Topic that is deleted with Retain, and made again, has its messages."""
    try:
        make(policy("Delete"), topic("Retain"))
        written = write(result)
        delete(f"topic/{TOPIC}")
        make(topic("Retain"))
        expect(result, "made again", messages(), written)
        write(result)
    finally:
        clear()


@fault()
def topic_delete(result):
    """A Topic that is deleted with Delete, and made again, is empty."""
    try:
        make(policy("Delete"), topic("Delete"))
        write(result)
        delete(f"topic/{TOPIC}")
        make(topic("Delete"))
        expect(result, "made again", messages(), 0)
        write(result)
    finally:
        clear()


@fault()
def policy_retain(result):
    """A policy that is deleted with Retain, and made again, has its topics' messages. It waits for its Topics first."""
    try:
        make(policy("Retain"), topic("Retain"))
        written = write(result)
        kubectl("delete", f"replicationpolicy/{POLICY}", "--wait=false")
        wait_until("the policy says what its deletion waits for", waits_for_topic)
        delete(f"topic/{TOPIC}")
        wait_until("the policy is gone", lambda: not kubectl("get", "replicationpolicy", POLICY, "--ignore-not-found"))
        wait_until("its pods are gone", lambda: not get("pods", "-l", f"holdfast.dev/policy={POLICY}"))
        make(policy("Retain"), topic("Retain"))
        expect(result, "made again", messages(), written)
        write(result)
    finally:
        clear()


def waits_for_topic():
    found = get("replicationpolicy", POLICY)
    told = [each["message"] for each in found["status"]["conditions"]]
    return any(TOPIC in message and "opic" in message for message in told)


@fault()
def policy_delete(result):
    """A policy that is deleted with Delete takes its volumes along."""
    try:
        make(policy("Delete"), topic("Delete"))
        write(result)
        delete(f"topic/{TOPIC}")
        delete(f"replicationpolicy/{POLICY}")
        wait_until("the volumes are gone", lambda: not get("pvc", "-l", f"holdfast.dev/policy={POLICY}"))
        make(policy("Delete"), topic("Delete"))
        expect(result, "made again", messages(), 0)
        write(result)
    finally:
        clear()

