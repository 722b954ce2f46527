"""Holdfast on loopback: `holdfast up FILE --data DIR`, which keeps what it runs in DIR/status.json.

Only `pid` and `bootstrap` read that file; who leads what is asked over the Kafka protocol.
"""

import json
import os
import shutil
import signal

from . import control, metadata, processes

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
STATUS = "status.json"
BROKER_STATE_READY = "ready"


class Holdfast(control.Cluster):
    def __init__(self, data, binary, policy, port):
        self.data = os.path.abspath(data)
        self.binary = binary
        self.policy = policy
        self.port = port

    def _path(self, name):
        # Next to the data, not in it: the directory is Holdfast's own.
        return f"{self.data}.{name}"

    def _status(self):
        with open(os.path.join(self.data, STATUS), encoding="utf-8") as file:
            return json.load(file)

    def _brokers(self):
        return sorted(self._status()["brokers"], key=lambda broker: broker["id"])

    @property
    def bootstrap(self):
        return ",".join(broker["kafka"] for broker in self._brokers())

    def _ready(self):
        if self._supervisor() is None:
            raise LookupError(f"holdfast up ended: see {self._path('log')}")
        brokers = self._brokers()
        return (
            self._status()["ready"]
            and len(brokers) == self.broker_count
            and all(broker["state"] == BROKER_STATE_READY for broker in brokers)
            and all(metadata.healthy(broker["kafka"], self.broker_count) for broker in brokers)
        )

    def healthy(self):
        """Shards without a partition count too: they hold groups and the catalog."""
        shards = self._status()["shards"]
        return super().healthy() and all(
            shard["leader"] is not None and len(shard["isr"]) == len(shard["replicas"]) for shard in shards
        )

    def _supervisor(self):
        return processes.recorded(self._path("pid"))

    def start(self):
        if self._supervisor() is None:
            try:  # what an earlier run left would be read as news
                os.remove(os.path.join(self.data, STATUS))
            except FileNotFoundError:
                pass
            os.makedirs(os.path.dirname(self.data), exist_ok=True)
            command = [self.binary, "up", *self.policy, "--data", self.data, "--plain"]
            command += ["--port-base", str(self.port)]
            processes.start(command, self._path("log"), self._path("pid"))
        metadata.wait_until("all brokers are ready", self._started, control.READY_TIMEOUT_S)

    def _started(self):
        if self._supervisor() is None:
            raise RuntimeError(f"holdfast up ended at once: see {self._path('log')}")
        return self._ready()

    def pid(self, broker):
        for entry in self._brokers():
            if entry["id"] == broker and entry.get("pid") and processes.started_at(entry["pid"]) is not None:
                if self._supervisor() is None:
                    raise LookupError("holdfast up does not run: the pids in its status are not to be trusted")
                return entry["pid"]
        raise LookupError(f"broker {broker} does not run")

    def server_pids(self):
        return [self._supervisor(), *super().server_pids()]

    def restart(self, broker):
        """`holdfast up` starts a killed broker again by itself; this waits for it."""

        def back():
            (entry,) = [each for each in self._brokers() if each["id"] == broker]
            return (
                entry["state"] == BROKER_STATE_READY
                and self.pid(broker)
                and broker in metadata.view(entry["kafka"]).brokers
            )

        metadata.wait_until(f"broker {broker} serves again", back, control.READY_TIMEOUT_S)

    def stop(self):
        supervisor = self._supervisor()
        if supervisor is not None:
            processes.stop(supervisor, signal.SIGINT)

    def destroy(self):
        supervisor = self._supervisor()
        if supervisor is not None:
            below = processes.children(supervisor)
            processes.kill(supervisor)
            for pid in below:
                if not processes.gone(pid):
                    processes.kill(pid)
        shutil.rmtree(self.data, ignore_errors=True)
        for name in ("log", "pid"):
            if os.path.exists(self._path(name)):
                os.remove(self._path(name))


def options(parser):
    parser.add_argument(
        "--binary", default=os.path.join(ROOT, "target", "debug", "holdfast"), help="the holdfast to run"
    )
    parser.add_argument("--port", type=int, default=9092, help="of the first broker")
    parser.add_argument("--file", action="append", default=[], help="YAML for `holdfast up`; may be repeated")


def make(arguments):
    files = arguments.file or [os.path.join(ROOT, "tests", "clients", "cluster.yaml")]
    return Holdfast(arguments.data, arguments.binary, files, arguments.port)
