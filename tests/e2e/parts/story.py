"""One fault, told from its beginning: a load in the cluster, the fault, what clients saw, and the judgement."""

import json
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field

from . import rig, truth

sys.path.insert(0, os.path.join(rig.ROOT, "tests", "clients"))
from harness import history  # noqa: E402
from harness.results import note  # noqa: E402, F401

LOAD = os.path.join(rig.ROOT, "tests", "e2e", "load.py")
PYTHON = os.path.join(rig.ROOT, ".cache", "clients", "venv", "bin", "python")
OUT = os.path.join(rig.ROOT, ".cache", "e2e")
# Acknowledgements of each partition before the fault, and after it.
STEADY = 100
# Between two rounds of the load.
PACE_S = 0.02


@dataclass
class Result:
    """What is told of a fault in the table."""

    fault: str
    pause_ms: float = None
    target_ms: float = None
    pause_note: str = ""
    acked: int = 0
    notes: list = field(default_factory=list)
    problem: str = None


class Load:
    """The client process, in the client's network namespace."""

    def __init__(self, bootstrap, topic, partitions, pace_s):
        os.makedirs(OUT, exist_ok=True)
        self.partitions = range(partitions)
        prefix = uuid.uuid4().hex[:8]
        self.out = os.path.join(OUT, prefix)
        self.log = open(self.out + ".log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [
                rig.COMMAND, "client", PYTHON, LOAD, "--bootstrap", bootstrap,
                "--topic", topic, "--partitions", str(partitions), "--prefix", prefix, "--out", self.out,
                "--pace", str(pace_s),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip

    def ask(self, command="state"):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the client ended: see {self.log.name}")
        found = json.loads(line)
        if found["problem"]:
            raise RuntimeError(f"the client failed: {found['problem']}; refused: {found['refused']}; see {self.log.name}")
        return found

    def acked(self):
        counts = self.ask()["acked"]
        return {p: counts.get(str(p), 0) for p in self.partitions}

    def go_on(self, what, partitions=None):
        """Waits until each partition has taken STEADY messages more."""
        marks = {p: count + STEADY for p, count in self.acked().items()}
        wanted = self.partitions if partitions is None else partitions
        rig.wait_until(f"messages are taken {what}", lambda: all(self.acked()[p] >= marks[p] for p in wanted))

    def stop(self):
        """The histories: what a follower read, and what was read again from the beginning."""
        self.ask("stop")
        self.process.wait(rig.BOUND_S)
        return {name: history.load([f"{self.out}.{name}"]) for name in ("followed", "again")}

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def forget(self):
        for name in ("followed", "again", "log"):
            if os.path.exists(f"{self.out}.{name}"):
                os.remove(f"{self.out}.{name}")


class Story:
    """The course of one fault on one topic. Use as a context; the load runs within it."""

    def __init__(self, result, policy="orders", topic="orders", partitions=6, bootstrap=None, pace_s=PACE_S):
        self.result, self.policy, self.topic = result, policy, topic
        inside = f"{policy}.{rig.NAMESPACE}:{truth.KAFKA_PORT}"
        self.load = Load(bootstrap or inside, topic, partitions, pace_s)
        self.hit = None
        self.at = None
        self.until = None

    def __enter__(self):
        self.load.go_on("before the fault")
        return self

    def victim(self, wanted=lambda pod: True):
        """A broker that leads a partition, and its pod; of those that are wanted, where there are such."""
        leaders = truth.leaders(self.policy, self.topic)
        pods = truth.brokers(self.policy)
        found = sorted(set(leaders.values()) & set(pods))
        best = [broker for broker in found if wanted(pods[broker])] or found
        if not best:
            raise rig.Failed("no broker leads anything")
        broker = best[0]
        self.hit = sorted(p for p, leader in leaders.items() if leader == broker)
        return broker, pods[broker]

    def struck(self, at, hit=None):
        """The fault happened at this time, to the partitions of the victim or to these."""
        self.at = at
        if hit is not None:
            self.hit = list(hit)

    def recovered(self):
        """Waits until every partition takes messages again."""
        self.load.go_on("after the fault")
        self.until = time.time()

    def __exit__(self, kind, problem, trace):
        try:
            if kind is None:
                self.judge()
                self.load.forget()
        finally:
            self.load.close()

    def judge(self):
        if self.until is None:
            self.recovered()
        for name, events in self.load.stop().items():
            verdict = history.judge(events)
            if verdict.problems or not verdict.acked or not verdict.read:
                raise rig.Failed(f"history {self.load.out}.{name}: {verdict}")
            self.result.acked = verdict.acked
            self.measure(events)

    def measure(self, events):
        """The longest silence of a partition that was hit, and when it began."""
        if self.at is None:
            return
        silences = [(history.longest_silence_s(events, p, self.at, self.until), p) for p in self.hit]
        longest, partition = max(silences, default=(0, None))
        self.result.pause_ms = longest * 1000
        times = [self.at, *(e["t"] for e in events if e["event"] == "acked" and e["partition"] == partition)]
        began = [t for t, after in zip(sorted(times), [*sorted(times)[1:], self.until]) if after - t >= longest - 1e-6]
        if began and partition is not None:
            self.result.pause_note = f"partition {partition}, {began[0] - self.at:.1f} s after the fault"
