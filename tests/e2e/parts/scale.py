"""Many Topics at once, and what an idle cluster costs."""

import json
import os
import re
import time
from collections import Counter

from . import rig, truth
from .faults import fault
from .rig import Failed, get, kubectl, wait_until

TOPICS = 200
READY_WITHIN_S = 60
IDLE_S = 60
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
# A Lease is renewed all the time; that is what it is for.
OF_IDLE = {"leases"}


class Audit:
    """What the operators' service account asked of the API server since this was made."""

    def __init__(self):
        state = os.path.dirname(os.environ["KUBECONFIG"])
        self.path = os.path.join(state, "log", "audit")
        self.from_byte = os.path.getsize(self.path) if os.path.exists(self.path) else 0

    def events(self):
        user = f"system:serviceaccount:{rig.SYSTEM}:"
        with open(self.path, encoding="utf-8") as file:
            file.seek(self.from_byte)
            for line in file:
                event = json.loads(line) if line.endswith("\n") else {}
                if event.get("user", {}).get("username", "").startswith(user):
                    yield event

    def calls(self):
        """(verb, resource) -> how often; a watch counts when it ends."""
        found = Counter()
        for event in self.events():
            what = event.get("objectRef", {})
            sub = what.get("subresource")
            found[event["verb"], what.get("resource", "") + (f"/{sub}" if sub else "")] += 1
        return found

    def writes(self):
        return {
            call: count for call, count in self.calls().items() if call[0] in WRITES and call[1] not in OF_IDLE
        }

    def refused(self):
        """What roles did not allow. A refusal that was followed by leave to do the same is none: an API server that
        starts refuses before it has read the roles, and so does one whose roles are just being replaced."""
        found = {}
        for event in self.events():
            what = (event["verb"], event.get("objectRef", {}).get("resource"))
            if event.get("responseStatus", {}).get("code") == 403:
                found[what] = event["responseStatus"].get("message", "")
            else:
                found.pop(what, None)
        return sorted(found.values())


def told(calls):
    return ", ".join(f"{verb} {what} {count}" for (verb, what), count in sorted(calls.items(), key=lambda c: -c[1]))


def operator_memory():
    pid = rig.Processes.of_pod(rig.active_operator())
    return rig.Processes.resident_bytes(pid) / 2**20


def many():
    form = (
        "apiVersion: holdfast.dev/v1alpha1\nkind: Topic\nmetadata: {{name: many-{0}, labels: {{e2e: many}}}}\n"
        "spec: {{policy: orders, partitions: 3, deletionPolicy: Delete}}\n"
    )
    return "---\n".join(form.format(n) for n in range(TOPICS))


@fault()
def scale_topics(result):
    """200 Topics in one apply are Ready in under a minute."""
    audit, began = Audit(), time.time()
    try:
        rig.apply(many())
        applied = time.time() - began

        def ready():
            found = get("topics", "-l", "e2e=many")
            return len(found) == TOPICS and all(map(rig.is_ready, found))

        wait_until("all Topics are Ready", ready, 300, 0.5)
        took = time.time() - began
        result.notes.append(f"{TOPICS} Topics Ready in {took:.0f} s (apply itself {applied:.0f} s)")
        result.notes.append(f"operator {operator_memory():.0f} MiB")
        result.notes.append(f"calls: {told(audit.calls())}")
        known = truth.view("orders").partitions
        missing = [n for n in range(TOPICS) if (f"many-{n}", 0) not in known]
        if missing:
            raise Failed(f"Ready, but clients don't know topics {missing[:5]}")
        if took > READY_WITHIN_S:
            raise Failed(f"{TOPICS} Topics took {took:.0f} s to become Ready")
    finally:
        kubectl("delete", "topics", "-l", "e2e=many", "--ignore-not-found", f"--timeout={rig.BOUND_S}s", bound_s=300)


def versions():
    return {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in get(rig.RESOURCES)}


def settle():
    """Waits until what was done before has been told: sizes and offsets, at most every 15 s, also after cleaning."""
    seen = [versions()]

    def unchanged():
        time.sleep(30)
        seen.append(versions())
        return seen[-1] == seen[-2]

    wait_until("nothing changes any more", unchanged)


@fault()
def idle(result):
    """A cluster that nothing happens to writes nothing."""
    truth.wait_for("orders", "orders")
    settle()
    audit, before = Audit(), versions()
    time.sleep(IDLE_S)
    now = get(rig.RESOURCES)
    changed = [
        f"{each['kind']}/{each['metadata']['name']}"
        for each in now
        if before.get(each["metadata"]["uid"]) != each["metadata"]["resourceVersion"]
    ]
    result.notes.append(f"in {IDLE_S} s: {told(audit.calls()) or 'no calls'}; operator {operator_memory():.0f} MiB")
    if changed or audit.writes():
        raise Failed(f"an idle cluster wrote {told(audit.writes())}; changed: {changed}")


@fault()
def roles(result):
    """In all that was done so far, the operator was never refused anything: its roles are complete."""
    audit = Audit()
    audit.from_byte = 0
    refused = audit.refused()
    if refused:
        raise Failed("; ".join(refused))
    used = {what for _, what in audit.calls()}
    result.notes.append(f"resources used: {', '.join(sorted(used))}")


@fault()
def columns(result):
    """What kubectl get prints has a value in every column that tells of a healthy cluster."""
    empty = {}
    for kind in ("replicationpolicies", "topics", "shards"):
        lines = kubectl("get", kind).splitlines()
        starts = [match.start() for match in re.finditer(r"\S+", lines[0])]
        for line in lines[1:]:
            cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None])]
            missing = [name for name, cell in zip(lines[0].split(), cells) if not cell]
            if missing:
                empty[kind, cells[0]] = missing
    if empty:
        raise Failed(f"empty columns: {empty}")
