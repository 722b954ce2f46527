"""A three-node Apache Kafka (KRaft, combined brokers and controllers) on loopback, from Maven Central's jars.

The yardstick: settings are Kafka's defaults except where replication and durability must match what Holdfast
does (replication 3, min-ISR 2), and what the caller adds with `--set`.
"""

import os
import shutil
import subprocess

from . import control, metadata, processes

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
JARS = os.path.join(ROOT, ".cache", "kafka", "lib")
CLUSTER_ID = "holdfastYardstick00000"  # 22 characters of base64, as Kafka wants its cluster ids
# The flags of Kafka's own start script; the heap is its default too.
JVM_FLAGS = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
]
LOGGING = """\
<Configuration status="ERROR">
  <Appenders><Console name="out"><PatternLayout pattern="[%d] %p %m (%c)%n"/></Console></Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


class Kafka(control.Cluster):
    def __init__(self, data, port, heap, settings):
        self.data = os.path.abspath(data)
        self.port = port
        self.heap = heap
        self.settings = settings
        self.bootstrap = ",".join(f"127.0.0.1:{port + node}" for node in range(self.broker_count))

    def _path(self, node, name=""):
        return os.path.join(self.data, f"node{node}", name)

    def _properties(self, node):
        controller = self.port + 1000
        voters = ",".join(f"{n}@127.0.0.1:{controller + n}" for n in range(self.broker_count))
        client, peer = self.port + node, controller + node
        values = {
            "process.roles": "broker,controller",
            "node.id": node,
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{peer}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{client}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self._path(node, "data"),
            "default.replication.factor": 3,
            "min.insync.replicas": 2,
            "num.partitions": 4,
            "offsets.topic.replication.factor": 3,
            "transaction.state.log.replication.factor": 3,
            "transaction.state.log.min.isr": 2,
            "share.coordinator.state.topic.replication.factor": 3,
            "share.coordinator.state.topic.min.isr": 2,
            "group.initial.rebalance.delay.ms": 0,  # as in the server.properties that Kafka ships
            **self.settings,
        }
        return "".join(f"{key}={value}\n" for key, value in values.items())

    def _java(self, *arguments, flags=()):
        if not os.path.isdir(JARS):
            raise RuntimeError("Kafka's jars are missing: run tests/clients/install java")
        return ["java", *flags, "-cp", os.path.join(JARS, "*"), *arguments]

    def _format(self, node):
        os.makedirs(self._path(node), exist_ok=True)
        for name, text in (("server.properties", self._properties(node)), ("log4j2.xml", LOGGING)):
            with open(self._path(node, name), "w", encoding="utf-8") as file:
                file.write(text)
        if os.path.exists(self._path(node, "data/meta.properties")):
            return
        properties = self._path(node, "server.properties")
        command = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", properties)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"formatting node {node} failed: {done.stdout}{done.stderr}")

    def _start_node(self, node):
        heap = [f"-Xmx{self.heap}", f"-Xms{self.heap}"]
        logging = [f"-Dlog4j2.configurationFile={self._path(node, 'log4j2.xml')}"]
        command = self._java(
            "kafka.Kafka", self._path(node, "server.properties"), flags=[*JVM_FLAGS, *heap, *logging]
        )
        processes.start(command, self._path(node, "log"), self._path(node, "pid"))

    def pid(self, broker):
        found = processes.recorded(self._path(broker, "pid"))
        if found is None:
            raise LookupError(f"broker {broker} does not run")
        return found

    def _runs(self, node):
        return processes.recorded(self._path(node, "pid")) is not None

    def start(self):
        for node in range(self.broker_count):
            self._format(node)
        for node in range(self.broker_count):
            if not self._runs(node):
                self._start_node(node)
        metadata.wait_until("all brokers serve", self._serving, control.READY_TIMEOUT_S)

    def _serving(self):
        for node in range(self.broker_count):
            if not self._runs(node):
                raise LookupError(f"broker {node} ended: see {self._path(node, 'log')}")
            if not metadata.healthy(f"127.0.0.1:{self.port + node}", self.broker_count):
                return False
        return True

    def restart(self, broker):
        if not self._runs(broker):
            self._start_node(broker)
        address = f"127.0.0.1:{self.port + broker}"
        metadata.wait_until(
            f"broker {broker} serves",
            lambda: broker in metadata.view(address).brokers,
            control.READY_TIMEOUT_S,
        )

    def rebalance(self):
        tool = ["org.apache.kafka.tools.LeaderElectionCommand", "--bootstrap-server", self.bootstrap]
        done = subprocess.run(
            self._java(*tool, "--election-type", "preferred", "--all-topic-partitions"),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"preferred election failed: {done.stdout}{done.stderr}")

    def stop(self):
        # All at once: a majority of controllers must be there for an orderly shutdown, and is not at the end.
        running = [self.pid(node) for node in range(self.broker_count) if self._runs(node)]
        for pid in running:
            os.kill(pid, 15)
        try:
            metadata.wait_until(
                "all brokers ended", lambda: all(processes.gone(pid) for pid in running), 30
            )
        except TimeoutError:
            for pid in running:
                if not processes.gone(pid):
                    processes.kill(pid)

    def destroy(self):
        for node in range(self.broker_count):
            if self._runs(node):
                processes.kill(self.pid(node))
        shutil.rmtree(self.data, ignore_errors=True)


def options(parser):
    parser.add_argument("--port", type=int, default=9092, help="of the first broker; controllers are 1000 above")
    parser.add_argument("--heap", default="1G", help="of each broker's JVM")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a server property; may be repeated"
    )


def make(arguments):
    settings = dict(entry.split("=", 1) for entry in arguments.set)
    return Kafka(arguments.data, arguments.port, arguments.heap, settings)
