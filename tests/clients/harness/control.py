"""The verbs that every cluster command has: one command line for Kafka and for Holdfast.

A kind of cluster says how to start and stop itself and which process is which broker; everything else is here.
"""

import argparse
import os
import signal
import subprocess
import sys
import time

from . import metadata, processes

READY_TIMEOUT_S = 120
HEALTHY_TIMEOUT_S = 120


class Cluster:
    """What a kind of cluster must provide. `data` is its directory, `bootstrap` its addresses."""

    broker_count = 3

    def start(self):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def pid(self, broker):
        """The pid of a running broker; LookupError while it is down."""
        raise NotImplementedError

    def restart(self, broker):
        """Brings a killed broker back (or waits for whoever does)."""
        raise NotImplementedError

    def server_pids(self):
        """All processes whose CPU and memory count as the server's."""
        return [self.pid(broker) for broker in range(self.broker_count)]

    def rebalance(self):
        """Moves leaders back to where they belong, where that does not happen by itself."""

    def healthy(self):
        return metadata.healthy(self.bootstrap, self.broker_count)

    def wait_healthy(self):
        metadata.wait_until("every replica is in sync", self.healthy, HEALTHY_TIMEOUT_S)


def _heal(cluster):
    """After a test that may have ended anywhere: every broker awake, up and in sync."""
    for broker in range(cluster.broker_count):
        try:
            os.kill(cluster.pid(broker), signal.SIGCONT)
        except LookupError:
            pass
        cluster.restart(broker)
    cluster.wait_healthy()


def _kill(cluster, broker):
    pid = cluster.pid(broker)
    at = time.time()
    processes.kill(pid)
    return at


def _freeze(cluster, broker):
    pid = cluster.pid(broker)
    at = time.time()
    os.kill(pid, signal.SIGSTOP)
    return at


def _stop_gently(cluster, broker):
    pid = cluster.pid(broker)
    at = time.time()
    processes.stop(pid)
    return at


def _usage(cluster):
    for pid in cluster.server_pids():
        used = processes.usage(pid)
        print(pid, f"{used.cpu_s:.2f}", used.resident_bytes)


def _parser(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the cluster's directory; kept until 'destroy'")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name, text, *arguments):
        added = verbs.add_parser(name, help=text, description=text)
        for argument in arguments:
            kind = int if argument in ("broker", "partition") else str
            added.add_argument(argument, type=kind, metavar=argument.upper())
        return added

    verb("start", "start the cluster and wait until it serves")
    verb("stop", "stop it in order; the data stays")
    verb("destroy", "kill it and delete its directory")
    verb("bootstrap", "print the addresses of the brokers")
    verb("leader", "print the id of the broker that leads a partition", "topic", "partition")
    verb("isr", "print the ids of a partition's in-sync replicas", "topic", "partition")
    verb("pids", "print 'BROKER PID' for each broker that runs")
    verb("kill", "kill -9 a broker; prints the time of the signal (Unix, s)", "broker")
    verb("terminate", "end a broker with SIGTERM; prints the time of the signal (Unix, s)", "broker")
    verb("freeze", "SIGSTOP a broker; prints the time of the signal (Unix, s)", "broker")
    verb("thaw", "SIGCONT a frozen broker", "broker")
    verb("restart", "bring a killed broker back and wait until it runs", "broker")
    verb("heal", "thaw and restart whatever needs it and wait until every replica is in sync")
    verb("rebalance", "move leaders back to the preferred brokers")
    verb("wait-healthy", "wait until all brokers are up and every replica is in sync")
    verb("usage", "print 'PID CPU_SECONDS RESIDENT_BYTES' for each server process")
    command = verbs.add_parser("run", help="run a command against a started cluster, with BOOTSTRAP and CLUSTER set")
    command.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def _run(cluster, arguments):
    words = [os.path.abspath(sys.argv[0]), *sys.argv[1 : sys.argv.index("run")]]
    environment = {**os.environ, "BOOTSTRAP": cluster.bootstrap, "CLUSTER": " ".join(words)}
    return subprocess.call(arguments.command, env=environment)


def main(description, add_options, make):
    """The command line of one kind of cluster: `make` turns the arguments into a Cluster."""
    parser = _parser(description)
    add_options(parser)
    arguments = parser.parse_args()
    cluster = make(arguments)
    broker = getattr(arguments, "broker", None)

    def partition():
        return cluster.bootstrap, arguments.topic, arguments.partition

    def isr():
        found = metadata.view(cluster.bootstrap, [arguments.topic]).partitions
        return found[arguments.topic, arguments.partition].isr

    def pids():
        for each in range(cluster.broker_count):
            try:
                print(each, cluster.pid(each))
            except LookupError:
                pass

    verbs = {
        "start": cluster.start,
        "stop": cluster.stop,
        "destroy": cluster.destroy,
        "bootstrap": lambda: print(cluster.bootstrap),
        "leader": lambda: print(metadata.leader(*partition())),
        "isr": lambda: print(*isr()),
        "pids": pids,
        "kill": lambda: print(f"{_kill(cluster, broker):.6f}"),
        "terminate": lambda: print(f"{_stop_gently(cluster, broker):.6f}"),
        "freeze": lambda: print(f"{_freeze(cluster, broker):.6f}"),
        "thaw": lambda: os.kill(cluster.pid(broker), signal.SIGCONT),
        "restart": lambda: cluster.restart(broker),
        "heal": lambda: _heal(cluster),
        "rebalance": cluster.rebalance,
        "wait-healthy": cluster.wait_healthy,
        "usage": lambda: _usage(cluster),
        "run": lambda: _run(cluster, arguments),
    }
    try:
        return verbs[arguments.verb]() or 0
    except (LookupError, TimeoutError, metadata.Unavailable, OSError, RuntimeError) as problem:
        print(f"{os.path.basename(sys.argv[0])} {arguments.verb}: {problem}", file=sys.stderr)
        return 1
