"""The cluster under test: the commands of tests/cluster, kubectl and helm, and who is where."""

import json
import os
import re
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
COMMAND = os.path.join(ROOT, "tests", "cluster", "cluster")
BOUND_S = 180
SYSTEM = "holdfast-system"  # where the operator is
NAMESPACE = "default"  # where policies and topics are
RELEASE = "holdfast"
IMAGE = "docker.io/library/holdfast"
RESOURCES = "replicationpolicies,topics,shards,statefulsets,services,poddisruptionbudgets,persistentvolumeclaims"


class Failed(Exception):
    """A promise that was not kept, in words."""


def run(*command, check=True, text=None, bound_s=BOUND_S):
    """Runs a command and returns what it printed."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=bound_s, check=False)
    except subprocess.TimeoutExpired as problem:
        raise Failed(f"{' '.join(command)}: no end after {bound_s} s; it said: {problem.stdout or b''}") from None
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stdout}{done.stderr}".strip())
    return done.stdout


def wait_until(what, condition, bound_s=BOUND_S, pause_s=0.1):
    """Polls until `condition()` is true, and returns its value."""
    deadline = time.monotonic() + bound_s
    problem = ""
    while time.monotonic() < deadline:
        try:
            found = condition()
            if found:
                return found
        except (Failed, LookupError, OSError) as error:
            problem = f": {error}"
        time.sleep(pause_s)
    raise Failed(f"waited {bound_s} s in vain until {what}{problem}")


def cluster(*words, bound_s=BOUND_S):
    return run(COMMAND, *map(str, words), bound_s=bound_s)


def use_environment():
    """Puts the rig's kubectl and helm on the path, and its KUBECONFIG into the environment."""
    found = re.match(r"export KUBECONFIG=(\S+) PATH=([^:]+):", cluster("env"))
    os.environ["KUBECONFIG"] = found[1]
    os.environ["PATH"] = f"{found[2]}:{os.environ['PATH']}"


def kubectl(*words, text=None, check=True, bound_s=BOUND_S, namespace=NAMESPACE):
    return run("kubectl", "-n", namespace, *words, text=text, check=check, bound_s=bound_s)


def get(*words, namespace=NAMESPACE):
    """An object, or the items of a list."""
    found = json.loads(kubectl("get", *words, "-o", "json", namespace=namespace))
    return found["items"] if found.get("kind", "").endswith("List") else found


def apply(text):
    kubectl("apply", "-f", "-", text=text)


def condition(found, kind):
    for each in found.get("status", {}).get("conditions", []):
        if each["type"] == kind:
            return each
    return None


def is_ready(found):
    """Ready, of the present generation."""
    ready = condition(found, "Ready")
    current = found["metadata"].get("generation")
    return bool(ready) and ready["status"] == "True" and ready.get("observedGeneration") == current


def wait_ready(*names, bound_s=BOUND_S):
    """As a person would: kubectl wait."""
    kubectl("wait", "--for=condition=Ready", *names, f"--timeout={bound_s}s", bound_s=bound_s + 30)


class Processes:
    """The processes of pods, by the control groups that kubelets made for them."""

    @staticmethod
    def of_pod(pod):
        """The process of a pod's only container."""
        uid = pod["metadata"]["uid"]
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/cgroup", encoding="utf-8") as file:
                    if f"pod{uid}" not in file.read():
                        continue
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if file.read().startswith(b"/holdfast\0"):
                        return int(entry)
            except (FileNotFoundError, ProcessLookupError):
                continue
        raise LookupError(f"pod {pod['metadata']['name']} has no process")

    @staticmethod
    def kill(pid):
        at = time.time()
        os.kill(pid, signal.SIGKILL)
        return at

    @staticmethod
    def resident_bytes(pid):
        with open(f"/proc/{pid}/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def pod(name, namespace=NAMESPACE):
    return get("pod", name, namespace=namespace)


def node_of(found):
    """The number of the node that a pod is on."""
    return int(found["spec"]["nodeName"].removeprefix("node"))


def operators():
    return [
        each
        for each in get("pods", "-l", "app.kubernetes.io/component=operator", namespace=SYSTEM)
        if "deletionTimestamp" not in each["metadata"]
    ]


def lease():
    """The operator's Lease, whatever its name."""
    leases = get("leases", namespace=SYSTEM)
    if not leases:
        raise LookupError("no operator holds the lease")
    return leases[0]


def active_operator():
    """The pod of the operator that holds the Lease."""
    holder = lease()["spec"].get("holderIdentity") or ""
    for each in operators():
        if holder.startswith(each["metadata"]["name"]):
            return each
    raise LookupError(f"the lease is held by {holder or 'nobody'}")


def restrict():
    """Has the API server refuse every pod that asks for more than a restricted one may."""
    if not kubectl("get", "namespace", SYSTEM, "--ignore-not-found"):
        kubectl("create", "namespace", SYSTEM)
    for name in (SYSTEM, NAMESPACE):
        kubectl("label", "--overwrite", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")


def install(values=()):
    words = [word for value in values for word in ("--set", value)]
    run(
        "helm", "upgrade", "--install", RELEASE, os.path.join(ROOT, "charts", "holdfast"),
        "--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", f"{BOUND_S}s",
        "--set", f"image.repository={IMAGE},image.tag=dev,image.pullPolicy=Never", *words,
        bound_s=BOUND_S + 30,
    )  # fmt: skip
