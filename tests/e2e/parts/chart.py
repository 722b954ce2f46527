"""The chart on a real cluster: its own test, and an install without rights beyond one namespace."""

from . import rig, truth
from .faults import fault
from .rig import Failed, Processes, kubectl, wait_until
from .scale import Audit
from .story import Story

NAMESPACED = ["rbac.scope=Namespace", f"watchNamespace={rig.NAMESPACE}"]


@fault()
def helm_test(result):
    """helm test: a broker, a topic, messages written and read, and nothing of it left."""
    told = rig.run("helm", "test", rig.RELEASE, "--namespace", rig.SYSTEM, "--timeout", "240s", "--logs", bound_s=300)
    if "Phase:          Succeeded" not in told or "verified" not in told:
        raise Failed(told)
    left = "replicationpolicies,topics,shards,statefulsets,persistentvolumeclaims"
    wait_until(
        "nothing of the test is left",
        lambda: not [line for line in kubectl("get", left, "-o", "name", namespace=rig.SYSTEM).split() if "test" in line],
    )


@fault(1000)
def namespaced(result):
    """helm upgrade to the rights of one namespace: all goes on, a failover too, and nothing is refused."""
    with Story(result) as story:
        rig.install(NAMESPACED)
        wait_until("an operator is active", rig.active_operator)
        if "yes" in kubectl("auth", "can-i", "list", "pods", "--as", f"system:serviceaccount:{rig.SYSTEM}:holdfast",
                            namespace="kube-system", check=False):  # fmt: skip
            raise Failed("the operator may list pods of another namespace")
        audit = Audit()
        truth.wait_for(story.policy, story.topic)
        _, pod = story.victim()
        story.struck(Processes.kill(Processes.of_pod(pod)))
        story.recovered()
        truth.wait_for(story.policy, story.topic)
        refused = audit.refused()
        rig.install()
        wait_until("an operator is active", rig.active_operator)
        if refused:
            raise Failed("; ".join(refused))
